"""Region proposal network: where nuclei may be, from anchors on every feature map."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from nuhtc.training.network import boxes

STRIDES = (4, 8, 16, 32)
"""Strides of the four feature maps, in network-input pixels."""

DELTA_STDS = (1.0, 1.0, 1.0, 1.0)


@dataclass(frozen=True)
class AnchorSettings:
    """The boxes that proposals start from, in network-input pixels."""

    scale: float = 4.0
    """Side of a square anchor, in strides of its map."""
    ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    """Height over width."""


class RegionProposalHead(nn.Module):
    """Objectness and box deltas for every anchor (Ren et al. 2015).

    Parameters
    ----------
    channels
        Channels of the feature maps.
    anchors
        Anchor shapes; one set for each cell, centred on the cell's corner.
    """

    def __init__(self, channels: int, anchors: AnchorSettings) -> None:
        super().__init__()
        self.settings = anchors
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.objectness = nn.Conv2d(channels, len(anchors.ratios), 1)
        self.deltas = nn.Conv2d(channels, 4 * len(anchors.ratios), 1)

    def forward(self, maps: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Return logits (B, A, H, W) and deltas (B, 4 A, H, W) of each map."""
        hidden = [functional.relu(self.conv(x)) for x in maps]
        return [self.objectness(x) for x in hidden], [self.deltas(x) for x in hidden]

    def anchors(self, level: int, height: int, width: int, like: Tensor) -> Tensor:
        """Return anchors (H * W * A, 4) of one level, in the order of :meth:`flatten`.

        Parameters
        ----------
        level
            Index of the feature map, 0 the finest.
        height, width
            The map's size in cells.
        like
            Gives dtype and device.
        """
        count = height * width * len(self.settings.ratios)
        return self.anchors_at(level, width, torch.arange(count, device=like.device), like)

    def anchors_at(self, level: int, width: int, index: Tensor, like: Tensor) -> Tensor:
        """Return some anchors (..., 4) of one level, by their ``index`` in :meth:`anchors`.

        Parameters
        ----------
        level
            Index of the feature map, 0 the finest.
        width
            The map's width in cells.
        index
            int64 (...).
        like
            Gives dtype and device.
        """
        stride = STRIDES[level]
        ratios = torch.tensor(self.settings.ratios, dtype=like.dtype, device=like.device).sqrt()
        half = torch.stack([1 / ratios, ratios], dim=1) * (self.settings.scale * stride / 2)
        cell = index // len(ratios)
        row = cell // width
        centre = torch.stack([cell - row * width, row], dim=-1).to(like.dtype) * stride
        size = half[index % len(ratios)]
        return torch.cat([centre - size, centre + size], dim=-1)

    @staticmethod
    def flatten(logits: Tensor, deltas: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits (B, N) and deltas (B, N, 4) in the order of :meth:`anchors`."""
        flat = logits.permute(0, 2, 3, 1).flatten(1)
        by_anchor = deltas.permute(0, 2, 3, 1).unflatten(-1, (-1, 4))  # type: ignore[no-untyped-call]
        return flat, by_anchor.flatten(1, 3)

    def candidates(
        self, logits: Sequence[Tensor], deltas: Sequence[Tensor], per_level: int | torch.SymInt
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the best boxes of each level, before non-maximum suppression.

        Parameters
        ----------
        logits, deltas
            What :meth:`forward` gave.
        per_level
            At most this many from each level.

        Returns
        -------
        boxes
            float (B, K, 4), clipped to the picture, best first within each level.
        scores
            float (B, K), 0 to 1.
        levels
            int64 (K,).
        """
        height = logits[0].shape[-2] * STRIDES[0]
        width = logits[0].shape[-1] * STRIDES[0]
        found, scores, levels = [], [], []
        for level, (cls, reg) in enumerate(zip(logits, deltas, strict=True)):
            flat, flat_deltas = self.flatten(cls, reg)
            count = torch.sym_min(per_level, flat.shape[1])
            best, index = flat.topk(count, dim=1)
            picked = torch.gather(flat_deltas, 1, index[..., None].expand(-1, -1, 4))
            # Only the picked anchors are made: the whole grid cost more than all else here.
            anchors = self.anchors_at(level, cls.shape[-1], index, flat)
            found.append(boxes.clip(boxes.decode(anchors, picked, DELTA_STDS), width, height))
            scores.append(best.sigmoid())
            levels.append(torch.full_like(index[0], level))
        return torch.cat(found, dim=1), torch.cat(scores, dim=1), torch.cat(levels)
