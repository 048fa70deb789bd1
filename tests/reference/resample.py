"""Resampling as it is defined, in plain NumPy; `native/tiler.pyx` must agree bit for bit."""

import numpy as np
from numpy.typing import NDArray

ONE = 32768


def axis_weights(start: int, count: int, ratio: float) -> tuple[int, NDArray[np.int64]]:
    """Return the first source pixel, and the weights as a matrix (count, source pixels)."""
    i = np.arange(start, start + count)
    if ratio < 1:
        place = (i + 0.5) * ratio - 0.5
        low = np.floor(place)
        first, last = low.astype(np.int64), low.astype(np.int64) + 1
    else:
        low, high = i * ratio, (i + 1) * ratio
        first = np.floor(low).astype(np.int64)
        last = np.maximum(first, np.ceil(high).astype(np.int64) - 1)
    origin = int(first[0])
    weights = np.zeros((count, int(last.max()) + 1 - origin), np.int64)
    for n in range(count):
        if ratio < 1:
            after = int(np.floor(ONE * (place[n] - first[n]) + 0.5))
            sums = [0, ONE - after, ONE]
        else:
            inner = np.arange(first[n] + 1, last[n] + 1)
            sums = [0, *np.floor(ONE * ((inner - low[n]) / ratio) + 0.5).astype(int), ONE]
        weights[n, first[n] - origin : last[n] + 1 - origin] = np.diff(sums)
    return origin, weights


def resample(
    source: NDArray[np.uint8],
    source_origin: tuple[int, int],
    ratio: tuple[float, float],
    origin: tuple[int, int],
    size: tuple[int, int],
) -> NDArray[np.uint8]:
    """Return RGB (height, width, 3) of an area of the output plane."""
    left, wx = axis_weights(origin[0], size[0], ratio[0])
    top, wy = axis_weights(origin[1], size[1], ratio[1])
    left, top = left - source_origin[0], top - source_origin[1]
    part = source[top : top + wy.shape[1], left : left + wx.shape[1]].astype(np.int64)
    across = (np.einsum("ik,ykc->yic", wx, part) + 128) >> 8
    down: NDArray[np.int64] = (np.einsum("jy,yic->jic", wy, across) + (1 << 21)) >> 22
    return down.astype(np.uint8)
