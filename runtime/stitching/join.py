"""A nucleus that no tile saw whole, put together from the pieces that tiles saw.

A nucleus wider than the overlap may be cut by the edges of every tile that sees it. Each of its
pixels then lies in a piece that its tile may speak for, and pieces of neighbouring tiles share
what both tiles see: so the pieces are found as pairs, and what they cover together is the
nucleus. It has the class and the probabilities of its largest piece.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from nuhtc.native.redraw import redraw_rings
from nuhtc.runtime.nuclei.candidates import Candidates
from nuhtc.runtime.tiles.grid import Grid

MOST_TILES = 2
"""Sides of a tile that a joined nucleus may measure. What is larger is no nucleus, but a network
that found one thing everywhere: of it the largest piece stays."""


def groups_of(pairs: NDArray[np.int32], count: int) -> NDArray[np.int64]:
    """Return for each of `count` candidates the group it is linked to by any chain of pairs."""
    links = coo_array((np.ones(len(pairs), np.bool_), (pairs[:, 0], pairs[:, 1])), (count, count))
    return np.asarray(connected_components(links, directed=False)[1], np.int64)


def tile_windows(candidates: Candidates, grid: Grid) -> NDArray[np.int32]:
    """Return the square that each candidate's tile covers, int32 (N, 4)."""
    low = grid.corners(candidates.tile).astype(np.int32)
    return np.concatenate([low, low + np.int32(grid.tile)], axis=1)


def join_pieces(
    pieces: Candidates, group: NDArray[np.int64], grid: Grid
) -> tuple[Candidates, NDArray[np.int64]]:
    """Join the pieces of each group to one outline.

    Parameters
    ----------
    pieces
        Answers cut by their tiles' edges.
    group
        int64 (N,): pieces of one nucleus have the same number.
    grid
        The tiles.

    Returns
    -------
    Candidates
        One for each group. It is marked as cut if it reaches the edge of what its tiles see
        together, or would be larger than `MOST_TILES` tiles: then it is the largest piece alone.
    NDArray[np.int64]
        Each one's largest piece, as an index into `pieces`.
    """
    order = np.lexsort((pieces.tile, -pieces.score, -pieces.area, group))
    first = np.flatnonzero(np.diff(group[order], prepend=-1))
    largest = order[first]
    box = pieces.bbox[order]
    low = np.minimum.reduceat(box[:, :2], first)
    high = np.maximum.reduceat(box[:, 2:], first)
    fits = (high - low <= MOST_TILES * grid.tile).all(axis=1)
    sizes = np.diff(first, append=len(order))
    drawn = np.repeat(fits, sizes)
    drawn[first] = True
    ends = np.concatenate([[0], np.cumsum(np.where(fits, sizes, 1))])
    coords, offsets, area, centroid, bbox = redraw_rings(
        pieces.coords, pieces.offsets, order[drawn], np.zeros(ends[-1], np.bool_), ends
    )
    window = tile_windows(pieces, grid)[order]
    seen_low = np.minimum.reduceat(window[:, :2], first)
    seen_high = np.maximum.reduceat(window[:, 2:], first)
    at_edge = (bbox[:, :2] <= seen_low) & (seen_low > 0)
    at_edge |= (bbox[:, 2:] >= seen_high) & (seen_high < (grid.width, grid.height))
    joined = replace(
        pieces.take(largest),
        coords=coords,
        offsets=offsets,
        area=area,
        centroid=centroid,
        bbox=bbox,
        cut=at_edge[:, 0] | at_edge[:, 1] | ~fits,
    )
    return joined, largest
