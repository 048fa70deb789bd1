"""Every nucleus once, although neighbouring tiles both saw it.

Tiles overlap; their *cores* do not: the borders between cores run through the middle of the
overlaps, so every point of the slide lies in exactly one core.

1. A nucleus belongs to the tile whose core holds the centre of its box. Another tile's answer
   for it is *eligible* only when that centre lies at most `band` pixels outside that tile's own
   core, so that a nucleus on a border is not lost when two tiles place it a little differently,
   or when the tile that owns the place was never run. All other answers are dropped.
2. Two eligible answers of different tiles are the same nucleus when they share more than half
   of the smaller one's area; of two pieces, only the part that both tiles see is counted. Only
   pairs in which one reaches out of its own core can.
3. Of the same nucleus, one answer stays: a whole outline before one cut by its tile's edge, the
   owner's before another's, the higher score, then the order of the tiles.

Why nothing is lost and nothing doubled: a nucleus narrower than the overlap lies whole inside
the tile that owns it, because a core keeps half an overlap from its tile's edges. The piece of
it at the edge of another tile begins inside the overlap, so the piece's centre is past the
border and the piece is not owned. A nucleus wider than the overlap may be owned as a piece by
several tiles; one piece stays, marked as cut. (Without any overlap pieces share nothing, and
all stay.)

The result does not depend on the order in which tiles were done.
"""

import numpy as np
from numpy.typing import NDArray

from nuhtc.native.stitch import resolve_borders
from nuhtc.runtime.candidates import Candidates
from nuhtc.runtime.errors import PipelineError
from nuhtc.runtime.grid import Grid

BAND_PX = 8
"""How far outside its own core a tile may still speak, in model pixels (2 um at 0.25)."""

_FAR = 2**40
"""Farther than any slide, and small enough to be doubled and subtracted."""


def drop_doubled(candidates: Candidates) -> Candidates:
    """Keep the higher score of any two that share over half of the smaller one's area.

    Meant for the candidates of one tile, before stitching.
    """
    count = len(candidates)
    stays = resolve_borders(
        candidates.coords,
        candidates.offsets,
        candidates.bbox,
        candidates.area,
        np.arange(count, dtype=np.int32),
        owned=np.ones(count, np.bool_),
        cut=np.zeros(count, np.bool_),
        score=candidates.score,
    )
    return candidates if stays.all() else candidates.take(np.flatnonzero(stays))


def stitch(
    candidates: Candidates, grid: Grid, ran: NDArray[np.bool_], *, band: int = BAND_PX
) -> Candidates:
    """Return each nucleus once, in the order of the tiles that saw it.

    Parameters
    ----------
    candidates
        The answers of all tiles, in any order of the tiles; those of one tile in its order.
    grid
        The tiles.
    ran
        bool (rows, columns): the tiles that were run. One that was not has no candidates, and
        its neighbours speak for the places it owns.
    band
        How far outside its own core a tile may still speak, in model pixels.

    Raises
    ------
    PipelineError
        When candidates come from a tile that is not in the grid or was not run.
    """
    if ran.shape != (grid.rows, grid.cols):
        raise PipelineError(f"the grid has {grid.rows} x {grid.cols} tiles, not {ran.shape}")
    if not len(candidates):
        return candidates
    tile = candidates.tile
    if tile.min() < 0 or tile.max() >= ran.size or not ran.ravel()[tile].all():
        raise PipelineError("candidates name a tile that was not run")

    outside = _outside_core(candidates, grid)
    eligible = (outside <= 2 * band) | ~ran.ravel()[_owner(candidates, grid)]
    index = np.flatnonzero(eligible)
    index = index[np.argsort(tile[index], kind="stable")]
    near = candidates.take(index)
    stays = resolve_borders(
        near.coords,
        near.offsets,
        near.bbox,
        near.area,
        near.tile,
        owned=outside[index] == 0,
        cut=near.cut,
        score=near.score,
        probe=_leaves_core(near, grid),
        windows=_windows(near, grid),
    )
    return near if stays.all() else near.take(np.flatnonzero(stays))


def _core_bounds(candidates: Candidates, grid: Grid) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return twice the low and high (x, y) corner of each candidate's core, each int64 (N, 2)."""
    row, col = np.divmod(candidates.tile.astype(np.int64), grid.cols)
    x = 2 * np.concatenate([[-_FAR], grid.x_borders(), [_FAR]])
    y = 2 * np.concatenate([[-_FAR], grid.y_borders(), [_FAR]])
    return np.stack([x[col], y[row]], axis=1), np.stack([x[col + 1], y[row + 1]], axis=1)


def _outside_core(candidates: Candidates, grid: Grid) -> NDArray[np.int64]:
    """Return twice how far each box centre lies outside its own tile's core, 0 where owned."""
    centre = _doubled_centre(candidates)
    low, high = _core_bounds(candidates, grid)
    beyond: NDArray[np.int64] = np.maximum(low - centre, centre - high + 1).max(axis=1)
    return np.maximum(beyond, 0)


def _leaves_core(candidates: Candidates, grid: Grid) -> NDArray[np.bool_]:
    """Return whether each box reaches out of its own tile's core."""
    low, high = _core_bounds(candidates, grid)
    box = 2 * candidates.bbox.astype(np.int64)
    beyond = (box[:, :2] < low) | (box[:, 2:] > high)
    return beyond[:, 0] | beyond[:, 1]


def _owner(candidates: Candidates, grid: Grid) -> NDArray[np.int64]:
    """Return the tile whose core holds each box centre."""
    centre = _doubled_centre(candidates) / 2
    row, col = grid.owner(centre[:, 0], centre[:, 1])
    return row * grid.cols + col


def _windows(candidates: Candidates, grid: Grid) -> NDArray[np.int32]:
    """Return the square that each candidate's tile covers, int32 (N, 4)."""
    row, col = np.divmod(candidates.tile, np.int32(grid.cols))
    low = np.stack([col, row], axis=1) * np.int32(grid.stride)
    return np.concatenate([low, low + np.int32(grid.tile)], axis=1)


def _doubled_centre(candidates: Candidates) -> NDArray[np.int64]:
    box = candidates.bbox.astype(np.int64)
    return box[:, :2] + box[:, 2:]
