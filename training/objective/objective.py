"""The training objective: every loss of the cascade for one batch.

NuHTC section 3.4: RPN, semantic branch, then for each stage a fresh sample of the boxes
that the stage before has refined, and the mask head on the boxes after the last stage.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import nms

from nuhtc.native import proposals as kernels
from nuhtc.training.augmentation.random_tiles import TileTargets, stack_pictures
from nuhtc.training.network import boxes
from nuhtc.training.network.box_head import STAGE_STDS
from nuhtc.training.network.hybrid import Features
from nuhtc.training.network.nuhtc import NuHTC, TrunkOutput
from nuhtc.training.network.rpn import DELTA_STDS
from nuhtc.training.objective.losses import SeesawLoss, dice_loss, smooth_l1
from nuhtc.training.objective.targets import (
    IGNORED,
    SampledRegions,
    assign,
    crop_masks,
    sample,
    sample_regions,
)


@dataclass(frozen=True)
class ObjectiveSettings:
    """Counts, thresholds and weights of the losses; the defaults are the published ones."""

    rpn_samples: int = 1024
    rpn_positive: float = 0.7
    rpn_negative: float = 0.3
    anchors_inside: bool = True
    """Whether anchors that stick out of the tile teach nothing."""
    proposals_per_level: int = 6000
    proposals: int = 3000
    proposal_min_side: float = 10.0
    """Boxes with a side of this or less are no proposals."""
    proposal_nms: float = 0.7
    watershed_opening: int = 2
    watershed_draws: int | None = 500
    """Watershed boxes drawn with replacement, so that they are many beside the RPN's; where
    there are none, as many of the RPN's best stand in. None takes each box once."""
    stage_thresholds: tuple[float, float, float] = (0.5, 0.6, 0.7)
    stage_low_quality: bool = True
    """Whether a nucleus also keeps the regions that fit it best, though they fit another better."""
    stage_samples: int = 1024
    positive_fraction: float = 0.25
    stage_weights: tuple[float, float, float] = (1.0, 0.5, 0.25)
    class_mean_over_all: bool = True
    """See :class:`nuhtc.training.objective.losses.SeesawLoss`."""
    mask_samples: int = 256
    """At most this many regions of a tile train the mask head."""
    mask_weight: float = 0.25
    """As published the mask head is the last stage's, and weighs as that does."""


