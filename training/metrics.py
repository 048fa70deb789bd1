"""Panoptic quality and its parts, of one picture's nuclei."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class PanopticQuality:
    """Class-agnostic quality of one picture (Kirillov et al. 2019; Graham et al. 2019)."""

    dq: float
    """Detection quality: the F1 of nuclei matched with an IoU above 0.5."""
    sq: float
    """Segmentation quality: the mean IoU of the matched."""
    dice: float
    """Dice of all foreground pixels."""
    matched: int
    missed: int
    invented: int

    @property
    def pq(self) -> float:
        """Panoptic quality, dq times sq."""
        return self.dq * self.sq


def pair_ious(
    truth: NDArray[np.int32], found: NDArray[np.int32]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Every overlapping pair of nuclei, with its intersection over union.

    Parameters
    ----------
    truth, found
        int32 (H, W), 0 for background.

    Returns
    -------
    truth_ids, found_ids, ious
        One entry for each pair that shares a pixel.
    """
    width = int(found.max(initial=0)) + 1
    pairs, counts = np.unique(truth.astype(np.int64) * width + found, return_counts=True)
    truth_ids, found_ids = np.divmod(pairs, width)
    truth_area = np.bincount(truth.ravel())
    found_area = np.bincount(found.ravel())
    both = (truth_ids > 0) & (found_ids > 0)
    truth_ids, found_ids, counts = truth_ids[both], found_ids[both], counts[both]
    union = truth_area[truth_ids] + found_area[found_ids] - counts
    return truth_ids, found_ids, counts / union


def panoptic_quality(truth: NDArray[np.int32], found: NDArray[np.int32]) -> PanopticQuality:
    """Compare found nuclei with annotated ones.

    An IoU above 0.5 can hold for one partner only, so no assignment is needed. A picture
    without nuclei on either side scores 1; without them on one side, 0.

    Parameters
    ----------
    truth, found
        int32 (H, W), 0 for background, nuclei numbered in any way.
    """
    _, _, ious = pair_ious(truth, found)
    good = ious[ious > 0.5]
    matched = len(good)
    missed = len(np.unique(truth[truth > 0])) - matched
    invented = len(np.unique(found[found > 0])) - matched
    if matched + missed + invented == 0:
        return PanopticQuality(1.0, 1.0, 1.0, 0, 0, 0)
    both = np.count_nonzero((truth > 0) & (found > 0))
    pixels = np.count_nonzero(truth) + np.count_nonzero(found)
    return PanopticQuality(
        dq=matched / (matched + 0.5 * missed + 0.5 * invented),
        sq=float(good.mean()) if matched else 0.0,
        dice=2 * both / pixels,
        matched=matched,
        missed=missed,
        invented=invented,
    )
