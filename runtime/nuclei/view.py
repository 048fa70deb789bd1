"""What is shown of a store: every nucleus once, by thresholds, classes and region.

All of it is a function of the candidates, so it can be asked again with other values without
running the network.
"""

from dataclasses import dataclass, replace

import numpy as np
import shapely

from nuhtc.runtime.nuclei.class_map import ClassMap
from nuhtc.runtime.nuclei.nuclei import UNITS_PER_PX, Nuclei
from nuhtc.runtime.nuclei.ragged import ring_areas, ring_bounds


@dataclass(frozen=True)
class View:
    """Which nuclei are wanted, and how."""

    min_score: float = 0.0
    """candidates of a lower score are left out before stitching, as if never found"""
    min_area_um2: float = 0.0
    """smaller nuclei are left out after stitching"""
    region: tuple[float, float, float, float] | None = None
    """x, y, width, height in level-0 pixels: only nuclei whose centroid lies in it"""
    simplify_px: float = 0.0
    """how far an outline may move to have fewer points, in level-0 pixels; 0 leaves it exact"""
    classes: ClassMap | None = None
    """other names, colours, or fewer classes"""
    overlaps: str = "keep"
    """what neighbours share stays with both ("keep"), or with the surer one ("divide")"""

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
