"""Outlines as a picture of labels."""

import numpy as np
from numpy.typing import NDArray

from nuhtc.runtime.nuclei.nuclei import UNITS_PER_PX, Nuclei

HALF: int = UNITS_PER_PX // 2
"""From a pixel's corner to its centre."""

AT_ONCE: int = 4096
"""Nuclei painted together: enough for arrays to pay, little memory."""


def label_image(nuclei: Nuclei, region: tuple[int, int, int, int]) -> NDArray[np.int32]:
    """Paint outlines: a pixel has the number of the nucleus that its centre lies in.

    Where outlines overlap, the higher score has the pixel; of equal scores, the later nucleus.

    Parameters
    ----------
    nuclei
        With simple rings.
    region
        x, y, width, height in level-0 pixels; whole numbers.

    Returns
    -------
    NDArray[np.int32]
        (height, width): 0 for none, else the nucleus's place in `nuclei` plus 1.
    """
    x, y, width, height = region
    image = np.zeros((height, width), np.int32)
    low, high = np.array([x, y]) * UNITS_PER_PX, np.array([x + width, y + height]) * UNITS_PER_PX
    box = nuclei.bbox
    near = np.flatnonzero(((box[:, 2:] > low) & (box[:, :2] < high)).all(axis=1))
    order = near[np.argsort(nuclei.score[near], kind="stable")]
    for start in range(0, len(order), AT_ONCE):
        index = order[start : start + AT_ONCE]
        rings = nuclei.take(index)
        rank, row, left, right = _spans(rings.coords - low, rings.offsets)
        left, right = np.clip(left, 0, width), np.clip(right, 0, width)
        seen = (row >= 0) & (row < height) & (left < right)
        rank, row, left, right = rank[seen], row[seen], left[seen], right[seen]
        lengths = right - left
        ends = np.cumsum(lengths)
        pixel = np.arange(ends[-1] if len(ends) else 0) + np.repeat(
            row * width + left - (ends - lengths), lengths
        )
        # Spans stand in the order of the scores, and the last to claim a pixel has it.
        image.reshape(-1)[pixel] = np.repeat(index[rank] + 1, lengths)
    return image


def _spans(
    coords: NDArray[np.int64], offsets: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return what rings cover as ring, row, first and past-the-last pixel of each span.

    Along a row's line of centres a ring is entered and left in turn; between the two lie its
    pixels. Edges are crossed where a line passes from their one end to, but not onto, the other.
    """
    ring = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    after = np.arange(1, len(coords) + 1)
    after[offsets[1:][np.diff(offsets) > 0] - 1] = offsets[:-1][np.diff(offsets) > 0]
    (xa, ya), (xb, yb) = coords.astype(np.int64).T, coords[after].astype(np.int64).T
    # The rows whose line of centres an edge crosses: HALF + 100 * row, from its lower end on.
    first = _rows_below(np.minimum(ya, yb))
    count = _rows_below(np.maximum(ya, yb)) - first
    edge = np.repeat(np.arange(len(count)), count)
    row = first[edge] + np.arange(len(edge)) - np.repeat(np.cumsum(count) - count, count)
    rise = (yb - ya)[edge]
    # Times the rise, so that whole numbers tell which centres lie right of the crossing.
    over = (row * UNITS_PER_PX + HALF - ya[edge]) * (xb - xa)[edge] + (xa[edge] - HALF) * rise
    column = -((-over * np.sign(rise)) // (UNITS_PER_PX * np.abs(rise)))
    order = np.lexsort((column, row, ring[edge]))
    ring, row, column = ring[edge][order], row[order], column[order]
    return ring[::2], row[::2], column[::2], column[1::2]


def _rows_below(y: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return how many rows have their line of centres above a height."""
    return -((HALF - y) // UNITS_PER_PX)
