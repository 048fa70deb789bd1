"""Known nuclei to find again: label images of round shapes that keep apart."""

import numpy as np
from numpy.typing import NDArray


def random_ellipses(
    seed: int, height: int, width: int, count: int, sides: tuple[float, float]
) -> NDArray[np.int32]:
    """Return a label image of up to `count` ellipses whose axes lie within `sides` pixels.

    They may touch, never overlap, and may be cropped by the picture's border.
    """
    rng = np.random.default_rng(seed)
    labels = np.zeros((height, width), np.int32)
    y, x = np.mgrid[:height, :width] + 0.5
    for _ in range(count):
        centre_x, centre_y = rng.uniform((0, 0), (width, height))
        half_x, half_y = rng.uniform(*sides, size=2) / 2
        inside = ((x - centre_x) / half_x) ** 2 + ((y - centre_y) / half_y) ** 2 <= 1
        if inside.sum() >= 20 and not labels[inside].any():
            labels[inside] = labels.max() + 1
    return labels


def fill_ring(ring: NDArray[np.integer], height: int, width: int) -> NDArray[np.bool_]:
    """Return the pixels inside a ring along pixel edges, by the even-odd rule."""
    flips = np.zeros((height, width + 1), np.bool_)
    for (x0, y0), (x1, y1) in zip(ring, np.roll(ring, -1, axis=0), strict=True):
        if x0 == x1:
            flips[min(y0, y1) : max(y0, y1), x0] ^= True
        else:
            assert y0 == y1, "every edge runs along the pixel grid"
    return np.logical_xor.accumulate(flips, axis=1)[:, :width]
