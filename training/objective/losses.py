"""Losses of NuHTC (section 3.4): Dice, smooth L1 and Seesaw with an object/background pair."""

import torch
from torch import Tensor, nn
from torch.nn import functional


def dice_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Return one minus the Dice overlap, averaged over the first axis (Milletari et al. 2016).

    Parameters
    ----------
    logits, target
        float (N, ...), the target between 0 and 1. Zero when N is zero.
    """
    if logits.shape[0] == 0:
        return logits.sum() * 0
    p = logits.flatten(1).float().sigmoid()
    t = target.flatten(1).float()
    both = (p * t).sum(dim=1)
    return (1 - (2 * both + 1e-3) / (p.square().sum(dim=1) + t.square().sum(dim=1) + 1e-3)).mean()


def smooth_l1(prediction: Tensor, target: Tensor, beta: float, total: float) -> Tensor:
    """Return smooth L1 summed over the boxes and divided by ``total``."""
    loss = functional.smooth_l1_loss(prediction.float(), target, beta=beta, reduction="sum")
    return loss / max(total, 1.0)


class SeesawLoss(nn.Module):
    """Seesaw loss (Wang et al. 2021) with a separate object/background pair.

    Rare classes are protected twice: a frequent class is punished less for stealing
    from a rare one (mitigation, by counts seen so far), and more where it does so in
    fact (compensation, by the scores). Nuclei without a known class train the pair only.

    Parameters
    ----------
    classes
        Number of classes, without background.
    p, q
        Strength of mitigation and compensation.
    over_all
        As published, the mean of the class loss runs over all regions, background included
        (it has none), so that it weighs less where nuclei are few; else over the nuclei.
    """

    seen: Tensor

    def __init__(
        self, classes: int, p: float = 0.8, q: float = 2.0, *, over_all: bool = False
    ) -> None:
        super().__init__()
        self.over_all = over_all
        self.classes = classes
        self.p = p
        self.q = q
        self.register_buffer("seen", torch.zeros(classes))

    def forward(self, logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the losses of classes and of the object/background pair.

        Parameters
        ----------
        logits
            float (R, classes + 2).
        labels
            int64 (R,): class index, ``classes`` for background, -1 for a nucleus of
            unknown class.
        """
        logits = logits.float()
        background = (labels == self.classes).long()
        pair = functional.cross_entropy(logits[:, -2:], background)
        typed = (labels >= 0) & (labels < self.classes)
        if not bool(typed.any()):
            return logits.sum() * 0, pair
        classes = self._classes(logits[typed, :-2], labels[typed])
        if self.over_all:
            # Nuclei whose class nobody knows have no part in either sum.
            classes = classes * (typed.sum() / (labels >= 0).sum())
        return classes, pair

    def _classes(self, logits: Tensor, labels: Tensor) -> Tensor:
        if self.training:
            self.seen += torch.bincount(labels, minlength=self.classes).to(self.seen.dtype)
        seen = self.seen.clamp(min=1)
        ratio = seen[None, :] / seen[:, None]
        mitigation = torch.where(ratio < 1, ratio.pow(self.p), torch.ones_like(ratio))[labels]
        scores = logits.detach().softmax(dim=1)
        own = scores.gather(1, labels[:, None]).clamp(min=1e-2)
        excess = scores / own
        compensation = torch.where(excess > 1, excess.pow(self.q), torch.ones_like(excess))
        onehot = functional.one_hot(labels, self.classes)
        weighted = logits + (mitigation * compensation).log() * (1 - onehot)
        return functional.cross_entropy(weighted, labels)
