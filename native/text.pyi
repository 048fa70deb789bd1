"""Numbers and outlines as text, many at a time, into one buffer."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

def ring_texts(
    coords: NDArray[np.int32],
    offsets: NDArray[np.int64],
    places: int,
    opening: bytes,
    between: bytes,
    closing: bytes,
    *,
    closed: bool,
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Write the points of every ring, commas between them.

    Parameters
    ----------
    coords, offsets
        int32 (M, 2) and int64 (N + 1): ring i is ``coords[offsets[i]:offsets[i + 1]]``.
    places
        Decimals: a coordinate of 1250 is written as 12.5 with two; 0 to 9.
    opening, between, closing
        What stands before x, between x and y, and after y.
    closed
        Whether the first point is repeated at the end.

    Returns
    -------
    text
        uint8: ASCII.
    ends
        int64 (N + 1): ring i's text is ``text[ends[i]:ends[i + 1]]``.

    Raises
    ------
    TypeError, ValueError
        An argument has the wrong type, dtype, shape or range; the message names it.
    """

def decimal_texts(
    values: NDArray[np.int64], places: int
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Write ``values / 10**places`` exactly, without trailing zeros.

    Parameters
    ----------
    values
        int64 (N,).
    places
        0 to 18.

    Returns
    -------
    text, ends
        As of `ring_texts`.

    Raises
    ------
    TypeError, ValueError
        An argument has the wrong type, dtype, shape or range; the message names it.
    """

def weave(
    columns: Sequence[tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.int64]]],
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Join one piece of every column, row by row.

    Parameters
    ----------
    columns
        At least one. Each: bytes, uint8 (L,), and where row i's piece starts and stops in them,
        int64 (N,) each.

    Returns
    -------
    data
        uint8: all rows, one after the other.
    cuts
        int64 (N + 1): row i is ``data[cuts[i]:cuts[i + 1]]``.

    Raises
    ------
    TypeError, ValueError
        A column has the wrong dtype or length, or a piece lies outside its bytes.
    """
