"""A picture of the slide with its nuclei outlined, to see at a glance whether they are right.

A slide that is shown at (nearly) full size gets outlines in the classes' colours. On a larger
one nuclei would be specks: there each is a dot on a paled overview, and beside it stands a
detail at full size, outlined, from where nuclei are densest; a frame in the overview says where
that is. A legend below names the classes and counts them.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from nuhtc.runtime.bundle.card import NucleusClass
from nuhtc.runtime.ground.errors import SlideReadError
from nuhtc.runtime.ground.whole_files import whole_file
from nuhtc.runtime.nuclei.nuclei import UNITS_PER_PX, Nuclei
from nuhtc.runtime.slides.slide import Slide

SUFFIX = ".overlay.png"

MAX_SIDE: Final = 3000
"""Longer side of the slide's picture in pixels, at most."""

_OUTLINED: Final = 7.0
"""Least median width of a nucleus, in the picture's pixels, to draw outlines and not dots."""

_WIDE_LINE: Final = 18.0
"""Least median width of a nucleus for lines two pixels wide."""

_DETAIL_PX: Final = 1200
"""Side of the detail, level-0 pixels."""

_CELL_PX: Final = _DETAIL_PX // 2
"""Side of the squares by which the densest place is found, level-0 pixels."""

_SIDE_UNITS: Final = UNITS_PER_PX // 10
_MOST_SIDE: Final = 10_000
"""Box sides are counted in tenths of a pixel; the widest count as 1,000 pixels."""

_LEGEND_PX: Final = 44
_COMPRESSION: Final = 4
"""zlib's level: within a tenth of the smallest file in a third of the time."""


