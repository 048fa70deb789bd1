"""Read a part of a slide at another scale, so that a pixel never depends on who asks for it.

The output plane is divided into fixed square blocks. Each block is resampled alone, from source
pixels chosen by the block's place only; a larger area is put together from whole blocks and cut
to size. Two overlapping requests therefore agree bit for bit on what they share, whatever the
scale: Pillow's float32 box and its fixed-point weights see the same numbers in both.
"""

import math
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nuhtc.runtime.errors import SlideReadError

BLOCK = 64
"""Side of a block in output pixels."""

THUMBNAIL_READ = 1024
"""Side in level pixels of what a thumbnail reads at once; it bounds the memory."""

UNREADABLE = 128
"""Grey level of a thumbnail's damaged parts: dark enough to count as tissue, so that their tiles
are tried, fail, and are reported instead of passing for background."""


class Readable(Protocol):
    """The part of a slide that resampling needs."""

    @property
    def width(self) -> int:
        """Level-0 width in pixels."""

    @property
    def height(self) -> int:
        """Level-0 height in pixels."""

    @property
    def downsamples(self) -> tuple[float, ...]:
        """Level-0 pixels per pixel of each level."""

    def read(self, x: int, y: int, level: int, width: int, height: int) -> NDArray[np.uint8]:
        """Read RGB (height, width, 3); x and y in the level's pixels; white outside."""


def resample(
    slide: Readable,
    level: int,
    ratio: tuple[float, float],
    origin: tuple[int, int],
    size: tuple[int, int],
    *,
    block: int = BLOCK,
    area: bool = False,
) -> NDArray[np.uint8]:
    """Read an area of the plane whose pixels are `ratio` level pixels wide.

    Parameters
    ----------
    slide
        Where to read.
    level
        The pyramid level to read.
    ratio
        Level pixels per output pixel in x and y; above 1 shrinks, below 1 enlarges.
    origin
        (x, y) of the area in output pixels.
    size
        (width, height) of the area in output pixels.
    block
        Side of the fixed blocks in output pixels.
    area
        Average exactly the pixels below each output pixel; otherwise a triangle filter, which
        is bilinear when enlarging and antialiased when shrinking.

    Returns
    -------
    NDArray[np.uint8]
        RGB (height, width, 3).
    """
    x, y = origin
    width, height = size
    if ratio == (1.0, 1.0):
        return slide.read(x, y, level, width, height)
    columns = range(x // block, (x + width - 1) // block + 1)
    rows = range(y // block, (y + height - 1) // block + 1)
    spans_x = [_span(column, block, ratio[0]) for column in columns]
    spans_y = [_span(row, block, ratio[1]) for row in rows]
    left, top = spans_x[0][0], spans_y[0][0]
    source = slide.read(left, top, level, spans_x[-1][1] - left, spans_y[-1][1] - top)
    kernel = Image.Resampling.BOX if area else Image.Resampling.BILINEAR
    out = np.empty((len(rows) * block, len(columns) * block, 3), np.uint8)
    for i, (y0, y1) in enumerate(spans_y):
        for j, (x0, x1) in enumerate(spans_x):
            part = Image.fromarray(source[y0 - top : y1 - top, x0 - left : x1 - left])
            start_x = columns[j] * block * ratio[0] - x0
            start_y = rows[i] * block * ratio[1] - y0
            box = (start_x, start_y, start_x + block * ratio[0], start_y + block * ratio[1])
            shrunk = np.asarray(part.resize((block, block), kernel, box))
            out[i * block : (i + 1) * block, j * block : (j + 1) * block] = shrunk
    dx, dy = x - columns[0] * block, y - rows[0] * block
    return out[dy : dy + height, dx : dx + width]


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


def thumbnail(slide: Readable, max_side: int) -> NDArray[np.uint8]:
    """Shrink a whole slide until its longer side is `max_side` pixels; never enlarge.

    It is read in pieces, so that memory stays bounded for a huge slide with a single level.
    Pieces that cannot be read are `UNREADABLE` grey.

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
    out = np.full((height, width, 3), UNREADABLE, np.uint8)
    readable, failure = 0, None
    for y in range(0, height, block):
        for x in range(0, width, block):
            size = (min(block, width - x), min(block, height - y))
            try:
                piece = resample(slide, level, ratio, (x, y), size, block=block, area=True)
            except SlideReadError as error:
                failure = error
                continue
            out[y : y + size[1], x : x + size[0]] = piece
            readable += 1
    if failure is not None and not readable:
        raise failure
    return out


def _span(index: int, block: int, ratio: float) -> tuple[int, int]:
    """Give the half-open range of source pixels that a block and its filter can touch."""
    margin = math.ceil(max(ratio, 1.0)) + 1
    start = math.floor(index * block * ratio) - margin
    stop = math.ceil((index + 1) * block * ratio) + margin
    return start, stop
