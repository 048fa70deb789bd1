"""Outlines: from small masks in boxes straight to valid rings on pixel edges."""

import numpy as np
from numpy.typing import NDArray

def trace_masks(
    masks: NDArray[np.float32],
    boxes: NDArray[np.float32],
    width: int,
    height: int,
    threshold: float = 0.5,
) -> tuple[
    NDArray[np.int32],
    NDArray[np.int64],
    NDArray[np.int32],
    NDArray[np.float32],
    NDArray[np.int32],
]:
    """Trace the outline of each mask where its box puts it, without pasting it into a tile.

    A pixel belongs to a nucleus if the mask, stretched over the box and interpolated
    bilinearly at the pixel's centre (zeros outside the mask), reaches the threshold. Of these
    pixels the largest 4-connected component is kept (of equals the first in scan order), its
    holes are filled, and its pixel edges are traced. Such a ring is always simple.

    Every ring starts at the top left corner of its first pixel in scan order and goes right:
    counter-clockwise in numbers (positive shoelace area, as GeoJSON wants), which looks
    clockwise on a screen, where y points down. Its corners alternate between horizontal and
    vertical edges; the first point is not repeated.

    Parameters
    ----------
    masks
        float32 (N, S, S), probabilities. NaN counts as 0 wherever it is touched.
    boxes
        float32 (N, 4), xyxy in tile pixels. A box that is not finite, has no area or lies
        outside the tile gives an empty outline.
    width, height
        The tile's size in pixels, 1 to 32768; outlines end at its edges.
    threshold
        Above 0, at most 1.

    Returns
    -------
    coords
        int32 (M, 2), x and y in whole tile pixels, (0, 0) the tile's top left corner.
    offsets
        int64 (N + 1): ring i is ``coords[offsets[i]:offsets[i + 1]]``; empty if nothing is left.
    area
        int32 (N,), pixels inside; 0 if empty.
    centroid
        float32 (N, 2), x and y of the mean of the pixels' centres; 0 if empty.
    bbox
        int32 (N, 4), xyxy of the ring; 0 if empty.

    Raises
    ------
    TypeError, ValueError
        An argument has the wrong type, dtype, shape or range; the message names it.
    MemoryError
        The points do not fit into memory.
    """
