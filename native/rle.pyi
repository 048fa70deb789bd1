"""Outlines as run-length encoded masks, in COCO's text."""

import numpy as np
from numpy.typing import NDArray

def rle_texts(
    coords: NDArray[np.int32], offsets: NDArray[np.int64], sizes: NDArray[np.int64]
) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.int64]]:
    """Encode the mask of every ring: the pixels whose centres lie inside.

    Runs go down the columns, as COCO's do. A centre on the outline belongs to the pixels below
    or right of it, so masks of outlines that share an edge share no pixel.

    Parameters
    ----------
    coords, offsets
        int32 (M, 2) and int64 (N + 1): ring i is ``coords[offsets[i]:offsets[i + 1]]``, in
        hundredths of a pixel of its own image. What lies outside the image is cut off.
    sizes
        int64 (N, 2): width and height of each ring's image, fewer than 2**32 pixels.

    Returns
    -------
    text
        uint8: `counts`, as it stands in JSON (a backslash is doubled).
    ends
        int64 (N + 1): ring i's text is ``text[ends[i]:ends[i + 1]]``.
    areas
        int64 (N,): pixels of each mask.

    Raises
    ------
    TypeError, ValueError
        An argument has the wrong type, dtype, shape or range; the message names it.
    MemoryError
        The text does not fit into memory.
    """
