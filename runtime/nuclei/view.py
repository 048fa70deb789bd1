"""What is shown of a store: every nucleus once, by thresholds, classes and region.

All of it is a function of the candidates, so it can be asked again with other values without
running the network.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import shapely
from numpy.typing import NDArray

from nuhtc.runtime.divide import DivideStream
from nuhtc.runtime.nuclei.candidates import Candidates
from nuhtc.runtime.nuclei.class_map import ClassMap
from nuhtc.runtime.nuclei.nuclei import UNITS_PER_PX, Nuclei, to_nuclei
from nuhtc.runtime.nuclei.ragged import ring_areas, ring_bounds
from nuhtc.runtime.stitch import StitchStream
from nuhtc.runtime.store.manifest import Manifest
from nuhtc.runtime.tiles.grid import Grid

CHUNK: Final = 16384
"""Nuclei handed to the writers at a time: enough for arrays to pay, little memory."""


@dataclass(frozen=True)
class View:
    """Which nuclei are wanted, and how.

    Parameters
    ----------
    min_score
        Candidates of a lower score are left out before stitching, as if never found.
    min_area_um2
        Smaller nuclei are left out after stitching.
    region
        x, y, width, height in level-0 pixels: only nuclei whose centroid lies in it.
    simplify_px
        How far an outline may move to have fewer points, in level-0 pixels; 0 leaves it exact.
    classes
        Other names, colours, or fewer classes.
    overlaps
        "keep" leaves what neighbours share to both, "divide" to the surer one.
    """

    min_score: float = 0.0
    min_area_um2: float = 0.0
    region: tuple[float, float, float, float] | None = None
    simplify_px: float = 0.0
    classes: ClassMap | None = None
    overlaps: str = "keep"

    def as_dict(self) -> dict[str, object]:
        """Return the view as the outputs name it."""
        return {
            "min_score": self.min_score,
            "min_area_um2": self.min_area_um2,
            "region_px": list(self.region) if self.region is not None else None,
            "simplify_px": self.simplify_px,
            "overlaps": self.overlaps,
        }

    def apply(self, nuclei: Nuclei, mpp: float) -> Nuclei:
        """Return what the view keeps of stitched nuclei, as it shows them."""
        keep = nuclei.area_px * mpp**2 >= self.min_area_um2
        if self.region is not None:
            x, y, width, height = self.region
            low, high = np.array([x, y]), np.array([x + width, y + height])
            keep &= ((nuclei.centroid >= low) & (nuclei.centroid < high)).all(axis=1)
        if self.classes is not None:
            keep &= self.classes.keeps(nuclei.label)
        nuclei = nuclei if keep.all() else nuclei.take(np.flatnonzero(keep))
        if self.classes is not None:
            nuclei = self.classes.apply(nuclei)
        return simplified(nuclei, self.simplify_px) if self.simplify_px > 0 else nuclei


def iter_nuclei(
    parts: Iterable[Candidates], manifest: Manifest, ran: NDArray[np.bool_], view: View
) -> Iterator[Nuclei]:
    """Give each nucleus once, some thousands at a time, in the order of the tiles.

    Parameters
    ----------
    parts
        The candidates, in the order of the tiles.
    manifest
        What they come from.
    ran
        bool (rows, columns): the tiles that were run.
    view
        Which are wanted.
    """
    slide = manifest.slide
    sure = (_sure(part, view.min_score) for part in parts)
    for stitched in _stitched(sure, manifest.grid, ran, divide=view.overlaps == "divide"):
        nuclei = to_nuclei(
            stitched, scale=manifest.scale, width=slide.width_px, height=slide.height_px
        )
        nuclei = view.apply(nuclei, slide.mpp)
        if len(nuclei):
            yield nuclei


def simplified(nuclei: Nuclei, tolerance_px: float) -> Nuclei:
    """Return the nuclei with fewer points, each of them one of the old and every ring valid.

    An outline that would not stay a valid polygon is left as it is.
    """
    if not len(nuclei):
        return nuclei
    counts = np.diff(nuclei.offsets)
    rings = shapely.linearrings(nuclei.coords, indices=np.repeat(np.arange(len(counts)), counts))
    shapes = shapely.polygons(rings)
    fewer = shapely.simplify(shapes, tolerance_px * UNITS_PER_PX, preserve_topology=True)
    kept = shapely.is_valid(fewer) & (shapely.area(fewer) > 0)
    closed, index = shapely.get_coordinates(
        shapely.get_exterior_ring(np.where(kept, fewer, shapes)), return_index=True
    )
    # The last point of each closed ring repeats its first.
    inner = np.append(index[1:] == index[:-1], False)
    coords = closed[inner].astype(np.int32)
    offsets = np.zeros(len(counts) + 1, np.int64)
    np.cumsum(np.bincount(index[inner], minlength=len(counts)), out=offsets[1:])
    return replace(
        nuclei,
        coords=coords,
        offsets=offsets,
        bbox=ring_bounds(coords, offsets),
        area_px=ring_areas(coords, offsets) / (2.0 * UNITS_PER_PX**2),
    )


def _sure(part: Candidates, least: float) -> Candidates:
    sure = part.score >= np.float32(least)
    return part if sure.all() else part.take(np.flatnonzero(sure))


def _stitched(
    parts: Iterable[Candidates], grid: Grid, ran: NDArray[np.bool_], *, divide: bool
) -> Iterator[Candidates]:
    """Stitch row by row and hand on in chunks what is settled."""
    stream, division = StitchStream(grid, ran), DivideStream()
    classes = 0
    for row, candidates in _by_row(parts, grid.cols):
        classes = candidates.probabilities.shape[1]
        found = stream.add_row(row, candidates)
        yield from _chunks(division.add(found, stream.horizon) if divide else found)
    found = stream.finish(classes)
    yield from _chunks(division.add(found, None) if divide else found)


def _by_row(parts: Iterable[Candidates], cols: int) -> Iterator[tuple[int, Candidates]]:
    """Cut parts, whose tiles ascend, into rows of tiles; a row may begin and end in any part."""
    open_row, waiting = -1, list[Candidates]()
    for part in parts:
        rows = part.tile // np.int32(cols)
        for row in np.unique(rows).tolist():
            if row != open_row and waiting:
                yield open_row, Candidates.concatenate(waiting)
                waiting = []
            open_row = row
            waiting.append(part.take(np.flatnonzero(rows == row)))
    if waiting:
        yield open_row, Candidates.concatenate(waiting)


def _chunks(found: Candidates) -> Iterator[Candidates]:
    for start in range(0, len(found), CHUNK):
        yield found.take(np.arange(start, min(start + CHUNK, len(found))))
