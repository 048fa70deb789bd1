"""Every nucleus once, although neighbouring tiles both saw it.

Tiles overlap; their *cores* do not: the borders between cores run through the middle of the
overlaps, so every point of the slide lies in exactly one core.

1. A nucleus belongs to the tile whose core holds the centre of its box. Another tile's answer
   for it is *eligible* only when that centre lies at most `BAND_PX` outside that tile's own
   core, so that a nucleus on a border is not lost when two tiles place it a little differently,
   or when the tile that owns the place was never run. All other answers are dropped.
2. Two eligible answers of different tiles are the same nucleus when they share more than half
   of the smaller one's area; of two pieces, only the part that both tiles see is counted. Only
   pairs in which one reaches out of its own core can.
3. Of the same nucleus, one answer stays: a whole outline before one cut by its tile's edge, the
   owner's before another's, the higher score, then the order of the tiles.
4. Pieces of which no tile saw the whole are joined (`nuhtc.runtime.stitching.join`).

Why nothing is lost and nothing doubled: a nucleus narrower than the overlap lies whole inside
the tile that owns it, because a core keeps half an overlap from its tile's edges. The piece of
it at the edge of another tile begins inside the overlap, so the piece's centre is past the
border and the piece is not owned. Of a nucleus wider than the overlap, a piece that reaches past
a border is owned on the other side of it too, and both tiles see the same of it in the overlap:
its pieces are pairs. (Without any overlap pieces share nothing, and all stay, marked as cut.)

`StitchStream` takes the answers row by row of tiles and gives nuclei as soon as they are settled.
A candidate waits while it, or one that it competes with through any chain of pairs, may still meet
a candidate of the next row; that is seldom more than two rows of tiles. `stitch` feeds it a whole
slide. Neither depends on the order in which tiles were done.
"""

import numpy as np
from numpy.typing import NDArray

from nuhtc.native.stitch import drop_worse, find_rivals, resolve_borders
from nuhtc.runtime.ground.errors import PipelineError
from nuhtc.runtime.nuclei.candidates import Candidates
from nuhtc.runtime.stitching.join import groups_of, join_pieces, tile_windows
from nuhtc.runtime.tiles.grid import Grid

BAND_PX = 8
"""How far outside its own core a tile may still speak, in model pixels (2 um at 0.25); at most a
quarter of the overlap, so that no sliver at a tile's edge is spoken for."""

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


