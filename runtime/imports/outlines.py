"""Outlines as files hold them, turned into nuclei that every reader accepts."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray

from nuhtc.runtime.bundle import NucleusClass
from nuhtc.runtime.nuclei import UNITS_PER_PX, Nuclei
from nuhtc.runtime.ragged import ring_areas, ring_bounds, ring_centroids
from nuhtc.runtime.summary import SlideFacts

UNKNOWN_COLOR = (128, 128, 128)
"""Of a class whose colour the file does not say."""


@dataclass(frozen=True)
class Outlines:
    """What a file says, before anything is checked.

    Parameters
    ----------
    shapes
        object (N,): shapely geometries in level-0 pixels; None where the file has none.
    names
        The class of each.
    scores
        float (N,).
    probabilities
        By class name; None where the file has none.
    classes
        Names and colours.
    slide
        What the file says of the slide; None if nothing.
    """

    shapes: NDArray[np.object_]
    names: Sequence[str]
    scores: NDArray[np.float64]
    probabilities: Mapping[str, NDArray[np.float64]] | None
    classes: tuple[NucleusClass, ...]
    slide: SlideFacts | None


@dataclass(frozen=True)
class Imported:
    """Nuclei from a file, and what had to be done to them.

    Parameters
    ----------
    nuclei, classes, slide
        As a run would give them.
    repaired
        Invalid outlines that were made valid.
    dropped
        Entries that enclose no area.
    """

    nuclei: Nuclei
    classes: tuple[NucleusClass, ...]
    slide: SlideFacts
    repaired: int
    dropped: int


def to_imported(found: Outlines, digest: str, file: str, mpp: float) -> Imported:
    """Check and repair outlines; a nucleus is one polygon without holes.

    Coordinates are rounded to hundredths of a pixel. An invalid ring is repaired, and of several
    parts the largest stays; what then has no area is dropped.
    """
    rounded = np.array(
        [
            None if shape is None else shapely.transform(shape, _hundredths)
            for shape in found.shapes
        ],
        object,
    )
    simple = (shapely.get_type_id(rounded) == shapely.GeometryType.POLYGON) & (
        shapely.get_num_interior_rings(rounded) == 0
    )
    fine = simple & shapely.is_valid(rounded) & (shapely.area(rounded) > 0)
    fixed = rounded.copy()
    broken = np.flatnonzero(~fine)
    for index in broken:
        fixed[index] = _repaired(rounded[index])
    kept = np.flatnonzero([shape is not None for shape in fixed])
    repaired = len(np.intersect1d(broken, kept))
    closed, ring = shapely.get_coordinates(
        shapely.get_exterior_ring(fixed[kept]), return_index=True
    )
    inner = np.append(ring[1:] == ring[:-1], False)
    coords = closed[inner].astype(np.int32)
    offsets = np.zeros(len(kept) + 1, np.int64)
    np.cumsum(np.bincount(ring[inner], minlength=len(kept)), out=offsets[1:])
    place = {one.name: label for label, one in enumerate(found.classes)}
    label = np.array([place[found.names[i]] for i in kept.tolist()], np.uint8)
    score = found.scores[kept].astype(np.float32)
    probabilities = np.zeros((len(kept), len(found.classes)), np.float32)
    if found.probabilities is not None:
        for name, values in found.probabilities.items():
            probabilities[:, place[name]] = values[kept]
    else:
        probabilities[np.arange(len(kept)), label] = score
    bbox = ring_bounds(coords, offsets)
    nuclei = Nuclei(
        coords=coords,
        offsets=offsets,
        label=label,
        score=score,
        probabilities=probabilities,
        bbox=bbox,
        area_px=ring_areas(coords, offsets) / (2.0 * UNITS_PER_PX**2),
        centroid=(ring_centroids(coords, offsets) / UNITS_PER_PX).astype(np.float32),
        tile=np.zeros(len(kept), np.int32),
        cut=np.zeros(len(kept), np.bool_),
    )
    return Imported(
        nuclei=nuclei,
        classes=found.classes,
        slide=found.slide or _slide_around(nuclei, digest, file, mpp),
        repaired=repaired,
        dropped=len(found.shapes) - len(kept),
    )


def _slide_around(nuclei: Nuclei, digest: str, file: str, mpp: float) -> SlideFacts:
    """Return a slide that just holds the nuclei, where the file does not say how large it is."""
    far = nuclei.bbox[:, 2:].max(axis=0) / UNITS_PER_PX if len(nuclei) else (1, 1)
    return SlideFacts(file, digest, math.ceil(far[0]), math.ceil(far[1]), mpp)


def _hundredths(points: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.rint(points * UNITS_PER_PX)


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
