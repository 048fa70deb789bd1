"""Outlines as well-known binary (WKB) polygons, many at a time."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from nuhtc.native.text import weave
from nuhtc.runtime.nuclei.nuclei import UNITS_PER_PX, Nuclei
from nuhtc.runtime.writers import columns

LITTLE_ENDIAN: Final = 1
POLYGON: Final = 3

_HEADER: Final = np.dtype([("order", "u1"), ("type", "<u4"), ("rings", "<u4"), ("points", "<u4")])


def closed_points(nuclei: Nuclei) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return each ring's points in level-0 pixels with its first repeated, (M + N, 2), and cuts."""
    cuts = nuclei.offsets + np.arange(len(nuclei.offsets))
    source = np.arange(cuts[-1]) - np.repeat(np.arange(len(nuclei)), np.diff(cuts))
    source[cuts[1:] - 1] = nuclei.offsets[:-1]
    return nuclei.coords[source] / UNITS_PER_PX, cuts


def polygons(nuclei: Nuclei, before: columns.Column | None = None) -> columns.Column:
    """Return every outline as a WKB polygon, each after its piece of `before`."""
    points, cuts = closed_points(nuclei)
    header = np.zeros(len(nuclei), _HEADER)
    header["order"], header["type"], header["rings"] = LITTLE_ENDIAN, POLYGON, 1
    header["points"] = np.diff(cuts)
    flat = points.astype("<f8").view(np.uint8).reshape(-1)
    width = 2 * points.itemsize
    pieces = [columns.rows(header), columns.ragged(flat, cuts * width)]
    return columns.ragged(*weave(pieces if before is None else [before, *pieces]))
