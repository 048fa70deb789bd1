"""The nuclei of one slide, as arrays: what stitching leaves and what writers read.

There is no object per nucleus. Outlines are ragged rings (see `nuhtc.runtime.nuclei.ragged`) in
hundredths of a level-0 pixel: exact on the 0.01 px grid that QuPath reduces every geometry to,
and whole pixels when the slide has the model's own resolution.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nuhtc.runtime.ground.errors import PipelineError
from nuhtc.runtime.nuclei.candidates import Candidates
from nuhtc.runtime.nuclei.ragged import RingTable, ring_areas

UNITS_PER_PX = 100
"""Coordinates are hundredths of a level-0 pixel."""

MIN_SCALE = 0.01
"""Fewest level-0 pixels per model pixel; below, two model pixels could get one coordinate."""


@dataclass(frozen=True, repr=False)
class Nuclei(RingTable):
    """Every nucleus of a slide once, in the order of the tiles that saw it.

    The rings are in hundredths of a level-0 pixel, origin at the slide's top left corner, y down;
    simple, along pixel edges, inside the slide.
    """

    label: NDArray[np.uint8]
    """uint8 (N,): index of the most probable class"""
    score: NDArray[np.float32]
    """float32 (N,): that class's probability"""
    probabilities: NDArray[np.float32]
    """float32 (N, C)"""
    bbox: NDArray[np.int32]
    """int32 (N, 4): x0, y0, x1, y1 in hundredths of a level-0 pixel"""
    area_px: NDArray[np.float64]
    """float64 (N,): area inside the ring, in square level-0 pixels"""
    centroid: NDArray[np.float32]
    """float32 (N, 2): x, y in level-0 pixels"""
    tile: NDArray[np.int32]
    """int32 (N,): the tile that saw it, row * columns + column"""
    cut: NDArray[np.bool_]
    """bool (N,): the outline ends at the edge of what tiles saw of the nucleus"""

    @classmethod
    def empty(cls, classes: int) -> "Nuclei":
        """Return no nuclei of so many classes."""
        return cls(
            coords=np.zeros((0, 2), np.int32),
            offsets=np.zeros(1, np.int64),
            label=np.zeros(0, np.uint8),
            score=np.zeros(0, np.float32),
            probabilities=np.zeros((0, classes), np.float32),
            bbox=np.zeros((0, 4), np.int32),
            area_px=np.zeros(0, np.float64),
            centroid=np.zeros((0, 2), np.float32),
            tile=np.zeros(0, np.int32),
            cut=np.zeros(0, np.bool_),
        )


def place_on_slide(candidates: Candidates, *, scale: float, width: int, height: int) -> Nuclei:
    """Turn stitched outlines in model pixels into nuclei in level-0 hundredths.

    Each coordinate is scaled and rounded by itself, so outlines that shared an edge still do,
    and the map never lets two model coordinates meet, so a simple ring stays simple. What lies
    beyond the slide's last pixel is moved back to the slide's border.

    Parameters
    ----------
    candidates
        The stitched outlines. None may reach further than `model_extent` of the slide.
    scale
        Level-0 pixels per model pixel: the model's um/px over the slide's.
    width, height
        The slide's size in level-0 pixels.

    Raises
    ------
    PipelineError
        When the scale is below 0.01, or the slide too wide for 32-bit hundredths.
    """
    check_extent(scale, width, height)
    area = ring_areas(
        coords := _hundredths(candidates.coords, scale, width, height), candidates.offsets
    )
    return Nuclei(
        coords=coords,
        offsets=candidates.offsets,
        label=candidates.label,
        score=candidates.score,
        probabilities=candidates.probabilities,
        bbox=_hundredths(candidates.bbox.reshape(-1, 2), scale, width, height).reshape(-1, 4),
        area_px=area / (2.0 * UNITS_PER_PX**2),
        centroid=np.clip(candidates.centroid * scale, 0, (width, height)).astype(np.float32),
        tile=candidates.tile,
        cut=candidates.cut,
    )


def model_extent(length: int, scale: float) -> int:
    """Return how many model pixels a slide covers along one side of `length` level-0 pixels.

    The last one may stick out of the slide, but begins inside it by at least a hundredth of a
    level-0 pixel; so clipping leaves it some width.
    """
    extent = int(length / scale) + 2
    while extent > 1 and _round((extent - 1) * scale * UNITS_PER_PX) >= length * UNITS_PER_PX:
        extent -= 1
    return extent


def check_extent(scale: float, width: int, height: int) -> None:
    """Check that level-0 hundredths can hold the slide and tell model pixels apart.

    Raises
    ------
    PipelineError
        When they cannot.
    """
    if not scale >= MIN_SCALE:
        raise PipelineError(
            f"one model pixel is only {scale:g} level-0 pixels, which is below {MIN_SCALE}: "
            "the slide is far too coarse for this model, or its um/px is wrong; give it by --mpp"
        )
    largest = np.iinfo(np.int32).max // UNITS_PER_PX
    if max(width, height) > largest:
        raise PipelineError(f"the slide is {width} x {height} pixels; at most {largest} are held")


def _round(value: float) -> int:
    return int(np.floor(value + 0.5))


def _hundredths(
    points: NDArray[np.int32], scale: float, width: int, height: int
) -> NDArray[np.int32]:
    # floor(x + 0.5) and not rint: rint's ties go to even and would let 1.5 and 2.5 meet.
    scaled = np.floor(points * (scale * UNITS_PER_PX) + 0.5)
    limit = np.array([width, height], np.float64) * UNITS_PER_PX
    clipped: NDArray[np.int32] = np.clip(scaled, 0, limit).astype(np.int32)
    return clipped
