"""Detection and classification as CoNSeP and HoVer-Net count them (Graham et al. 2019).

Centroids are paired, and one table per picture then holds all there is to know: whom the
annotation calls what, whom the prediction calls what, who was missed, who was invented.
Tables of pictures add up, and every score is a function of the sum.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

RADIUS_40X, RADIUS_20X = 12.0, 6.0
"""Pixels within which centroids pair, as published for each magnification."""

Pairing = Callable[
    [NDArray[np.float64], NDArray[np.float64], float], tuple[NDArray[np.int64], NDArray[np.int64]]
]
"""Of annotated and found centroids within a radius: indices of the pairs in both."""


def pairing_radius(mpp: float) -> float:
    """Return the pixels within which centroids pair in pictures of `mpp` um per pixel."""
    return RADIUS_40X if mpp < 0.375 else RADIUS_20X


def centroids(instances: NDArray[np.int32], count: int) -> NDArray[np.float64]:
    """Return mean x, y of each nucleus's pixels, float64 (count, 2); numbers are 1 to `count`."""
    height, width = instances.shape
    flat = instances.ravel()
    area = np.bincount(flat, minlength=count + 1)[1:]
    x = np.bincount(flat, np.tile(np.arange(width), height), count + 1)[1:]
    y = np.bincount(flat, np.repeat(np.arange(height), width), count + 1)[1:]
    return np.stack([x, y], axis=1) / area[:, None]


def pair_centroids(
    truth: NDArray[np.float64], found: NDArray[np.float64], radius: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pair points one to one with the least sum of distances, then drop pairs too far apart.

    As published. The sum counts the far pairs too: a point that has no partner near it can pull
    its neighbours' partners away, one after the other, until none of them is near enough.

    Parameters
    ----------
    truth, found
        float64 (n, 2) and (m, 2), pixels.
    radius
        Pairs farther apart than this are dropped.

    Returns
    -------
    truth, found
        int64 indices of the pairs.
    """
    distances = cdist(truth, found)
    rows, columns = linear_sum_assignment(distances)
    near = distances[rows, columns] <= radius
    return rows[near], columns[near]


def pair_near(
    truth: NDArray[np.float64], found: NDArray[np.float64], radius: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pair as many points as lie within the radius, and of all such ways by the least sum.

    Parameters and result are those of :func:`pair_centroids`.
    """
    distances = cdist(truth, found)
    near = distances <= radius
    # One pair more is worth more than all distances together.
    worth = radius * (1 + min(distances.shape))
    rows, columns = linear_sum_assignment(np.where(near, distances - worth, 0.0))
    paired = near[rows, columns]
    return rows[paired], columns[paired]


def confusion(
    truth: NDArray[np.int32],
    found: NDArray[np.int32],
    truth_types: NDArray[np.int64],
    found_types: NDArray[np.int64],
    classes: int,
    radius: float,
    pair: Pairing = pair_centroids,
) -> NDArray[np.int64]:
    """Count a picture's nuclei by what annotation and prediction call them.

    Parameters
    ----------
    truth, found
        int32 (H, W), 0 for background, numbered from 1 without gaps.
    truth_types, found_types
        int64 (nuclei + 1,), class index, -1 for a nucleus of none of the classes; entry 0 is
        unused.
    classes
        How many classes are compared; 0 for none.
    radius
        In pixels.
    pair
        Who belongs together; as published unless :func:`pair_near` is given.

    Returns
    -------
    int64 (classes + 2, classes + 2)
        A row for each annotated class, then one for nuclei of no class, then the invented;
        a column for each predicted class, then one for those of no class, then the missed.
    """
    table = np.zeros((classes + 2, classes + 2), np.int64)
    rows = np.where(truth_types < 0, classes, truth_types)[1:]
    columns = np.where(found_types < 0, classes, found_types)[1:]
    i, j = pair(centroids(truth, len(rows)), centroids(found, len(columns)), radius)
    np.add.at(table, (rows[i], columns[j]), 1)
    np.add.at(table[:, -1], np.delete(rows, i), 1)
    np.add.at(table[-1], np.delete(columns, j), 1)
    return table


@dataclass(frozen=True)
class DetectionScores:
    """Scores of one picture, or of all; nan where nothing is there to divide by."""

    precision: float
    recall: float
    f1: float
    type_accuracy: float
    """Of the paired nuclei whose annotated class is compared, the share called so."""
    class_f1: tuple[float, ...]
    """For each class, detection and classification in one: nuclei of another or no class count
    twice where they were paired, once where they were missed or invented."""


def detection_scores(table: NDArray[np.int64]) -> DetectionScores:
    """Return the scores of a table from :func:`confusion`, or of a sum of such tables."""
    paired = table[:-1, :-1]
    tp, missed, invented = int(paired.sum()), int(table[:, -1].sum()), int(table[-1].sum())
    named = paired[:-1]
    right = np.diag(named)
    wrong = paired.sum(axis=1)[:-1] + paired.sum(axis=0)[:-1] - 2 * right
    alone = table[:-2, -1] + table[-1, :-2]
    return DetectionScores(
        precision=ratio(tp, tp + invented),
        recall=ratio(tp, tp + missed),
        f1=ratio(2 * tp, 2 * tp + missed + invented),
        type_accuracy=ratio(int(right.sum()), int(named.sum())),
        class_f1=tuple(
            ratio(2 * int(r), 2 * int(r) + 2 * int(w) + int(a))
            for r, w, a in zip(right, wrong, alone, strict=True)
        ),
    )


def ratio(part: float, whole: float) -> float:
    """Return `part` of `whole`, nan of nothing."""
    return part / whole if whole else float("nan")
