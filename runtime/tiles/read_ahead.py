"""Tiles of a slide at the model's resolution, read in blocks of neighbours by threads."""

import math
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from nuhtc.runtime.ground.errors import SlideReadError
from nuhtc.runtime.slides.damage import read_around_damage
from nuhtc.runtime.slides.resample import best_level, resample_pixels, source_area
from nuhtc.runtime.slides.slide import Area, Slide
from nuhtc.runtime.tiles.grid import Grid

AHEAD: Final = 2
"""Blocks in work or read ahead per thread: one is read while another waits to be used."""

BLOCK_PX: Final = 2 << 20
"""Slide pixels read at once for a block, about: eight tiles of 512, and few megabytes."""


@dataclass(frozen=True)
class Block:
    """Neighbouring tiles of one row, read together."""

    tiles: tuple[NDArray[np.uint8], ...]
    """RGB (tile, tile, 3) each, views of one picture; white where the slide is damaged"""
    damaged: tuple[tuple[Area, ...], ...]
    """for each tile, the damaged areas that it touches, in level-0 pixels"""
    lost: tuple[bool, ...]
    """for each tile, whether nothing of it on the slide can be read"""
    reason: str
    """what was wrong first, "" where nothing was"""


def read_block(slide: Slide, grid: Grid, row: int, cols: range, scale: float) -> Block:
    """Read neighbouring tiles of one row, resampled to the model's um/px.

    A pixel depends on its place on the slide only, never on the block it is read with: two
    tiles are equal where they overlap.

    Parameters
    ----------
    slide
        Where to read; what lies outside it, or is damaged, is white.
    grid
        The tiles.
    row, cols
        The tiles' row, and their adjacent columns.
    scale
        Level-0 pixels per pixel of the grid.
    """
    level = best_level(slide.downsamples, scale)
    downsample = slide.downsamples[level]
    ratio = (scale / downsample, scale / downsample)
    x, y = grid.corner(grid.numbers(row, cols[0]))
    area = (x, y, (len(cols) - 1) * grid.stride + grid.tile, grid.tile)
    source = source_area(ratio, area)
    region = read_around_damage(slide, source, level)
    pixels = resample_pixels(region.pixels, source, ratio, area)
    starts = [index * grid.stride for index in range(len(cols))]
    sides = grid.tile, grid.tile
    sources = [source_area(ratio, (x + start, y, *sides)) for start in starts]
    return Block(
        tuple(pixels[:, start : start + grid.tile] for start in starts),
        tuple(
            tuple(_on_level_0(cell, downsample, slide) for cell in region.damaged_in(tile_area))
            for tile_area in sources
        ),
        tuple(region.lost(tile_area) for tile_area in sources),
        region.reason,
    )


def _on_level_0(cell: Area, downsample: float, slide: Slide) -> Area:
    """Return a cell of a level as the level-0 pixels it touches."""
    x, y = math.floor(cell[0] * downsample), math.floor(cell[1] * downsample)
    right = min(slide.width, math.ceil((cell[0] + cell[2]) * downsample))
    bottom = min(slide.height, math.ceil((cell[1] + cell[3]) * downsample))
    return x, y, right - x, bottom - y


class TileIterator:
    """Iterate over tiles as ``(number, pixels)``, in order, while threads read ahead.

    Damaged parts of a tile are white, and told by `take_damaged`. A tile of which nothing can be
    read, or any other exception met while reading it, is raised by ``next`` at that tile's turn,
    and the iteration may go on afterwards: so a caller that wants to skip lost tiles calls
    ``next`` itself and knows from its own list of tiles which one failed. A ``for`` loop ends at
    the first exception, as usual. Leave it through ``close`` or a ``with`` block.

    Parameters
    ----------
    slide, grid, scale
        As for `read_block`.
    tiles
        The numbers of the tiles wanted; neighbours that follow each other are read at once.
    threads
        Number of reading threads, at least 1.
    """

    def __init__(
        self,
        slide: Slide,
        grid: Grid,
        tiles: Iterable[int],
        scale: float,
        threads: int,
    ) -> None:
        if threads < 1:
            raise ValueError(f"threads must be at least 1, not {threads}")
        self._slide, self._grid, self._scale = slide, grid, scale
        shrunk = scale / slide.downsamples[best_level(slide.downsamples, scale)]
        most = max(1, int(BLOCK_PX / (grid.tile * shrunk) ** 2))
        self._runs = _runs(tiles, grid, most)
        self._ahead = threads * AHEAD
        self._pending: deque[tuple[int, range, Future[Block]]] = deque()
        self._done = 0
        self._damaged: dict[Area, None] = {}
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="nuhtc-tiles")

    def take_damaged(self) -> tuple[Area, ...]:
        """Return the damaged areas of the tiles given since the last call, each once.

        They are x, y, width, height in level-0 pixels, and depend on those tiles alone.
        """
        damaged, self._damaged = tuple(self._damaged), {}
        return damaged

    def __iter__(self) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        return self

    def __next__(self) -> tuple[int, NDArray[np.uint8]]:
        self._fill()
        if not self._pending:
            self.close()
            raise StopIteration
        row, cols, future = self._pending[0]
        index, self._done = self._done, self._done + 1
        if self._done == len(cols):
            self._pending.popleft()
            self._done = 0
        block = future.result()
        self._fill()
        self._damaged.update(dict.fromkeys(block.damaged[index]))
        if block.lost[index]:
            raise SlideReadError(block.reason)
        return self._grid.numbers(row, cols[index]), block.tiles[index]

    def __enter__(self) -> "TileIterator":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Drop what was not asked for yet and wait for the threads to end."""
        self._runs = iter(())
        self._pending.clear()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _fill(self) -> None:
        while len(self._pending) < self._ahead:
            run = next(self._runs, None)
            if run is None:
                return
            future = self._pool.submit(read_block, self._slide, self._grid, *run, self._scale)
            self._pending.append((*run, future))


def _runs(tiles: Iterable[int], grid: Grid, most: int) -> Iterator[tuple[int, range]]:
    """Join tiles that follow each other in a row to runs of at most `most`: row, columns."""
    row, cols = 0, range(0)
    for tile in tiles:
        key = grid.rows_cols(tile)
        if cols and key == (row, cols.stop) and len(cols) < most:
            cols = range(cols.start, cols.stop + 1)
            continue
        if cols:
            yield row, cols
        row, cols = key[0], range(key[1], key[1] + 1)
    if cols:
        yield row, cols
