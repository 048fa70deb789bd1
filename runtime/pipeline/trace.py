"""One tile's detections as outlines in model pixels."""

import numpy as np
from numpy.typing import NDArray

from nuhtc.native.outlines import trace_masks
from nuhtc.runtime.engines.engine import Detections
from nuhtc.runtime.ground.errors import EngineError
from nuhtc.runtime.nuclei.candidates import Candidates
from nuhtc.runtime.tiles.grid import Grid


def trace_tile(
    detections: Detections,
    grid: Grid,
    tile: int,
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
    tile
        Which of them this is.
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
        row, col = grid.rows_cols(tile)
        raise EngineError(
            f"tile {row}, {col}: the network answered numbers that are not finite; "
            "try another --engine"
        )
    if len(detections) == 0:
        return Candidates.empty(probabilities.shape[1])
    score = detections.scores
    kept = np.flatnonzero(score >= np.float32(min_score))
    x, y = grid.corner(tile)
    coords, offsets, area, centroid, bbox = trace_masks(
        detections.masks[kept],
        detections.boxes[kept],
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
        label=detections.labels[kept].astype(np.uint8),
        score=score[kept],
        probabilities=probabilities[kept],
        tile=np.full(len(kept), tile, np.int32),
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
