"""Plain NumPy/SciPy twin of ``nuhtc.native.outlines``."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Outlines = tuple[
    NDArray[np.int32],
    NDArray[np.int64],
    NDArray[np.int32],
    NDArray[np.float32],
    NDArray[np.int32],
]


def blend(
    low: np.float32, high: np.float32, size: int, count: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return, for each pixel, the padded mask's cell before its centre and the next one's share."""
    centre = np.arange(count, dtype=np.float32) + np.float32(0.5)
    u = (centre - low) / (high - low) * np.float32(size) - np.float32(0.5)
    inside = (u > -1) & (u < size)
    cell = np.floor(np.where(inside, u, np.float32(-1)))
    part = np.where(inside, u - cell, np.float32(0))
    return cell.astype(np.int64) + 1, part


def paste(
    mask: NDArray[np.float32],
    box: NDArray[np.float32],
    width: int,
    height: int,
    threshold: float = 0.5,
) -> NDArray[np.bool_]:
    """Paste a mask into a whole tile and cut it at the threshold; float32 throughout."""
    if not np.isfinite(box).all() or box[2] <= box[0] or box[3] <= box[1]:
        return np.zeros((height, width), bool)
    padded = np.pad(mask, 1)
    column, right = blend(box[0], box[2], len(mask), width)
    row, below = blend(box[1], box[3], len(mask), height)
    one = np.float32(1)
    wide = padded[:, column] * (one - right) + padded[:, column + 1] * right
    tall = wide[row] * (one - below)[:, None] + wide[row + 1] * below[:, None]
    return np.asarray(tall >= np.float32(threshold))


def solid(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Keep the largest 4-connected component and fill its holes."""
    labels, count = ndimage.label(mask)
    if not count:
        return mask
    sizes = np.bincount(labels.ravel())[1:]
    return np.asarray(ndimage.binary_fill_holes(labels == 1 + np.argmax(sizes)))


def ring_of(mask: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Chain the edges between a solid mask and its surroundings, mask at the right hand."""
    padded = np.pad(mask, 1)
    following: dict[tuple[int, int], tuple[int, int]] = {}
    for y, x in np.argwhere(mask).tolist():
        if not padded[y, x + 1]:
            following[x, y] = (x + 1, y)
        if not padded[y + 1, x + 2]:
            following[x + 1, y] = (x + 1, y + 1)
        if not padded[y + 2, x + 1]:
            following[x + 1, y + 1] = (x, y + 1)
        if not padded[y + 1, x]:
            following[x, y + 1] = (x, y)
    if not following:
        return []
    start = min(following, key=lambda point: (point[1], point[0]))
    points = [start]
    while (point := following[points[-1]]) != start:
        points.append(point)
    assert len(points) == len(following), "the boundary is one simple ring"
    return [
        here
        for before, here, after in zip(
            points[-1:] + points[:-1], points, points[1:] + points[:1], strict=True
        )
        if (after[0] - here[0], after[1] - here[1]) != (here[0] - before[0], here[1] - before[1])
    ]


def trace_masks(
    masks: NDArray[np.float32],
    boxes: NDArray[np.float32],
    width: int,
    height: int,
    threshold: float = 0.5,
) -> Outlines:
    """Twin of ``nuhtc.native.outlines.trace_masks``."""
    coords: list[tuple[int, int]] = []
    offsets = [0]
    area = np.zeros(len(masks), np.int32)
    centroid = np.zeros((len(masks), 2), np.float32)
    bbox = np.zeros((len(masks), 4), np.int32)
    for i, (mask, box) in enumerate(zip(masks, boxes, strict=True)):
        pixels = solid(paste(mask, box, width, height, threshold))
        ys, xs = np.nonzero(pixels)
        if len(xs):
            coords += ring_of(pixels)
            area[i] = len(xs)
            centroid[i] = xs.mean() + 0.5, ys.mean() + 0.5
            bbox[i] = xs.min(), ys.min(), xs.max() + 1, ys.max() + 1
        offsets.append(len(coords))
    return (
        np.array(coords, np.int32).reshape(-1, 2),
        np.array(offsets, np.int64),
        area,
        centroid,
        bbox,
    )
