"""Stitching: shared areas of outlines, and which of several answers for a nucleus stays."""

import numpy as np
from numpy.typing import NDArray

def overlap_areas(
    coords: NDArray[np.int32], offsets: NDArray[np.int64], pairs: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return the area that two outlines share, exactly, for each of many pairs.

    Parameters
    ----------
    coords
        int32 (M, 2): points of rings along pixel edges, the first not repeated; each ring in
        either direction, anywhere in the int32 range.
    offsets
        int64 (N + 1): ring i is ``coords[offsets[i]:offsets[i + 1]]``; it may be empty.
    pairs
        int64 (P, 2): which rings to compare; a ring may be compared with itself.

    Returns
    -------
    int64 (P,), in squared coordinate units.

    Raises
    ------
    TypeError, ValueError
        An argument has the wrong type, dtype or shape, a ring has a slanted edge, or a pair
        names no ring; the message names the argument.
    """

def resolve_borders(
    coords: NDArray[np.int32],
    offsets: NDArray[np.int64],
    bbox: NDArray[np.int32],
    area: NDArray[np.int64],
    tile: NDArray[np.int32],
    owned: NDArray[np.bool_],
    cut: NDArray[np.bool_],
    score: NDArray[np.float32],
    *,
    probe: NDArray[np.bool_] | None = None,
    windows: NDArray[np.int32] | None = None,
    share: float = 0.5,
) -> NDArray[np.bool_]:
    """Tell which candidates stay when of each nucleus one answer is to be kept.

    Two candidates of different tiles are the same nucleus when they share more than `share`
    of the smaller one's area. Candidates are taken in order of preference (whole before cut,
    owned before not, higher score, lower tile), and each stays unless one that stays already
    is the same nucleus. The answer depends neither on the order of the input nor on threads.
    To drop doubles inside one tile, give every candidate a number of its own as `tile`.

    Pass everything that may be the same nucleus as another candidate: besides those near a
    core's border, the whole outlines of the pieces that a tile's edge cut off.

    Parameters
    ----------
    coords, offsets
        int32 (M, 2) and int64 (N + 1): rings along pixel edges, as in `overlap_areas`.
    bbox
        int32 (N, 4), xyxy of each ring.
    area
        int64 (N,), of each ring. One without area is never the same as another.
    tile
        int32 (N,), 0 to 2**30 - 1: the tile that found it. Those of one tile do not compete.
    owned
        bool (N,): found by the tile whose core holds it.
    cut
        bool (N,): cut by its tile's edge.
    score
        float32 (N,).
    probe
        bool (N,): at least one of two must be marked for them to be compared. None: all are.
    windows
        int32 (N, 4), xyxy of each candidate's tile. With it, of two cut candidates only what
        lies inside both tiles counts as their area.
    share
        Above 0, below 1.

    Returns
    -------
    bool (N,): whether the candidate stays.

    Raises
    ------
    TypeError, ValueError
        An argument has the wrong type, dtype, shape or range, a score is NaN, or a ring that had
        to be looked at has a slanted edge; the message names the argument.
    """

def find_rivals(
    coords: NDArray[np.int32],
    offsets: NDArray[np.int64],
    bbox: NDArray[np.int32],
    area: NDArray[np.int64],
    tile: NDArray[np.int32],
    owned: NDArray[np.bool_],
    cut: NDArray[np.bool_],
    score: NDArray[np.float32],
    *,
    probe: NDArray[np.bool_] | None = None,
    windows: NDArray[np.int32] | None = None,
    share: float = 0.5,
) -> NDArray[np.int32]:
    """Find the pairs of candidates that are the same nucleus; parameters as `resolve_borders`.

    Returns
    -------
    int32 (P, 2): the worse candidate of each pair, then the better one, in the order of
    preference of the worse ones, which is what `drop_worse` asks for.

    Raises
    ------
    TypeError, ValueError
        As `resolve_borders`.
    """

def drop_worse(pairs: NDArray[np.int32], count: int) -> NDArray[np.bool_]:
    """Drop the worse of each pair whose better one stays.

    Parameters
    ----------
    pairs
        int32 (P, 2), as `find_rivals` gives them.
    count
        How many candidates there are.

    Returns
    -------
    bool (count,): whether each candidate stays.

    Raises
    ------
    TypeError, ValueError
        An argument has the wrong type, dtype, shape or range; the message names it.
    """
