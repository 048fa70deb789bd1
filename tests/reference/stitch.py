"""Plain NumPy twins of ``nuhtc.native.stitch``: rings drawn as pixels, pairs one by one."""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Ring = NDArray[np.int32]


def draw(ring: Ring, x0: int, y0: int, x1: int, y1: int) -> NDArray[np.bool_]:
    """Draw the pixels inside a ring, as far as they lie in a rectangle."""
    pixels = np.zeros((max(y1 - y0, 0), max(x1 - x0, 0)), bool)
    for (xa, ya), (xb, yb) in zip(ring.tolist(), np.roll(ring, -1, axis=0).tolist(), strict=True):
        if xa == xb:
            top, bottom = sorted((ya, yb))
            rows = slice(max(top - y0, 0), max(bottom - y0, 0))
            pixels[rows, max(xa - x0, 0) :] ^= True
    return pixels


def shared_area(a: Ring, b: Ring, window: tuple[int, int, int, int] | None = None) -> int:
    """Count the pixels inside both rings, and inside a rectangle if there is one."""
    if not len(a) or not len(b):
        return 0
    low = np.maximum(a.min(axis=0), b.min(axis=0))
    high = np.minimum(a.max(axis=0), b.max(axis=0))
    if window is not None:
        low, high = np.maximum(low, window[:2]), np.minimum(high, window[2:])
    box = (int(low[0]), int(low[1]), int(high[0]), int(high[1]))
    return int(np.count_nonzero(draw(a, *box) & draw(b, *box)))


def rings_of(coords: NDArray[np.int32], offsets: NDArray[np.int64]) -> list[Ring]:
    """Cut ragged coordinates up into rings."""
    return [coords[i:j] for i, j in pairwise(offsets)]


def overlap_areas(
    coords: NDArray[np.int32], offsets: NDArray[np.int64], pairs: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Twin of ``nuhtc.native.stitch.overlap_areas``."""
    rings = rings_of(coords, offsets)
    return np.array([shared_area(rings[i], rings[j]) for i, j in pairs], np.int64)


def resolve_borders(
    coords: NDArray[np.int32],
    offsets: NDArray[np.int64],
    area: NDArray[np.int64],
    tile: NDArray[np.int32],
    owned: NDArray[np.bool_],
    cut: NDArray[np.bool_],
    score: NDArray[np.float32],
    *,
    probe: NDArray[np.bool_] | None = None,
    windows: NDArray[np.int32] | None = None,
    share: float = 0.5,
) -> NDArray[np.bool_]:
    """Twin of ``nuhtc.native.stitch.resolve_borders``."""
    rings = rings_of(coords, offsets)
    marked = np.ones(len(rings), bool) if probe is None else probe

    def same(i: int, j: int) -> bool:
        if tile[i] == tile[j] or not (marked[i] or marked[j]):
            return False
        smaller = min(area[i], area[j])
        if windows is not None and cut[i] and cut[j]:
            low = np.maximum(windows[i, :2], windows[j, :2])
            high = np.minimum(windows[i, 2:], windows[j, 2:])
            both = (int(low[0]), int(low[1]), int(high[0]), int(high[1]))
            smaller = min(shared_area(rings[k], rings[k], both) for k in (i, j))
        return bool(shared_area(rings[i], rings[j]) > share * smaller)

    order = sorted(range(len(rings)), key=lambda i: (cut[i], not owned[i], -score[i], tile[i]))
    keep = np.zeros(len(rings), bool)
    for i in order:
        keep[i] = not any(same(i, j) for j in np.flatnonzero(keep).tolist())
    return keep
