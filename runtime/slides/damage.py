"""Read around what is damaged: every pixel that can be read is, and the rest is listed."""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from nuhtc.runtime.ground.errors import SlideReadError
from nuhtc.runtime.slides.slide import Area, Slide

CELL: Final = (64, 64)
"""Level pixels that are damaged as one, where a slide does not say."""

WHITE: Final = 255


@dataclass(frozen=True)
class Region:
    """What could be read of a region."""

    pixels: NDArray[np.uint8]
    """RGB (height, width, 3); filled where the slide is damaged"""
    damaged: tuple[Area, ...]
    """the damaged cells, in the level's pixels; they do not overlap"""
    reason: str
    """the first error's message, "" where nothing is damaged"""
    level_px: tuple[int, int]
    """(width, height) of the level"""

    def damaged_in(self, area: Area) -> tuple[Area, ...]:
        """Return the damaged cells that an area touches."""
        return tuple(cell for cell in self.damaged if _size(_shared(cell, area)))

    def lost(self, area: Area) -> bool:
        """Tell whether all of an area that lies on the slide is damaged."""
        on_slide = _shared(area, (0, 0, *self.level_px))
        covered = sum(_size(_shared(cell, on_slide)) for cell in self.damaged)
        return bool(self.damaged) and covered == _size(on_slide)


def read_around_damage(slide: Slide, area: Area, level: int, fill: int = WHITE) -> Region:
    """Read an area of a level (in its pixels); what is damaged is of the grey level `fill`.

    Where the area cannot be read as a whole, it is read cell by cell: a cell is what the file
    packs as one, so that a pixel is damaged or not whatever area it is read with.
    """
    x, y, width, height = area
    downsample = slide.downsamples[level]
    level_px = (math.ceil(slide.width / downsample), math.ceil(slide.height / downsample))
    try:
        return Region(slide.read(x, y, level, width, height), (), "", level_px)
    except SlideReadError as error:
        cell_width, cell_height = error.cell or CELL
        reason = str(error)
    right, bottom = min(x + width, level_px[0]), min(y + height, level_px[1])
    pixels = np.full((height, width, 3), WHITE, np.uint8)
    damaged = []
    for cell_y in range(max(y, 0) // cell_height * cell_height, bottom, cell_height):
        for cell_x in range(max(x, 0) // cell_width * cell_width, right, cell_width):
            x0, x1 = max(x, cell_x), min(right, cell_x + cell_width)
            y0, y1 = max(y, cell_y), min(bottom, cell_y + cell_height)
            try:
                part = slide.read(x0, y0, level, x1 - x0, y1 - y0)
            except SlideReadError:
                damaged.append((cell_x, cell_y, cell_width, cell_height))
                pixels[y0 - y : y1 - y, x0 - x : x1 - x] = fill
            else:
                pixels[y0 - y : y1 - y, x0 - x : x1 - x] = part
    return Region(pixels, tuple(damaged), reason if damaged else "", level_px)


def _shared(area: Area, other: Area) -> Area:
    x, y = max(area[0], other[0]), max(area[1], other[1])
    right = min(area[0] + area[2], other[0] + other[2])
    bottom = min(area[1] + area[3], other[1] + other[3])
    return x, y, max(0, right - x), max(0, bottom - y)


def _size(area: Area) -> int:
    return area[2] * area[3]
