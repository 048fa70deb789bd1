"""Which region learns what: assignment by overlap, and balanced sampling."""

from dataclasses import dataclass

import torch
from torch import Tensor

from nuhtc.training.network import boxes

IGNORED = -2
BACKGROUND = -1


def assign(
    regions: Tensor,
    truth: Tensor,
    positive: float,
    negative: float,
    *,
    low_quality: float | None = None,
) -> Tensor:
    """Return the nucleus that each region stands for.

    Parameters
    ----------
    regions
        float (N, 4).
    truth
        float (G, 4).
    positive, negative
        IoU at and above which a region is a nucleus, and below which it is background.
    low_quality
        Also give each nucleus the regions that overlap it best, from this IoU.

    Returns
    -------
    Tensor
        int64 (N,): index into ``truth``, BACKGROUND or IGNORED.
    """
    if truth.shape[0] == 0:
        return torch.full((regions.shape[0],), BACKGROUND, device=regions.device)
    overlap = boxes.iou(regions, truth)
    best, index = overlap.max(dim=1)
    result = torch.full_like(index, IGNORED)
    result[best < negative] = BACKGROUND
    matched = best >= positive
    result[matched] = index[matched]
    if low_quality is not None and regions.shape[0]:
        best_of_truth = overlap.amax(dim=0)
        tied = (overlap == best_of_truth[None, :]) & (best_of_truth[None, :] >= low_quality)
        region, nucleus = tied.nonzero(as_tuple=True)
        result[region] = nucleus
    return result


def sample(
    assigned: Tensor, count: int, positive_fraction: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Draw positives and negatives.

    Parameters
    ----------
    assigned
        From :func:`assign`.
    count
        At most this many in all.
    positive_fraction
        At most this share positive; negatives fill the rest.
    generator
        Source of randomness, on the CPU.

    Returns
    -------
    positives, negatives
        int64 indices.
    """
    positives = _draw((assigned >= 0).nonzero()[:, 0], int(count * positive_fraction), generator)
    negatives = _draw(
        (assigned == BACKGROUND).nonzero()[:, 0], count - positives.shape[0], generator
    )
    return positives, negatives


def _draw(index: Tensor, count: int, generator: torch.Generator) -> Tensor:
    if index.shape[0] <= count:
        return index
    order = torch.randperm(index.shape[0], generator=generator)[:count]
    return index[order.to(index.device)]


@dataclass(frozen=True)
class SampledRegions:
    """The regions one cascade stage learns from, positives first in each tile."""

    regions: Tensor
    """float (R, 5), tile index and xyxy"""
    positive: Tensor
    """bool (R,)"""
    truth: Tensor
    """int64 (R,), index into the batch's nuclei put end to end; 0 for negatives"""
    is_truth: Tensor
    """bool (R,), an annotated box that was added to the proposals"""


def sample_regions(
    proposals: list[Tensor],
    truth: list[Tensor],
    threshold: float,
    count: int,
    positive_fraction: float,
    generator: torch.Generator,
    *,
    low_quality: float | None = None,
) -> SampledRegions:
    """Assign and sample the proposals of a batch; the annotated boxes are added.

    Parameters
    ----------
    proposals, truth
        For each tile, float (N_i, 4) and float (G_i, 4).
    threshold
        IoU that makes a region a nucleus.
    count, positive_fraction
        As in :func:`sample`, for each tile.
    generator
        Source of randomness, on the CPU.
    low_quality
        As in :func:`assign`.
    """
    rows, positive, index, is_truth = [], [], [], []
    start = 0
    for tile, (found, known) in enumerate(zip(proposals, truth, strict=True)):
        pool = torch.cat([known, found])
        assigned = assign(pool, known, threshold, threshold, low_quality=low_quality)
        chosen, background = sample(assigned, count, positive_fraction, generator)
        picked = torch.cat([chosen, background])
        rows.append(torch.cat([pool.new_full((picked.shape[0], 1), tile), pool[picked]], dim=1))
        positive.append(torch.arange(picked.shape[0], device=pool.device) < chosen.shape[0])
        nucleus = assigned[picked]
        index.append(torch.where(nucleus >= 0, nucleus + start, 0))
        is_truth.append(picked < known.shape[0])
        start += known.shape[0]
    return SampledRegions(
        torch.cat(rows), torch.cat(positive), torch.cat(index), torch.cat(is_truth)
    )


def crop_masks(
    instances: Tensor, number: Tensor, tile: Tensor, corners: Tensor, size: int = 28
) -> Tensor:
    """Return what the mask head should answer: one nucleus, seen through a region.

    Each of the region's bins is looked up at its centre, bilinearly, and is inside from
    one half. The nuclei are read from their numbers, never as one plane for each.

    Parameters
    ----------
    instances
        int32 (B, H, W), 0 for background.
    number
        int64 (R,), the nucleus of each region in its tile.
    tile
        int64 (R,), the tile of each region.
    corners
        float (R, 4), xyxy in tile pixels.
    size
        Bins on a side.

    Returns
    -------
    Tensor
        float (R, size, size), 0 or 1.
    """
    _, height, width = instances.shape
    bins = (torch.arange(size, device=corners.device) + 0.5) / size
    x = corners[:, :1] + (corners[:, 2:3] - corners[:, :1]) * bins - 0.5
    y = corners[:, 1:2] + (corners[:, 3:] - corners[:, 1:2]) * bins - 0.5
    x0, y0 = x.floor(), y.floor()
    inside = torch.zeros(len(corners), size, size, device=corners.device)
    for row, row_weight in ((y0, 1 - (y - y0)), (y0 + 1, y - y0)):
        for column, column_weight in ((x0, 1 - (x - x0)), (x0 + 1, x - x0)):
            found = instances[
                tile[:, None, None],
                row.long().clamp(0, height - 1)[:, :, None],
                column.long().clamp(0, width - 1)[:, None, :],
            ]
            weight = row_weight[:, :, None] * column_weight[:, None, :]
            inside += weight * (found == number[:, None, None])
    return (inside >= 0.5).float()
