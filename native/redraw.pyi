"""Outlines from outlines: some united, others taken away from them."""

import numpy as np
from numpy.typing import NDArray

def redraw_rings(
    coords: NDArray[np.int32],
    offsets: NDArray[np.int64],
    rings: NDArray[np.int64],
    takes: NDArray[np.bool_],
    ends: NDArray[np.int64],
) -> tuple[
    NDArray[np.int32],
    NDArray[np.int64],
    NDArray[np.int64],
    NDArray[np.float64],
    NDArray[np.int32],
]:
    """Draw new outlines from old ones: what some cover together, less what others cover.

    New outline k is drawn from the rings ``rings[ends[k]:ends[k + 1]]``, one after the other:
    each adds the pixels inside it or, where `takes` is true, takes them away. Of what is left,
    the largest 4-connected component is kept (of equals the first in scan order), its holes are
    filled, and its pixel edges are traced, as in `nuhtc.native.outlines.trace_masks`.

    Parameters
    ----------
    coords, offsets
        int32 (M, 2) and int64 (N + 1): rings along pixel edges, as in
        `nuhtc.native.stitch.overlap_areas`.
    rings
        int64 (R,): which rings are drawn, in order.
    takes
        bool (R,): whether each takes its pixels away.
    ends
        int64 (K + 1): how `rings` is divided among the K new outlines.

    Returns
    -------
    coords, offsets
        int32 and int64 (K + 1): the new rings; one is empty if nothing is left of it.
    area
        int64 (K,), pixels inside; 0 if empty.
    centroid
        float64 (K, 2), x and y of the mean of the pixels' centres; 0 if empty.
    bbox
        int32 (K, 4), xyxy; 0 if empty.

    Raises
    ------
    TypeError, ValueError
        An argument has the wrong type, dtype or shape, a ring has a slanted edge, an entry names
        no ring, or a new outline would span more than 16384 pixels; the message names the
        argument.
    MemoryError
        The points do not fit into memory.
    """
