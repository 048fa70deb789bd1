"""The grid of overlapping tiles over a slide, and which tile owns which point.

Tiles start at the slide's corner and step by ``stride = tile - overlap`` model pixels; the last
ones may stick out of the slide. The plane is divided into half-open *cores*, one per tile, whose
borders run through the middle of the overlaps; the outer cores reach to infinity, so that every
point has exactly one owner.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nuhtc.runtime.ground.errors import UsageError
from nuhtc.runtime.slides.slide import SlideFacts


@dataclass(frozen=True)
class Grid:
    """Tiles over a slide of `width` x `height` model pixels.

    Attributes
    ----------
    width, height
        The slide's size in model pixels.
    tile
        Side of a tile in model pixels.
    overlap
        Model pixels shared by neighbouring tiles; at most half a tile, so that only
        neighbours overlap.
    """

    width: int
    height: int
    tile: int
    overlap: int

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

    def keys(self) -> Iterator[tuple[int, int]]:
        """Walk over every tile as (row, col), row by row."""
        return ((row, col) for row in range(self.rows) for col in range(self.cols))

    def origin(self, row: int, col: int) -> tuple[int, int]:
        """Give the tile's top left corner as (x, y) in model pixels."""
        return col * self.stride, row * self.stride

    def core(self, row: int, col: int) -> tuple[float, float, float, float]:
        """Give the half-open area the tile owns as (x0, y0, x1, y1) in model pixels."""
        x0, x1 = self._core_span(col, self.cols)
        y0, y1 = self._core_span(row, self.rows)
        return x0, y0, x1, y1

    def x_borders(self) -> NDArray[np.int64]:
        """Give the x of the borders between cores in model pixels, ascending (cols - 1,)."""
        return self._border(np.arange(1, self.cols, dtype=np.int64))

    def y_borders(self) -> NDArray[np.int64]:
        """Give the y of the borders between cores in model pixels, ascending (rows - 1,)."""
        return self._border(np.arange(1, self.rows, dtype=np.int64))

    def owner(
        self,
        x: NDArray[np.floating] | NDArray[np.integer],
        y: NDArray[np.floating] | NDArray[np.integer],
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Give the row and col of the tile whose core holds each point (model pixels)."""
        return self._owner(y, self.rows), self._owner(x, self.cols)

    def _border(self, index: NDArray[np.int64]) -> NDArray[np.int64]:
        """Give the border before the core `index`: the middle of the overlap, rounded down."""
        return np.asarray(index * self.stride + self.overlap // 2)

    def _core_span(self, index: int, count: int) -> tuple[float, float]:
        start = index * self.stride + self.overlap // 2 if index > 0 else -math.inf
        stop = (index + 1) * self.stride + self.overlap // 2 if index < count - 1 else math.inf
        return start, stop

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
    row, col = np.divmod(tiles, grid.cols)
    corner = np.rint(np.stack([col, row], axis=1) * grid.stride * scale).astype(np.int64)
    size = np.minimum(round(grid.tile * scale), [slide.width_px, slide.height_px] - corner)
    return np.concatenate([corner, size], axis=1)
