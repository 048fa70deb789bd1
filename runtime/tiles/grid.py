"""The grid of overlapping tiles over a slide, and which tile owns which point.

Tiles start at the slide's corner and step by ``stride = tile - overlap`` model pixels; the last
ones may stick out of the slide. The plane is divided into half-open *cores*, one per tile, whose
borders run through the middle of the overlaps; the outer cores reach to infinity, so that every
point has exactly one owner.
"""

import math
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from nuhtc.runtime.ground.errors import UsageError
from nuhtc.runtime.slides.slide import SlideFacts

Numbers = TypeVar("Numbers", int, NDArray[np.int32], NDArray[np.int64])
"""One number, or an array of them."""


@dataclass(frozen=True)
class Grid:
    """Tiles over a slide of `width` x `height` model pixels."""

    width: int
    """the slide's, in model pixels"""
    height: int
    """the slide's, in model pixels"""
    tile: int
    """side of a tile in model pixels"""
    overlap: int
    """model pixels shared by neighbouring tiles; at most half a tile, so that only neighbours
    overlap"""

    def __post_init__(self) -> None:
        if self.width < 1 or self.height < 1:
            raise ValueError(f"a slide has at least one pixel, not {self.width} x {self.height}")
        if self.tile < 1:
            raise UsageError(f"--tile {self.tile}: a tile needs at least one pixel")
        if not 0 <= 2 * self.overlap <= self.tile:
            raise UsageError(
                f"--overlap {self.overlap}: must be from 0 to half the tile ({self.tile // 2} for "
                f"--tile {self.tile})"
            )

    @property
    def stride(self) -> int:
        """Model pixels from one tile to the next."""
        return self.tile - self.overlap

    @property
    def cols(self) -> int:
        """Number of tiles in a row."""
        return 1 + max(0, math.ceil((self.width - self.tile) / self.stride))

    @property
    def rows(self) -> int:
        """Number of rows of tiles."""
        return 1 + max(0, math.ceil((self.height - self.tile) / self.stride))

    @property
    def count(self) -> int:
        """Number of tiles; they are numbered row by row, from 0."""
        return self.rows * self.cols

    def numbers(self, rows: Numbers, cols: Numbers) -> Numbers:
        """Return the numbers of tiles by row and column."""
        return rows * self.cols + cols

    def rows_cols(self, numbers: Numbers) -> tuple[Numbers, Numbers]:
        """Return the rows and the columns of tiles by number."""
        return numbers // self.cols, numbers % self.cols

    def corners(self, numbers: NDArray[np.int32] | NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the top left corners of tiles by number, x and y in model pixels (T, 2)."""
        rows, cols = self.rows_cols(numbers.astype(np.int64))
        return np.stack([cols, rows], axis=-1) * self.stride

    def corner(self, number: int) -> tuple[int, int]:
        """Return a tile's top left corner as (x, y) in model pixels."""
        row, col = self.rows_cols(number)
        return col * self.stride, row * self.stride

    def x_borders(self) -> NDArray[np.int64]:
        """Return the x of the borders between cores in model pixels, ascending (cols - 1,)."""
        return self._border(np.arange(1, self.cols, dtype=np.int64))

    def y_borders(self) -> NDArray[np.int64]:
        """Return the y of the borders between cores in model pixels, ascending (rows - 1,)."""
        return self._border(np.arange(1, self.rows, dtype=np.int64))

    def owner(
        self,
        x: NDArray[np.floating] | NDArray[np.integer],
        y: NDArray[np.floating] | NDArray[np.integer],
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the row and col of the tile whose core holds each point (model pixels)."""
        return self._owner(y, self.rows), self._owner(x, self.cols)

    def _border(self, index: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the border before the core `index`: the middle of the overlap, rounded down."""
        return np.asarray(index * self.stride + self.overlap // 2)

    def _owner(
        self, place: NDArray[np.floating] | NDArray[np.integer], count: int
    ) -> NDArray[np.int64]:
        index = np.floor_divide(np.asarray(place) - self.overlap // 2, self.stride)
        return np.asarray(np.clip(index, 0, count - 1), np.int64)


def tile_boxes(
    grid: Grid, tiles: NDArray[np.int64], scale: float, slide: SlideFacts
) -> NDArray[np.int64]:
    """Return x, y, width, height in level-0 pixels of tiles as far as they lie on the slide.

    Parameters
    ----------
    grid
        The tiles, in model pixels.
    tiles
        int64 (T,): row * columns + column.
    scale
        Level-0 pixels per model pixel.
    slide
        The slide's size.

    Returns
    -------
    NDArray[np.int64]
        (T, 4).
    """
    corner = np.rint(grid.corners(tiles) * scale).astype(np.int64)
    size = np.minimum(round(grid.tile * scale), [slide.width_px, slide.height_px] - corner)
    return np.concatenate([corner, size], axis=1)
