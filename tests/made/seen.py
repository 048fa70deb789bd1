"""Known nuclei as tiles see them, and what stitching them gave, in forms that can be compared."""

import numpy as np
from fakes.oracle import OracleEngine, class_probabilities, oracle_slide
from made.blobs import fill_ring
from numpy.typing import NDArray

from nuhtc.runtime.nuclei.candidates import Candidates
from nuhtc.runtime.pipeline.trace import trace_tile
from nuhtc.runtime.stitching.stitch import drop_doubled, stitch
from nuhtc.runtime.tiles.grid import Grid


def grid_over(labels: NDArray[np.int32], tile: int, overlap: int) -> Grid:
    return Grid(labels.shape[1], labels.shape[0], tile, overlap)


def core(grid: Grid, row: int, col: int) -> tuple[float, float, float, float]:
    """Return the half-open area a tile owns as (x0, y0, x1, y1): to the middle of the overlaps."""

    def span(index: int, count: int) -> tuple[float, float]:
        start, stop = (i * grid.stride + grid.overlap // 2 for i in (index, index + 1))
        return start if index else -np.inf, stop if index < count - 1 else np.inf

    (x0, x1), (y0, y1) = span(col, grid.cols), span(row, grid.rows)
    return x0, y0, x1, y1


def see(labels: NDArray[np.int32], grid: Grid, engine: OracleEngine) -> list[Candidates]:
    """Return what each tile of the grid answers."""
    slide = oracle_slide(labels)
    parts = []
    for row, col in np.ndindex(grid.rows, grid.cols):
        tile = slide.read(*grid.corner(grid.numbers(row, col)), 0, grid.tile, grid.tile)
        parts.append(
            drop_doubled(trace_tile(engine.run(tile[None])[0], grid, grid.numbers(row, col)))
        )
    return parts


def everywhere(grid: Grid) -> NDArray[np.bool_]:
    return np.ones((grid.rows, grid.cols), np.bool_)


def stitched(
    labels: NDArray[np.int32], grid: Grid, engine: OracleEngine | None = None
) -> Candidates:
    parts = see(labels, grid, engine or OracleEngine())
    return stitch(Candidates.concatenate(parts), grid, everywhere(grid))


def found_labels(found: Candidates, labels: NDArray[np.int32]) -> list[int]:
    """Return which nucleus each outline is of, checking that it is exactly that nucleus."""
    numbers = []
    for index in range(len(found)):
        ring = found.coords[found.offsets[index] : found.offsets[index + 1]]
        inside = fill_ring(ring, *labels.shape)
        (number,) = np.unique(labels[inside])
        assert np.array_equal(inside, labels == number)
        assert found.area[index] == inside.sum()
        assert found.score[index] == class_probabilities(np.array([number])).max()
        numbers.append(int(number))
    return numbers


def found_about(found: Candidates, labels: NDArray[np.int32], least_iou: float) -> list[int]:
    """Return which nucleus each outline is of, checking that it is much like that nucleus."""
    numbers = []
    for index in range(len(found)):
        ring = found.coords[found.offsets[index] : found.offsets[index + 1]]
        inside = fill_ring(ring, *labels.shape)
        number = int(np.bincount(labels[inside]).argmax())
        nucleus = labels == number
        assert (inside & nucleus).sum() > least_iou * (inside | nucleus).sum()
        assert found.area[index] == inside.sum()
        numbers.append(number)
    return numbers


def as_set(found: Candidates, shift: tuple[int, int] = (0, 0)) -> set[tuple[object, ...]]:
    """Return the outlines with label and score, moved back by a shift, in no order."""
    return {
        (
            (found.coords[low:high] - shift).tobytes(),
            int(found.label[index]),
            float(found.score[index]),
            bool(found.cut[index]),
        )
        for index, (low, high) in enumerate(zip(found.offsets[:-1], found.offsets[1:], strict=True))
    }