def stitch(candidates: Candidates, grid: Grid, ran: NDArray[np.bool_]) -> Candidates:
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

    Raises
    ------
    PipelineError
        When candidates come from a tile that is not in the grid or was not run.
    """
    stream = StitchStream(grid, ran)
    if not len(candidates):
        return candidates
    row, _ = grid.rows_cols(candidates.tile)
    if not (row.min() >= 0 and row.max() < grid.rows):
        raise PipelineError("candidates name a tile that was not run")
    order = np.argsort(candidates.tile, kind="stable")
    parts = [
        stream.add_row(int(here), candidates.take(order[row[order] == here]))
        for here in np.unique(row)
    ]
    return Candidates.concatenate([*parts, stream.finish(candidates.probabilities.shape[1])])


class StitchStream:
    """Counts each nucleus once, fed with the answers of one row of tiles after the other.

    All that it gives, one after the other, is what `stitch` returns for all rows at once.

    Parameters
    ----------
    grid
        The tiles.
    ran
        bool (rows, columns): the tiles that were run.

    Raises
    ------
    PipelineError
        When `ran` is not of the grid's shape.
    """

    def __init__(self, grid: Grid, ran: NDArray[np.bool_]) -> None:
        if ran.shape != (grid.rows, grid.cols):
            raise PipelineError(f"the grid has {grid.rows} x {grid.cols} tiles, not {ran.shape}")
        self._grid, self._ran = grid, ran
        self._row = -1
        self._waiting: list[Candidates] = []
        self._settled: list[Candidates] = []
        self._ranks: list[NDArray[np.int64]] = []
        self._waiting_rank = np.zeros(0, np.int64)
        self._count = 0
        self._horizon = 0

    @property
    def horizon(self) -> int:
        """The y in model pixels above which no nucleus still to come reaches."""
        return self._horizon

    def add_row(self, row: int, candidates: Candidates) -> Candidates:
        """Take the answers of a row of tiles, and return the nuclei of those rows now settled.

        Parameters
        ----------
        row
            Which row; each after the last. Rows without candidates may be left out.
        candidates
            The answers of its tiles, in any order of the tiles; those of one tile in its order.

        Returns
        -------
        Candidates
            In the order of the tiles; often of rows before this one.

        Raises
        ------
        PipelineError
            When rows do not ascend, or candidates come from a tile that is not in the row or
            was not run.
        """
        if not self._row < row < self._grid.rows:
            raise PipelineError(f"row {row} of {self._grid.rows} comes after row {self._row}")
        rows, cols = self._grid.rows_cols(candidates.tile)
        if len(rows) and not ((rows == row).all() and self._ran[row].take(cols, mode="wrap").all()):
            raise PipelineError(f"candidates of row {row} name a tile that was not run")
        self._row = row
        near = candidates.take(_eligible(candidates, self._grid, self._ran))
        rank = self._count + np.arange(len(near))
        self._count += len(near)
        self._settle(
            Candidates.concatenate([*self._waiting, near]),
            np.concatenate([self._waiting_rank, rank]),
            below=self._next_tiles_px() if row + 1 < len(self._ran) else None,
        )
        return self._give(candidates.probabilities.shape[1])

    def finish(self, classes: int) -> Candidates:
        """Return the nuclei that are left after the last row, of so many classes."""
        if self._waiting:
            self._settle(Candidates.concatenate(self._waiting), self._waiting_rank, below=None)
        return self._give(classes)

    def _settle(self, near: Candidates, rank: NDArray[np.int64], below: int | None) -> None:
        """Choose among candidates that meet nothing further down; keep the others waiting."""
        grid, count = self._grid, len(near)
        pairs = find_rivals(
            near.coords,
            near.offsets,
            near.bbox,
            near.area,
            near.tile,
            owned=_outside_core(near, grid) == 0,
            cut=near.cut,
            score=near.score,
            probe=_leaves_core(near, grid),
            windows=tile_windows(near, grid),
        )
        if below is None:
            waits = np.zeros(count, np.bool_)
        else:
            waits = _spread(near.bbox[:, 3] > below, pairs)
        # Pieces do not compete: once whole answers had their say, those left are joined.
        between_pieces = near.cut[pairs].all(axis=1)
        stays = drop_worse(pairs[~between_pieces], count) & ~waits
        links = pairs[between_pieces & stays[pairs].all(axis=1)]
        if len(links):
            pieces = np.unique(links).astype(np.int64)
            stays[pieces] = False
            joined, largest = join_pieces(near.take(pieces), groups_of(links, count)[pieces], grid)
            self._settled.append(joined)
            self._ranks.append(rank[pieces[largest]])
        self._keep(near, rank, np.flatnonzero(stays))
        index = np.flatnonzero(waits)
        self._waiting = [near.take(index)] if len(index) else []
        self._waiting_rank = rank[index]

    def _keep(self, near: Candidates, rank: NDArray[np.int64], index: NDArray[np.int64]) -> None:
        if len(index):
            self._settled.append(near.take(index))
            self._ranks.append(rank[index])

    def _give(self, classes: int) -> Candidates:
        """Return what is settled of the tiles above the first row in which anything waits."""
        ready = Candidates.empty(classes)
        if self._settled:
            found, rank = Candidates.concatenate(self._settled), np.concatenate(self._ranks)
            # Ranks run through a row in the order of its candidates, which need not be the tiles'.
            order = np.lexsort((rank, found.tile))
            firsts = [int(part.tile.min()) for part in self._waiting]
            rows = [self._row + 1, *(self._grid.rows_cols(tile)[0] for tile in firsts)]
            above = found.tile[order] < self._grid.numbers(min(rows), 0)
            ready = found.take(order[above])
            self._settled, self._ranks = [], []
            self._keep(found, rank, order[~above])
        tops = [int(part.bbox[:, 1].min()) for part in (*self._waiting, *self._settled)]
        self._horizon = min([self._next_tiles_px(), *tops])
        return ready

    def _next_tiles_px(self) -> int:
        """Return above what y nothing of the next row of tiles lies.

        The band allows for outlines that were moved a little.
        """
        return (self._row + 1) * self._grid.stride - BAND_PX


def _spread(marked: NDArray[np.bool_], pairs: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Mark all that are linked to a marked one by any chain of pairs."""
    count = len(marked)
    if not len(pairs):
        return marked
    group = groups_of(pairs, count)
    return np.asarray(np.isin(group, group[marked]), np.bool_)


def _eligible(candidates: Candidates, grid: Grid, ran: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return which candidates their tile may speak for, by rule 1."""
    near = _outside_core(candidates, grid) <= 2 * min(BAND_PX, grid.overlap // 4)
    return np.flatnonzero(near | ~ran.ravel()[_owner(candidates, grid)])


def _core_bounds(candidates: Candidates, grid: Grid) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return twice the low and high (x, y) corner of each candidate's core, each int64 (N, 2)."""
    row, col = grid.rows_cols(candidates.tile.astype(np.int64))
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
    return grid.numbers(*grid.owner(centre[:, 0], centre[:, 1]))


def _doubled_centre(candidates: Candidates) -> NDArray[np.int64]:
    box = candidates.bbox.astype(np.int64)
    return box[:, :2] + box[:, 2:]
