"""What tiles answered, as outlines in model pixels, before each nucleus is counted once."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nuhtc.native.outlines import trace_masks
from nuhtc.runtime.engines.engine import Detections
from nuhtc.runtime.ground.errors import EngineError
from nuhtc.runtime.nuclei.ragged import RingTable
from nuhtc.runtime.tiles.grid import Grid


@dataclass(frozen=True)
class Candidates(RingTable):
    """Outlines found by one tile or by many, each with the tile that found it.

    Positions are *model pixels*: the pixel grid at the model's um/px with the slide's top left
    corner at (0, 0). The same nucleus may be here once for every tile that saw it.

    Parameters
    ----------
    coords, offsets
        int32 (M, 2) and int64 (N + 1): the rings, on pixel edges (see
        `nuhtc.runtime.nuclei.ragged`).
    area
        int64 (N,): pixels inside.
    centroid
        float64 (N, 2): x, y.
    bbox
        int32 (N, 4): x0, y0, x1, y1 of the ring.
    label
        uint8 (N,): the class it was found as.
    score
        float32 (N,): that class's probability.
    probabilities
        float32 (N, C).
    tile
        int32 (N,): row * columns + column in the grid.
    cut
        bool (N,): the outline touches an edge of its tile that is not an edge of the slide.
    """

    area: NDArray[np.int64]
    centroid: NDArray[np.float64]
    bbox: NDArray[np.int32]
    label: NDArray[np.uint8]
    score: NDArray[np.float32]
    probabilities: NDArray[np.float32]
    tile: NDArray[np.int32]
    cut: NDArray[np.bool_]

    @classmethod
    def empty(cls, classes: int) -> "Candidates":
        """Return no candidates of so many classes."""
        return cls(
            coords=np.zeros((0, 2), np.int32),
            offsets=np.zeros(1, np.int64),
            area=np.zeros(0, np.int64),
            centroid=np.zeros((0, 2), np.float64),
            bbox=np.zeros((0, 4), np.int32),
            label=np.zeros(0, np.uint8),
            score=np.zeros(0, np.float32),
            probabilities=np.zeros((0, classes), np.float32),
            tile=np.zeros(0, np.int32),
            cut=np.zeros(0, np.bool_),
        )


def trace_tile(
    detections: Detections,
    grid: Grid,
    row: int,
    col: int,
    *,
    min_score: float = 0.0,
    mask_threshold: float = 0.5,
) -> Candidates:
    """Trace the outlines of one tile's detections and place them on the slide.

    Outlines end at the tile's edge and at the slide's, so a tile that sticks out of the slide
    adds nothing there. Detections without a pixel in their mask are left out.

    Parameters
    ----------
    detections
        The engine's answer, in tile pixels.
    grid
        The tiles of the slide, in model pixels.
    row, col
        Which tile this is.
    min_score
        Detections below are left out.
    mask_threshold
        Least mask probability of a pixel inside.

    Raises
    ------
    EngineError
        When the answer holds NaN or infinite numbers.
    """
    probabilities = detections.probabilities
    answer = (probabilities, detections.boxes, detections.masks)
    if not all(np.isfinite(numbers).all() for numbers in answer):
        raise EngineError(
            f"tile {row}, {col}: the network answered numbers that are not finite; "
            "try another --engine"
        )
    if len(detections) == 0:
        return Candidates.empty(probabilities.shape[1])
    score = detections.scores
    sure = np.flatnonzero(score >= np.float32(min_score))
    x, y = grid.origin(row, col)
    coords, offsets, area, centroid, bbox = trace_masks(
        detections.masks[sure],
        detections.boxes[sure],
        min(grid.tile, grid.width - x),
        min(grid.tile, grid.height - y),
        mask_threshold,
    )
    bbox = bbox + np.array([x, y, x, y], np.int32)
    traced = Candidates(
        coords=coords + np.array([x, y], np.int32),
        offsets=offsets,
        area=area.astype(np.int64),
        centroid=centroid.astype(np.float64) + np.array([x, y]),
        bbox=bbox,
        label=detections.labels[sure].astype(np.uint8),
        score=score[sure],
        probabilities=probabilities[sure],
        tile=np.full(len(sure), row * grid.cols + col, np.int32),
        cut=_cut(bbox, grid, x, y),
    )
    return traced.take(np.flatnonzero(traced.area > 0))


def _cut(bbox: NDArray[np.int32], grid: Grid, x: int, y: int) -> NDArray[np.bool_]:
    cut = np.zeros(len(bbox), np.bool_)
    if x > 0:
        cut |= bbox[:, 0] <= x
    if y > 0:
        cut |= bbox[:, 1] <= y
    if x + grid.tile < grid.width:
        cut |= bbox[:, 2] >= x + grid.tile
    if y + grid.tile < grid.height:
        cut |= bbox[:, 3] >= y + grid.tile
    return cut