class Survey:
    """What must be known of all nuclei before the first is drawn, gathered as they stream by.

    Parameters
    ----------
    slide
        The slide the nuclei are of.
    classes
        How many classes there are.
    """

    def __init__(self, slide: Slide, classes: int) -> None:
        self.slide = slide
        self.counts = np.zeros(classes, np.int64)
        cells = (slide.height // _CELL_PX + 2, slide.width // _CELL_PX + 2)
        self._cells = np.zeros(cells, np.int64)
        self._sides = np.zeros(_MOST_SIDE, np.int64)

    def add(self, nuclei: Nuclei) -> None:
        """Look at some more."""
        self.counts += np.bincount(nuclei.label, minlength=len(self.counts))
        cells = (nuclei.centroid // _CELL_PX).astype(np.int64)
        np.add.at(self._cells, (cells[:, 1], cells[:, 0]), 1)
        sides = (nuclei.bbox[:, 2:] - nuclei.bbox[:, :2]).ravel() // _SIDE_UNITS
        self._sides += np.bincount(np.minimum(sides, _MOST_SIDE - 1), minlength=_MOST_SIDE)

    @property
    def median_px(self) -> float:
        """The median side of the nuclei's boxes in level-0 pixels, to a tenth; 0 without any."""
        total = np.cumsum(self._sides)
        middle = int(np.searchsorted(total, total[-1] / 2)) if total[-1] else 0
        return middle * _SIDE_UNITS / UNITS_PER_PX

    def densest(self) -> tuple[int, int, int, int]:
        """Return x, y, width, height of the level-0 window that holds most centroids."""
        cells, slide = self._cells, self.slide
        windows = cells[:-1, :-1] + cells[1:, :-1] + cells[:-1, 1:] + cells[1:, 1:]
        row, col = np.unravel_index(int(windows.argmax()), windows.shape)
        width, height = min(_DETAIL_PX, slide.width), min(_DETAIL_PX, slide.height)
        x = min(int(col) * _CELL_PX, slide.width - width)
        y = min(int(row) * _CELL_PX, slide.height - height)
        return x, y, width, height


def write_overlay(
    path: Path,
    survey: Survey,
    nuclei: Iterable[Nuclei],
    classes: Sequence[NucleusClass],
    *,
    max_side: int = MAX_SIDE,
) -> None:
    """Draw the nuclei over the slide and write a PNG.

    Parameters
    ----------
    path
        The final file, `<stem>.overlay.png`; it appears whole or not at all.
    survey
        Has seen all the nuclei; its slide is drawn.
    nuclei
        The same nuclei once more, some thousands at a time.
    classes
        Names and colours, by label.
    max_side
        Longer side of the slide's picture in pixels, at most.

    Raises
    ------
    OutputError
        When the file cannot be written.
    SlideReadError
        When nothing of the slide can be read.
    """
    slide, median = survey.slide, survey.median_px
    colors = np.array([one.color for one in classes], np.uint8).reshape(-1, 3)
    overview = slide.thumbnail(max_side)
    scale = overview.shape[1] / slide.width
    if median * scale >= _OUTLINED or scale >= 1 or not survey.counts.any():
        picture = Image.fromarray(overview)
        for some in nuclei:
            _draw_outlines(picture, some, colors, (0, 0), scale, median)
    else:
        picture = _with_detail(overview, scale, survey, nuclei, colors)
    picture = _with_legend(picture, survey.counts, classes)
    with whole_file(path) as partial:
        picture.save(partial, format="PNG", compress_level=_COMPRESSION)


def _draw_outlines(
    picture: Image.Image,
    nuclei: Nuclei,
    colors: NDArray[np.uint8],
    corner: tuple[int, int],
    scale: float,
    median: float,
) -> None:
    """Draw outlines on a picture that begins at a level-0 corner, at a scale."""
    draw = ImageDraw.Draw(picture)
    width = 2 if median * scale >= _WIDE_LINE else 1
    points = (nuclei.coords / UNITS_PER_PX - corner) * scale
    # A line of one pixel is drawn through pixel centres, which lie half a pixel inside.
    points -= 0.5
    cuts = nuclei.offsets.tolist()
    inks = [tuple(color) for color in colors.tolist()]
    for index, label in enumerate(nuclei.label.tolist()):
        ring = points[cuts[index] : cuts[index + 1]].ravel().tolist()
        draw.line(ring + ring[:2], fill=inks[label], width=width)


def _with_detail(
    overview: NDArray[np.uint8],
    scale: float,
    survey: Survey,
    nuclei: Iterable[Nuclei],
    colors: NDArray[np.uint8],
) -> Image.Image:
    """Return the dotted overview with the outlined detail at its right."""
    x, y, side_x, side_y = survey.densest()
    try:
        detail = Image.fromarray(survey.slide.read(x, y, 0, side_x, side_y))
    except SlideReadError:
        detail = Image.new("RGB", (side_x, side_y), (127, 127, 127))
    low, high = np.array([x, y]) * UNITS_PER_PX, np.array([x + side_x, y + side_y]) * UNITS_PER_PX
    # Grey and paled by a third: the dots must stand out, the tissue must still show.
    paled = (85 + overview.mean(axis=2, keepdims=True) * (2 / 3)).astype(np.uint8)
    dotted = np.repeat(paled, 3, axis=2)
    dot = max(1, round(survey.median_px * scale))
    for some in nuclei:
        _dot(dotted, scale, some, colors, dot)
        apart = (some.bbox[:, 2:] < low) | (some.bbox[:, :2] > high)
        inside = np.flatnonzero(~(apart[:, 0] | apart[:, 1]))
        if len(inside):
            _draw_outlines(detail, some.take(inside), colors, (x, y), 1.0, survey.median_px)
    left = Image.fromarray(dotted)
    frame = (x * scale, y * scale, (x + side_x) * scale, (y + side_y) * scale)
    ImageDraw.Draw(left).rectangle(frame, outline=(0, 0, 0), width=3)

    gap = 12
    size = (left.width + gap + detail.width, max(left.height, detail.height))
    picture = Image.new("RGB", size, (255, 255, 255))
    picture.paste(left, (0, 0))
    picture.paste(detail, (left.width + gap, 0))
    return picture


def _dot(
    picture: NDArray[np.uint8],
    scale: float,
    nuclei: Nuclei,
    colors: NDArray[np.uint8],
    side: int,
) -> None:
    """Draw a square for each nucleus, about as wide as the nucleus."""
    corner = np.floor(nuclei.centroid * scale - (side - 1) / 2).astype(np.int64)
    height, width = picture.shape[:2]
    for down in range(side):
        for right in range(side):
            x = np.clip(corner[:, 0] + right, 0, width - 1)
            y = np.clip(corner[:, 1] + down, 0, height - 1)
            picture[y, x] = colors[nuclei.label]


def _with_legend(
    picture: Image.Image, counts: NDArray[np.int64], classes: Sequence[NucleusClass]
) -> Image.Image:
    """Return the picture with a strip below that names, colours and counts the classes."""
    font = ImageFont.load_default(size=20)
    entries = [f"{one.name} {count:,}" for one, count in zip(classes, counts.tolist(), strict=True)]
    widths = [_LEGEND_PX + round(font.getlength(entry)) + 20 for entry in entries]
    places = []
    left = row = 0
    for width in widths:
        if left and left + width > picture.width:
            left, row = 0, row + 1
        places.append((left, row))
        left += width
    size = (max(picture.width, *widths), picture.height + _LEGEND_PX * (row + 1))
    out = Image.new("RGB", size, "white")
    out.paste(picture, (0, 0))
    draw = ImageDraw.Draw(out)
    for entry, cls, (x, line) in zip(entries, classes, places, strict=True):
        y = picture.height + line * _LEGEND_PX
        draw.rectangle((x + 12, y + 12, x + 32, y + 32), fill=cls.color, outline="black")
        draw.text((x + _LEGEND_PX, y + 9), entry, fill="black", font=font)
    return out