class Objective(nn.Module):
    """Losses by name; their sum is what training minimises.

    Parameters
    ----------
    network
        The network to train.
    settings
        Counts, thresholds and weights.
    """

    def __init__(self, network: NuHTC, settings: ObjectiveSettings) -> None:
        super().__init__()
        self.network = network
        self.settings = settings
        self.seesaw = nn.ModuleList(
            SeesawLoss(network.classes, over_all=settings.class_mean_over_all) for _ in range(3)
        )

    def forward(
        self, batch: Sequence[TileTargets], generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Return scalar losses of a batch of tiles with their targets."""
        network = self.network
        device = network.mean.device
        output = network.trunk(network.prepare(stack_pictures(batch, device)))
        scale = network.settings.input_scale
        truth = [tile.boxes.to(device) * scale for tile in batch]
        labels = torch.cat([tile.labels for tile in batch]).to(device)
        instances = torch.stack([tile.instances for tile in batch]).to(device)

        losses = self._rpn(output, truth, generator)
        foreground = output.foreground[:, 0]
        height, width = foreground.shape[1:]
        losses["semantic"] = dice_loss(foreground, _foreground(instances, (height, width)))
        proposals = self._proposals(output, generator)
        losses |= self._cascade(output.features, proposals, truth, labels, instances, generator)
        return losses

    def _rpn(
        self, output: TrunkOutput, truth: list[Tensor], generator: torch.Generator
    ) -> dict[str, Tensor]:
        rpn, settings = self.network.rpn, self.settings
        logits, deltas, anchors = [], [], []
        for level, (cls, reg) in enumerate(zip(output.rpn_logits, output.rpn_deltas, strict=True)):
            flat, flat_deltas = rpn.flatten(cls.float(), reg.float())
            logits.append(flat)
            deltas.append(flat_deltas)
            anchors.append(rpn.anchors(level, cls.shape[-2], cls.shape[-1], flat))
        all_logits, all_deltas = torch.cat(logits, dim=1), torch.cat(deltas, dim=1)
        all_anchors = torch.cat(anchors)
        height, width = (side * 4 for side in output.foreground.shape[-2:])
        used = self._used(all_anchors, height, width)
        cls_loss = all_logits.new_zeros(())
        reg_loss = all_logits.new_zeros(())
        total = 0
        for tile, known in enumerate(truth):
            assigned = torch.full_like(used, IGNORED, dtype=torch.int64)
            assigned[used] = assign(
                all_anchors[used],
                known,
                settings.rpn_positive,
                settings.rpn_negative,
                low_quality=settings.rpn_negative,
            )
            positive, negative = sample(assigned, settings.rpn_samples, 0.5, generator)
            picked = torch.cat([positive, negative])
            target = torch.zeros(picked.shape[0], device=all_logits.device)
            target[: positive.shape[0]] = 1
            cls_loss = cls_loss + functional.binary_cross_entropy_with_logits(
                all_logits[tile, picked], target, reduction="sum"
            )
            wanted = boxes.encode(all_anchors[positive], known[assigned[positive]], DELTA_STDS)
            reg_loss = reg_loss + smooth_l1(all_deltas[tile, positive], wanted, 1 / 9, 1)
            total += picked.shape[0]
        return {"rpn_class": cls_loss / max(total, 1), "rpn_box": reg_loss / max(total, 1)}

    def _used(self, anchors: Tensor, height: int, width: int) -> Tensor:
        """Return which anchors teach, bool (N,)."""
        if not self.settings.anchors_inside:
            return torch.ones_like(anchors[:, 0], dtype=torch.bool)
        far = anchors.new_tensor([width, height])
        return (anchors[:, :2] >= 0).all(dim=1) & (anchors[:, 2:] < far).all(dim=1)

    @torch.no_grad()
    def _proposals(self, output: TrunkOutput, generator: torch.Generator) -> list[Tensor]:
        """Return RPN and watershed proposals of each tile, float (N, 4)."""
        settings = self.settings
        found, scores, levels = self.network.rpn.candidates(
            [x.float() for x in output.rpn_logits],
            [x.float() for x in output.rpn_deltas],
            settings.proposals_per_level,
        )
        height, width = (side * 4 for side in output.foreground.shape[-2:])
        foreground = output.foreground[:, 0].float().cpu().numpy()
        result = []
        for candidates, ranked, logits in zip(found, scores, foreground, strict=True):
            wide = (candidates[:, 2:] - candidates[:, :2] > settings.proposal_min_side).all(dim=1)
            ours = self._best(candidates[wide], ranked[wide], levels[wide], 2 * width)
            watershed = kernels.watershed_boxes(
                logits, width, height, opening=settings.watershed_opening
            )
            drawn = self._draw(torch.from_numpy(watershed).to(found), ours, generator)
            result.append(torch.cat([drawn, ours]))
        return result

    def _best(self, boxes: Tensor, scores: Tensor, levels: Tensor, apart: int) -> Tensor:
        """Return the boxes that survive non-maximum suppression within their level, best first."""
        settings = self.settings
        if boxes.device.type == "cpu":
            keep = torch.from_numpy(
                kernels.nms(
                    boxes.numpy(),
                    # Scores that are no numbers are the loss's to report.
                    scores.nan_to_num(nan=-1.0).numpy(),
                    settings.proposal_nms,
                    levels.numpy(),
                    settings.proposals,
                )
            )
        else:
            # Levels far apart in x never overlap, so one call does every level by itself.
            shift = (levels * apart).to(boxes.dtype)[:, None]
            keep = nms(boxes + shift, scores, settings.proposal_nms)[: settings.proposals]
        return boxes[keep]

    def _draw(self, watershed: Tensor, ours: Tensor, generator: torch.Generator) -> Tensor:
        """Return watershed boxes as training takes them, float (N, 4)."""
        draws = self.settings.watershed_draws
        if draws is None:
            return watershed
        if watershed.shape[0] == 0:
            return ours[:draws]
        index = torch.randint(watershed.shape[0], (draws,), generator=generator)
        return watershed[index.to(watershed.device)]

    def _cascade(
        self,
        features: Features,
        proposals: list[Tensor],
        truth: list[Tensor],
        labels: Tensor,
        instances: Tensor,
        generator: torch.Generator,
    ) -> dict[str, Tensor]:
        network, settings = self.network, self.settings
        height = features.fine4.shape[-2] * 4
        width = features.fine4.shape[-1] * 4
        all_truth = torch.cat(truth)
        losses: dict[str, Tensor] = {}
        for i, stds in enumerate(STAGE_STDS):
            picked = sample_regions(
                proposals,
                truth,
                settings.stage_thresholds[i],
                settings.stage_samples,
                settings.positive_fraction,
                generator,
                low_quality=self._low_quality(i),
            )
            logits, deltas = network.stages[i](network.box_features(features, picked.regions))
            target = torch.where(
                picked.positive, _gather(labels, picked.truth), torch.tensor(network.classes)
            )
            classes, pair = self.seesaw[i](logits, target)
            corners = picked.regions[:, 1:]
            wanted = boxes.encode(
                corners[picked.positive], all_truth[picked.truth[picked.positive]], stds
            )
            weight = settings.stage_weights[i]
            losses[f"class_{i + 1}"] = weight * classes
            losses[f"object_{i + 1}"] = weight * pair
            losses[f"box_{i + 1}"] = weight * smooth_l1(
                deltas[picked.positive], wanted, 1.0, picked.regions.shape[0]
            )
            moved = boxes.decode(corners, deltas.detach().float(), stds)
            proposals = _by_tile(picked, boxes.clip(moved, width, height), len(truth))
        final = sample_regions(
            proposals,
            truth,
            settings.stage_thresholds[-1],
            settings.mask_samples,
            1.0,
            generator,
            low_quality=self._low_quality(-1),
        )
        losses["mask"] = settings.mask_weight * self._mask(features, final, truth, instances)
        return losses

    def _low_quality(self, stage: int) -> float | None:
        settings = self.settings
        return settings.stage_thresholds[stage] if settings.stage_low_quality else None

    def _mask(
        self,
        features: Features,
        picked: SampledRegions,
        truth: list[Tensor],
        instances: Tensor,
    ) -> Tensor:
        regions = picked.regions[picked.positive]
        counts = torch.tensor([0, *(len(known) for known in truth)], device=regions.device)
        first = counts.cumsum(0)[regions[:, 0].long()]
        number = picked.truth[picked.positive] - first + 1
        scale = self.network.settings.input_scale
        target = crop_masks(instances, number, regions[:, 0].long(), regions[:, 1:] / scale)
        return dice_loss(self.network.masks(features, regions), target)


def _gather(values: Tensor, index: Tensor) -> Tensor:
    """Return ``values[index]``, also when there are no values and every index is a dummy 0."""
    return values[index] if values.shape[0] else index


def _by_tile(picked: SampledRegions, corners: Tensor, tiles: int) -> list[Tensor]:
    """Return the refined boxes of each tile, without the annotated ones that were added."""
    tile = picked.regions[:, 0].long()
    return [corners[(tile == i) & ~picked.is_truth] for i in range(tiles)]


def _foreground(instances: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the share of nucleus at each cell (B, h, w), on the branch's corner-aligned grid.

    The logits are enlarged with aligned corners before the watershed, so the target is
    sampled on the same grid.
    """
    whole = (instances > 0)[:, None].float()
    return functional.interpolate(whole, size, mode="bilinear", align_corners=True)[:, 0]
