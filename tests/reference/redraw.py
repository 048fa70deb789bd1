"""Plain NumPy twin of ``nuhtc.native.redraw``: everything drawn on one picture."""

import numpy as np
from numpy.typing import NDArray
from reference.outlines import ring_of, solid
from reference.stitch import draw, rings_of


def redraw_rings(
    coords: NDArray[np.int32],
    offsets: NDArray[np.int64],
    rings: NDArray[np.int64],
    takes: NDArray[np.bool_],
    ends: NDArray[np.int64],
) -> list[tuple[list[tuple[int, int]], NDArray[np.bool_]]]:
    """Return each new ring's points and the pixels inside it, on a picture of all the rings."""
    given = rings_of(coords, offsets)
    corner = coords.min(axis=0, initial=0), coords.max(axis=0, initial=0)
    (x0, y0), (x1, y1) = (np.asarray(point).tolist() for point in corner)
    made = []
    for start, stop in zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True):
        pixels = np.zeros((y1 - y0, x1 - x0), np.bool_)
        for ring, take in zip(rings[start:stop].tolist(), takes[start:stop].tolist(), strict=True):
            inside = draw(given[ring], x0, y0, x1, y1)
            pixels = pixels & ~inside if take else pixels | inside
        pixels = solid(pixels)
        made.append(([(x + x0, y + y0) for x, y in ring_of(pixels)], pixels))
    return made
