"""Outlines as files hold them, turned into nuclei that every reader accepts."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray

from nuhtc.runtime.bundle.card import NucleusClass
from nuhtc.runtime.nuclei.nuclei import UNITS_PER_PX, Nuclei
from nuhtc.runtime.nuclei.ragged import ring_areas, ring_bounds, ring_centroids
from nuhtc.runtime.slides.slide import SlideFacts

UNKNOWN_COLOR = (128, 128, 128)
"""Of a class whose colour the file does not say."""

FARTHEST_PX = np.iinfo(np.int32).max // UNITS_PER_PX
"""Coordinates beyond cannot be held."""


@dataclass(frozen=True)
class Outlines:
    """Some of a file's outlines, before anything is checked."""

    shapes: NDArray[np.object_]
    """object (N,): shapely geometries in level-0 pixels; None where the file has none"""
    label: NDArray[np.int64]
    """int64 (N,): the class of each"""
    score: NDArray[np.float64]
    """float64 (N,)"""
    probabilities: NDArray[np.float64] | None
    """float64 (N, C); None where the file has none"""


@dataclass(frozen=True)
class Source:
    """A file of outlines, to be read as a stream."""

    classes: tuple[NucleusClass, ...]
    """names and colours, by label"""
    slide: SlideFacts | None
    """what the file says of the slide; None if nothing"""
    size_px: tuple[int, int]
    """width and height that just hold the outlines, where `slide` is None"""
    chunks: Callable[[], Iterator[Outlines]]
    """reads the outlines, some thousands at a time"""


def repair_outlines(found: Outlines, classes: int) -> tuple[Nuclei, int, int]:
    """Check and repair outlines; a nucleus is one polygon without holes.

    Coordinates are rounded to hundredths of a pixel. An invalid ring is repaired, and of several
    parts the largest stays; what then has no area is dropped.

    Parameters
    ----------
    found
        The outlines.
    classes
        How many classes there are.

    Returns
    -------
    Nuclei
        Those that have an area.
    int
        How many invalid outlines were repaired.
    int
        How many entries were dropped.

    Raises
    ------
    ValueError
        When a coordinate is beyond what is held.
    """
    rounded = shapely.transform(found.shapes, lambda points: np.rint(points * UNITS_PER_PX))
    simple = (shapely.get_type_id(rounded) == shapely.GeometryType.POLYGON) & (
        shapely.get_num_interior_rings(rounded) == 0
    )
    fine = simple & shapely.is_valid(rounded) & (shapely.area(rounded) > 0)
    fixed = rounded.copy()
    broken = np.flatnonzero(~fine)
    for index in broken:
        fixed[index] = _repaired(rounded[index])
    kept = np.flatnonzero(~shapely.is_missing(fixed))
    repaired = len(np.intersect1d(broken, kept))
    closed, ring = shapely.get_coordinates(
        shapely.get_exterior_ring(fixed[kept]), return_index=True
    )
    if len(closed) and not np.abs(closed).max() <= FARTHEST_PX * UNITS_PER_PX:
        raise ValueError("a coordinate is beyond any slide")
    inner = np.append(ring[1:] == ring[:-1], False)[: len(ring)]
    coords = closed[inner].astype(np.int32)
    offsets = np.zeros(len(kept) + 1, np.int64)
    np.cumsum(np.bincount(ring[inner], minlength=len(kept)), out=offsets[1:])
    label, score = found.label[kept].astype(np.uint8), found.score[kept].astype(np.float32)
    if found.probabilities is not None:
        probabilities = found.probabilities[kept].astype(np.float32)
    else:
        probabilities = np.zeros((len(kept), classes), np.float32)
        probabilities[np.arange(len(kept)), label] = score
    nuclei = Nuclei(
        coords=coords,
        offsets=offsets,
        label=label,
        score=score,
        probabilities=probabilities,
        bbox=ring_bounds(coords, offsets),
        area_px=ring_areas(coords, offsets) / (2.0 * UNITS_PER_PX**2),
        centroid=(ring_centroids(coords, offsets) / UNITS_PER_PX).astype(np.float32),
        tile=np.zeros(len(kept), np.int32),
        cut=np.zeros(len(kept), np.bool_),
    )
    return nuclei, repaired, len(found.shapes) - len(kept)


def _repaired(shape: object) -> object:
    """Return the largest valid polygon of a shape, without holes; None if it has no area."""
    if shape is None:
        return None
    whole = shapely.set_precision(shapely.make_valid(shape), 1.0)
    parts = [
        part
        for part in shapely.get_parts(shapely.get_parts(whole))
        if part.geom_type == "Polygon" and part.area > 0
    ]
    if not parts:
        return None
    # Filling the holes may let the outline touch itself no more than it did.
    return shapely.polygons(max(parts, key=lambda part: part.area).exterior)
