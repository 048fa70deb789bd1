"""How well one picture's nuclei are outlined: Dice, AJI, AJI+ and panoptic quality."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nuhtc.training.measures.overlaps import (
    Overlaps,
    best_assignment,
    best_for_each_truth,
    overlaps,
)


@dataclass(frozen=True)
class InstanceQuality:
    """Quality of one picture, whatever the classes, as Graham et al. 2019 report it."""

    dice: float
    """Dice of all foreground pixels."""
    aji: float
    """Aggregated Jaccard index (Kumar et al. 2017): every annotated nucleus takes the found one
    of the highest IoU, and what nobody took counts as union."""
    aji_plus: float
    """The same over the one-to-one pairing with the highest sum of IoUs."""
    dq: float
    """Detection quality: the F1 of nuclei matched with an IoU above 0.5."""
    sq: float
    """Segmentation quality: the mean IoU of the matched, 0 where none is."""
    matched: int
    missed: int
    invented: int

    @property
    def pq(self) -> float:
        """Panoptic quality (Kirillov et al. 2019), dq times sq."""
        return self.dq * self.sq


def instance_quality(pairs: Overlaps) -> InstanceQuality:
    """Measure one picture from its overlaps.

    An IoU above 0.5 can hold for one partner only, so matching needs no assignment. A picture
    without nuclei on either side scores 1; without them on one side, 0.

    Parameters
    ----------
    pairs
        Of the whole picture, or of one class.
    """
    truth, found = pairs.truth_count, pairs.found_count
    if truth + found == 0:
        return InstanceQuality(1.0, 1.0, 1.0, 1.0, 1.0, 0, 0, 0)
    ious = pairs.ious
    good = ious[ious > 0.5]
    matched = len(good)
    return InstanceQuality(
        dice=float(2 * pairs.shared.sum() / (pairs.truth_area.sum() + pairs.found_area.sum())),
        aji=_aggregated_jaccard(pairs, best_for_each_truth(pairs)),
        aji_plus=_aggregated_jaccard(pairs, best_assignment(pairs)),
        dq=2 * matched / (truth + found),
        sq=float(good.mean()) if matched else 0.0,
        matched=matched,
        missed=truth - matched,
        invented=found - matched,
    )


def compare(truth: NDArray[np.int32], found: NDArray[np.int32]) -> InstanceQuality:
    """Measure found nuclei against annotated ones.

    Parameters
    ----------
    truth, found
        int32 (H, W), 0 for background, nuclei numbered in any way.
    """
    return instance_quality(overlaps(truth, found))


def _aggregated_jaccard(pairs: Overlaps, chosen: NDArray[np.int64]) -> float:
    """Return the chosen pairs' intersections over their unions and the area of all unchosen."""
    left_truth, left_found = pairs.truth_area.copy(), pairs.found_area.copy()
    left_truth[pairs.truth_ids[chosen]] = 0
    left_found[pairs.found_ids[chosen]] = 0
    union = pairs.unions[chosen].sum() + left_truth.sum() + left_found.sum()
    return float(pairs.shared[chosen].sum() / union)
