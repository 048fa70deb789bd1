"""Hybrid features: what a region looks like up close, and where its kind stands in the tile.

NuHTC section 3.3. The fine maps (strides 4 and 8) are cropped by RoIAlign. From the
coarse ones (strides 16 and 32) each region takes a summary: the map averaged over all
its cells, each cell weighted by its cosine similarity to the region's centre cell. As
published the summary is worked out per region; there are only as many different
summaries as the map has cells, so here they are worked out once, densely, and a region
only picks the one of its centre cell. The numbers are the same.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from nuhtc.training.network.align import align_regions

MIN_SIMILARITY = 0.965926
"""Cosine of 15 degrees: similarities are clipped to this from below."""

COARSE_STRIDES = (16, 32)


class Features(NamedTuple):
    """What the trunk leaves for the heads; all have the same channels C."""

    fine4: Tensor
    """float (B, C, H/4, W/4)"""
    fine8: Tensor
    """float (B, C, H/8, W/8)"""
    summary16: Tensor
    """float (B, H/16 * W/16, C), cells row by row, see :func:`similarity_summary`"""
    summary32: Tensor
    """float (B, H/32 * W/32, C)"""
    semantic: Tensor
    """float (B, C, H/4, W/4)"""


def similarity_summary(x: Tensor) -> Tensor:
    """Return the map's average for each cell, weighted by similarity to that cell.

    Parameters
    ----------
    x
        float (B, C, H, W).

    Returns
    -------
    Tensor
        float (B, H * W, C), cells row by row. No gradient flows through the similarities.
    """
    cells = x.flatten(2).transpose(1, 2)
    with torch.no_grad():
        unit = functional.normalize(cells.float(), dim=2, eps=1e-8)
        similarity = torch.bmm(unit, unit.transpose(1, 2)).clamp(min=MIN_SIMILARITY)
        similarity = similarity.to(cells.dtype)
    return torch.bmm(similarity, cells) / cells.shape[1]


class HybridFeatures(nn.Module):
    """Crops and summaries of regions, added up.

    Parameters
    ----------
    size
        Side of the output in cells.
    sampling
        RoIAlign samples per bin side; 0 adapts to the region's size.
    semantic_size
        Side at which the semantic feature is cropped; a multiple of ``size``, to
        which it is then average-pooled.
    enlarge8
        Enlarge the map of stride 8 to stride 4 and crop it there, with the finer one. Not
        as published, and nearly the same.
    """

    def __init__(
        self, size: int, sampling: int, semantic_size: int, *, enlarge8: bool = False
    ) -> None:
        super().__init__()
        if semantic_size % size:
            raise ValueError(f"semantic_size {semantic_size} is no multiple of size {size}")
        self.size = size
        self.sampling = sampling
        self.semantic_size = semantic_size
        self.enlarge8 = enlarge8

    def fine_and_coarse(self, features: Features, regions: Tensor) -> Tensor:
        """Return the hybrid part alone: (R, C, size, size) of ``regions`` (R, 5: tile, xyxy)."""
        out = align_regions(features.fine4, regions, 4, self.size, self.sampling)
        if not self.enlarge8:
            out = out + align_regions(features.fine8, regions, 8, self.size, self.sampling)
        coarse = [
            _pick(features, summary, regions, stride)
            for summary, stride in zip(
                (features.summary16, features.summary32), COARSE_STRIDES, strict=True
            )
        ]
        return out + (coarse[0] + coarse[1])[:, :, None, None]

    def semantic(self, features: Features, regions: Tensor) -> Tensor:
        """Return the semantic part alone: (R, C, semantic_size, semantic_size)."""
        # As published, a finer crop adapts its sampling, then is pooled to the region's size.
        sampling = 0 if self.semantic_size > self.size else self.sampling
        return align_regions(features.semantic, regions, 4, self.semantic_size, sampling)

    def forward(self, features: Features, regions: Tensor) -> Tensor:
        """Return region features (R, C, size, size) of ``regions`` (R, 5: tile, xyxy)."""
        fine4 = features.fine4
        if self.enlarge8:
            enlarged = functional.interpolate(features.fine8, fine4.shape[-2:], mode="bilinear")
            fine4 = fine4 + enlarged
        if self.semantic_size == self.size:
            # Cropping is linear: maps that are sampled at the same places are cropped as a sum.
            fine4 = fine4 + features.semantic
            return self.fine_and_coarse(features._replace(fine4=fine4), regions)
        semantic = self.semantic(features, regions)
        pooled = functional.avg_pool2d(semantic, self.semantic_size // self.size)
        return self.fine_and_coarse(features._replace(fine4=fine4), regions) + pooled


def _pick(features: Features, summary: Tensor, regions: Tensor, stride: int) -> Tensor:
    """Return the summary (R, C) at the centre cell of each region."""
    height = features.fine4.shape[-2] // (stride // 4)
    width = features.fine4.shape[-1] // (stride // 4)
    tile = regions[:, 0].long()
    x = ((regions[:, 1] + regions[:, 3]) * (0.5 / stride)).floor().clamp(0, width - 1).long()
    y = ((regions[:, 2] + regions[:, 4]) * (0.5 / stride)).floor().clamp(0, height - 1).long()
    return summary.flatten(0, 1)[(tile * height + y) * width + x]
