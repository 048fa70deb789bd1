"""Tiles of a slide at the model's resolution, one at a time or read ahead by threads."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from nuhtc.runtime.grid import Grid
from nuhtc.runtime.resample import best_level, resample
from nuhtc.runtime.slide import Slide

AHEAD = 4
"""Tiles read ahead per thread: enough to bridge a slow region, little enough to stay small."""


def read_tile(slide: Slide, grid: Grid, row: int, col: int, model_mpp: float) -> NDArray[np.uint8]:
    """Read one tile, resampled to the model's um/px.

    A pixel depends on its place on the slide only, never on the tile it is read with: two
    tiles are equal where they overlap.

    Parameters
    ----------
    slide
        Where to read; what lies outside it is white.
    grid
        The tiles.
    row, col
        The tile.
    model_mpp
        um/px of the grid's pixels.

    Returns
    -------
    NDArray[np.uint8]
        RGB (tile, tile, 3).

    Raises
    ------
    SlideReadError
        The slide is damaged there.
    """
    ratio = model_mpp / slide.mpp
    level = best_level(slide.downsamples, ratio)
    scale = ratio / slide.downsamples[level]
    origin, size = grid.origin(row, col), (grid.tile, grid.tile)
    return np.ascontiguousarray(resample(slide, level, (scale, scale), origin, size))


class TileIterator:
    """Iterate over tiles as ``(row, col, tile)``, in order, while threads read ahead.

    An exception met while reading a tile is raised by ``next`` at that tile's turn, and the
    iteration may go on afterwards: so a caller that wants to skip damaged tiles calls ``next``
    itself and knows from its own list of keys which one failed. A ``for`` loop ends at the
    first exception, as usual. Leave it through ``close`` or a ``with`` block.

    Parameters
    ----------
    slide, grid, model_mpp
        As for `read_tile`.
    keys
        The (row, col) of the tiles wanted.
    threads
        Number of reading threads, at least 1.
    """

    def __init__(
        self,
        slide: Slide,
        grid: Grid,
        keys: Iterable[tuple[int, int]],
        model_mpp: float,
        threads: int,
    ) -> None:
        if threads < 1:
            raise ValueError(f"threads must be at least 1, not {threads}")
        self._slide, self._grid, self._mpp = slide, grid, model_mpp
        self._keys = iter(keys)
        self._ahead = threads * AHEAD
        self._pending: deque[tuple[int, int, Future[NDArray[np.uint8]]]] = deque()
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="nuhtc-tiles")

    def __iter__(self) -> Iterator[tuple[int, int, NDArray[np.uint8]]]:
        return self

    def __next__(self) -> tuple[int, int, NDArray[np.uint8]]:
        self._fill()
        if not self._pending:
            self.close()
            raise StopIteration
        row, col, future = self._pending.popleft()
        tile = future.result()
        self._fill()
        return row, col, tile

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
        self._keys = iter(())
        self._pending.clear()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _fill(self) -> None:
        while len(self._pending) < self._ahead:
            key = next(self._keys, None)
            if key is None:
                return
            future = self._pool.submit(read_tile, self._slide, self._grid, *key, self._mpp)
            self._pending.append((*key, future))


def iter_tiles(
    slide: Slide, grid: Grid, keys: Iterable[tuple[int, int]], model_mpp: float, threads: int
) -> TileIterator:
    """Read tiles ahead in `threads` threads and give them in order; see `TileIterator`."""
    return TileIterator(slide, grid, keys, model_mpp, threads)
