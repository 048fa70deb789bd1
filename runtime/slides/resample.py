"""Read a part of a slide at another scale, so that a pixel never depends on who asks for it.

The kernel `nuhtc.native.tiler.resample` computes every pixel from its place on the output plane
alone: two overlapping requests agree bit for bit on what they share, whatever the scale.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from nuhtc.native import tiler
from nuhtc.runtime.ground.errors import SlideReadError
from nuhtc.runtime.slides.damage import read_around_damage
from nuhtc.runtime.slides.slide import Area, Slide

THUMBNAIL_READ: Final = 1024
"""Side in level pixels of what a thumbnail reads at once; it bounds the memory."""

UNREADABLE: Final = 128
"""Grey level of a thumbnail's damaged parts: dark enough to count as tissue, so that their tiles
are tried, fail, and are reported instead of passing for background."""


def source_area(ratio: tuple[float, float], area: Area) -> Area:
    """Return the area in level pixels from which an area of the output plane is computed."""
    if ratio == (1.0, 1.0):
        return area
    x, y, width, height = area
    left, right = tiler.source_span(x, x + width, ratio[0])
    top, bottom = tiler.source_span(y, y + height, ratio[1])
    return left, top, right - left, bottom - top


def resample_pixels(
    pixels: NDArray[np.uint8], source: Area, ratio: tuple[float, float], area: Area
) -> NDArray[np.uint8]:
    """Resample the pixels of a source area to an area of the output plane.

    Parameters
    ----------
    pixels
        RGB of the area `source` of a level, in the level's pixels.
    source
        As `source_area` gives it, or larger.
    ratio
        Level pixels per output pixel in x and y; from 1 on pixels are averaged by area, below
        1 interpolated bilinearly.
    area
        What is wanted, in output pixels.

    Returns
    -------
    NDArray[np.uint8]
        RGB (height, width, 3).
    """
    if ratio == (1.0, 1.0):
        return pixels
    return tiler.resample(pixels, source[:2], ratio, area[:2], area[2:])


def best_level(downsamples: tuple[float, ...], ratio: float) -> int:
    """Choose the smallest level that still has every detail wanted.

    Parameters
    ----------
    downsamples
        Level-0 pixels per pixel of each level.
    ratio
        Level-0 pixels per wanted pixel.
    """
    fine = [
        (downsample, level)
        for level, downsample in enumerate(downsamples)
        if downsample <= ratio * 1.0001
    ]
    return max(fine)[1] if fine else 0


def thumbnail(slide: Slide, max_side: int) -> NDArray[np.uint8]:
    """Shrink a whole slide until its longer side is `max_side` pixels; never enlarge.

    It is read in pieces, so that memory stays bounded for a huge slide with a single level.
    Damaged parts are `UNREADABLE` grey.

    Returns
    -------
    NDArray[np.uint8]
        RGB (height, width, 3); it covers the slide exactly.

    Raises
    ------
    SlideReadError
        Nothing of the slide can be read.
    """
    if max_side < 1:
        raise ValueError(f"max_side must be at least 1, not {max_side}")
    shrink = max(1.0, max(slide.width, slide.height) / max_side)
    width = max(1, round(slide.width / shrink))
    height = max(1, round(slide.height / shrink))
    level = best_level(slide.downsamples, shrink)
    ratio = (
        slide.width / width / slide.downsamples[level],
        slide.height / height / slide.downsamples[level],
    )
    block = max(1, int(THUMBNAIL_READ / max(ratio)))
    out = np.empty((height, width, 3), np.uint8)
    readable, reason = False, ""
    for y in range(0, height, block):
        for x in range(0, width, block):
            area = (x, y, min(block, width - x), min(block, height - y))
            source = source_area(ratio, area)
            region = read_around_damage(slide, source, level, UNREADABLE)
            readable |= not region.lost(source)
            reason = reason or region.reason
            out[y : y + area[3], x : x + area[2]] = resample_pixels(
                region.pixels, source, ratio, area
            )
    if not readable:
        raise SlideReadError(reason)
    return out
