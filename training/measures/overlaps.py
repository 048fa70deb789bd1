"""One pass over two label maps: which nuclei share how many pixels. Every measure starts here."""

from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components


@dataclass(frozen=True)
class Overlaps:
    """Annotated and found nuclei of one picture, and every pair that shares a pixel.

    A nucleus is a number whose area is above 0; 0 is the background, and numbers may have gaps.
    """

    truth_area: NDArray[np.int64]
    """(highest number + 1,), pixels; 0 for the background"""
    found_area: NDArray[np.int64]
    """(highest number + 1,), pixels; 0 for the background"""
    truth_ids: NDArray[np.int64]
    """(pairs,), ascending"""
    found_ids: NDArray[np.int64]
    """(pairs,), ascending within one annotated nucleus"""
    shared: NDArray[np.int64]
    """(pairs,), pixels of the intersection"""

    @property
    def unions(self) -> NDArray[np.int64]:
        """Pixels of each pair's union."""
        areas = self.truth_area[self.truth_ids] + self.found_area[self.found_ids]
        return cast("NDArray[np.int64]", areas - self.shared)

    @property
    def ious(self) -> NDArray[np.float64]:
        """Intersection over union of each pair, above 0."""
        return self.shared / self.unions

    @property
    def truth_count(self) -> int:
        """How many nuclei are annotated."""
        return int(np.count_nonzero(self.truth_area))

    @property
    def found_count(self) -> int:
        """How many nuclei were found."""
        return int(np.count_nonzero(self.found_area))

    def only(self, truth: NDArray[np.bool_], found: NDArray[np.bool_]) -> "Overlaps":
        """Return the same picture with some of its nuclei, such as those of one class.

        Parameters
        ----------
        truth, found
            For each number whether it stays, shaped like the areas.
        """
        kept = truth[self.truth_ids] & found[self.found_ids]
        return Overlaps(
            np.where(truth, self.truth_area, 0),
            np.where(found, self.found_area, 0),
            self.truth_ids[kept],
            self.found_ids[kept],
            self.shared[kept],
        )


def overlaps(truth: NDArray[np.int32], found: NDArray[np.int32]) -> Overlaps:
    """Count the pixels of all nuclei and of all pairs of them.

    Parameters
    ----------
    truth, found
        int32 (H, W), 0 for background, nuclei numbered in any way.
    """
    truth_area, found_area = np.bincount(truth.ravel()), np.bincount(found.ravel())
    truth_area[:1] = found_area[:1] = 0
    both = (truth > 0) & (found > 0)
    width = len(found_area)
    pairs, shared = np.unique(
        truth[both].astype(np.int64) * width + found[both], return_counts=True
    )
    truth_ids, found_ids = np.divmod(pairs, width) if len(pairs) else (pairs, pairs)
    return Overlaps(truth_area, found_area, truth_ids, found_ids, shared)


def best_for_each_truth(pairs: Overlaps) -> NDArray[np.int64]:
    """Return the pair with the highest IoU of every annotated nucleus that has one.

    Of equal ones the lowest found number counts. A found nucleus may be the best of several.

    Returns
    -------
    int64 (annotated nuclei with a pair,)
        Indices into the pairs.
    """
    order = np.lexsort((pairs.found_ids, -pairs.ious, pairs.truth_ids))
    return order[np.unique(pairs.truth_ids[order], return_index=True)[1]]


def best_assignment(pairs: Overlaps) -> NDArray[np.int64]:
    """Return the one-to-one pairing with the highest sum of IoUs.

    Nuclei that are not linked by overlaps cannot compete, so each island of them is solved
    by itself: the same optimum as over the whole table, without the table.

    Returns
    -------
    int64 (pairs chosen,)
        Indices into the pairs, ascending.
    """
    if not len(pairs.shared):
        return np.zeros(0, np.int64)
    offset = len(pairs.truth_area)
    size = offset + len(pairs.found_area)
    links = coo_array(
        (np.ones(len(pairs.shared)), (pairs.truth_ids, pairs.found_ids + offset)), (size, size)
    )
    island = connected_components(links, directed=False)[1][pairs.truth_ids]
    order = np.argsort(island, kind="stable")
    ends = np.flatnonzero(np.diff(island[order])) + 1
    ious = pairs.ious
    chosen: list[NDArray[np.int64]] = []
    for group in np.split(order, ends):
        if len(group) == 1:
            chosen.append(group)
            continue
        rows, row = np.unique(pairs.truth_ids[group], return_inverse=True)
        columns, column = np.unique(pairs.found_ids[group], return_inverse=True)
        table = np.zeros((len(rows), len(columns)))
        table[row, column] = ious[group]
        taken = np.zeros(table.shape, bool)
        taken[linear_sum_assignment(table, maximize=True)] = True
        chosen.append(group[taken[row, column]])
    return np.sort(np.concatenate(chosen))
