"""Overlaps divided: each pixel to the surest nucleus, whatever tiles saw it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from fakes.oracle import box_and_mask, class_probabilities, decode, oracle_slide
from hypothesis import given, settings
from hypothesis import strategies as st
from made.blobs import fill_ring, random_ellipses
from made.made_nuclei import made_bundle
from made.summarized import summarized
from numpy.typing import NDArray
from reference.outlines import ring_of, solid
from scipy import ndimage

from nuhtc.native.outlines import trace_masks
from nuhtc.runtime.engines.engine import Detections
from nuhtc.runtime.nuclei.candidates import Candidates
from nuhtc.runtime.nuclei.view import View
from nuhtc.runtime.pipeline.settings import RunSettings
from nuhtc.runtime.pipeline.trace import trace_tile
from nuhtc.runtime.stitching.divide import DivideStream, divide
from nuhtc.runtime.stitching.stitch import StitchStream, drop_doubled, stitch
from nuhtc.runtime.tiles.grid import Grid

SCENES = settings.default.max_examples // 4
GROWTH = 2
"""Pixels by which every nucleus reaches over its neighbours."""


def rings_with_scores(
    found: Candidates, shift: tuple[int, int] = (0, 0)
) -> set[tuple[object, ...]]:
    ends = zip(found.offsets[:-1], found.offsets[1:], found.score, strict=True)
    moved = found.coords - np.array(shift, np.int32)
    return {(moved[low:high].tobytes(), float(score)) for low, high, score in ends}


@st.composite
def crowds(draw: st.DrawFn) -> Candidates:
    """Outlines of any shape that overlap as they like, with few scores so that ties are common."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    count = draw(st.integers(0, 12))
    noise = rng.random((count, 9, 9)) + rng.random((count, 1, 1))
    corner = rng.integers(0, 40, (count, 2))
    boxes = np.concatenate([corner, corner + rng.integers(4, 16, (count, 2))], axis=1)
    coords, offsets, area, centroid, bbox = trace_masks(
        noise.astype(np.float32), boxes.astype(np.float32), 60, 60
    )
    probabilities = rng.integers(1, 5, (count, 1)).astype(np.float32) / 4
    found = Candidates(
        coords=coords,
        offsets=offsets,
        area=area.astype(np.int64),
        centroid=centroid.astype(np.float64),
        bbox=bbox,
        label=np.zeros(count, np.uint8),
        score=probabilities[:, 0],
        probabilities=probabilities,
        tile=np.zeros(count, np.int32),
        cut=np.zeros(count, np.bool_),
    )
    return found.take(np.flatnonzero(found.area))


def painted(found: Candidates) -> list[NDArray[np.bool_]]:
    """Return each nucleus's pixels once all are painted, the surest last; nothing where covered."""
    ends = zip(found.offsets[:-1], found.offsets[1:], strict=True)
    inside = [fill_ring(found.coords[low:high], 60, 60) for low, high in ends]
    canvas = np.full((60, 60), -1)
    order = sorted(
        range(len(found)),
        key=lambda i: (found.score[i], found.area[i], -found.bbox[i, 1], -found.bbox[i, 0], -i),
    )
    for index in order:
        canvas[inside[index]] = index
    return [solid(canvas == index) for index in range(len(found))]


@settings(deadline=None)
@given(crowds())
def test_equals_painting_by_score(found: Candidates) -> None:
    divided = divide(found)
    parts = [(index, pixels) for index, pixels in enumerate(painted(found)) if pixels.any()]
    rings = [np.array(ring_of(pixels), np.int32) for _, pixels in parts]
    assert np.array_equal(divided.coords, np.concatenate([np.zeros((0, 2), np.int32), *rings]))
    assert np.diff(divided.offsets).tolist() == [len(ring) for ring in rings]
    assert divided.area.tolist() == [pixels.sum() for _, pixels in parts]
    kept = [index for index, _ in parts]
    assert np.array_equal(divided.score, found.score[kept])
    for place, (_, pixels) in zip(divided.centroid, parts, strict=True):
        np.testing.assert_allclose(place, np.argwhere(pixels)[:, ::-1].mean(axis=0) + 0.5, 1e-5)


@settings(deadline=None)
@given(crowds(), st.lists(st.integers(0, 60), max_size=4))
def test_a_stream_gives_what_all_at_once_gives(found: Candidates, cuts: list[int]) -> None:
    found = found.take(np.argsort(found.bbox[:, 1], kind="stable"))
    stream, parts, done = DivideStream(), [], 0
    for cut in sorted(cuts):
        stop = int(np.searchsorted(found.bbox[:, 1], cut))
        parts.append(stream.add(found.take(np.arange(done, stop)), cut))
        done = stop
    parts.append(stream.add(found.take(np.arange(done, len(found))), None))
    given_all, expected = Candidates.concatenate(parts), divide(found)
    for name in vars(expected):
        assert np.array_equal(getattr(given_all, name), getattr(expected, name)), name


def grown(instances: NDArray[np.integer], number: int) -> NDArray[np.bool_]:
    square = np.ones((2 * GROWTH + 1, 2 * GROWTH + 1))
    return np.asarray(ndimage.binary_dilation(instances == number, square))


class GrowingEngine:
    """Finds every nucleus, and finds it too large."""

    name, precision, reason = "growing", "fp32", "named"

    def run(self, tiles: NDArray[np.uint8]) -> list[Detections]:
        """Answer each tile by itself."""
        return [self._answer(decode(tile)) for tile in tiles]

    def _answer(self, ids: NDArray[np.int64]) -> Detections:
        numbers = np.unique(ids[ids > 0])
        found = [box_and_mask(grown(ids, number)) for number in numbers]
        return Detections(
            np.array([box for box, _ in found], np.float32).reshape(-1, 4),
            class_probabilities(numbers),
            np.array([mask for _, mask in found], np.float32).reshape(-1, 28, 28),
        )


def see(labels: NDArray[np.int32], grid: Grid) -> list[Candidates]:
    slide, parts = oracle_slide(labels), []
    for row, col in np.ndindex(grid.rows, grid.cols):
        tile = slide.read(*grid.corner(grid.numbers(row, col)), 0, grid.tile, grid.tile)
        parts.append(
            drop_doubled(
                trace_tile(GrowingEngine().run(tile[None])[0], grid, grid.numbers(row, col))
            )
        )
    return parts


def expected_rings(labels: NDArray[np.int32]) -> set[tuple[object, ...]]:
    """Return the ring and score of each grown nucleus without what surer ones cover."""
    numbers = np.arange(1, labels.max() + 1)
    score = class_probabilities(numbers).max(axis=1)
    covered = np.zeros(labels.shape, np.bool_)
    rings = set()
    for index in np.argsort(-score):
        inside = grown(labels, numbers[index])
        ring = np.array(ring_of(solid(inside & ~covered)), np.int32)
        rings.add((ring.tobytes(), float(score[index])))
        covered |= inside
    return rings


@settings(max_examples=SCENES, deadline=None)
@given(
    st.integers(0, 2**32), st.integers(32, 64), st.tuples(st.integers(0, 70), st.integers(0, 70))
)
def test_neither_tiles_nor_where_the_grid_begins_change_the_division(
    seed: int, half_tile: int, shift: tuple[int, int]
) -> None:
    labels = random_ellipses(seed, 150, 170, 60, (12.0, 20.0))
    # Whatever a border crops stays as far from it in any grid.
    labels = np.pad(labels, 4)
    moved = np.pad(labels, ((shift[1], 0), (shift[0], 0)))
    grid = Grid(moved.shape[1], moved.shape[0], 2 * half_tile, 30)
    parts = see(moved, grid)
    everywhere = np.ones((grid.rows, grid.cols), np.bool_)
    divided = divide(stitch(Candidates.concatenate(parts), grid, everywhere))
    assert rings_with_scores(divided, shift) == expected_rings(labels)
    canvas = np.zeros(moved.shape, np.int64)
    for low, high in zip(divided.offsets[:-1], divided.offsets[1:], strict=True):
        canvas += fill_ring(divided.coords[low:high], *moved.shape)
    assert canvas.max(initial=0) <= 1

    stitching, division, rows = StitchStream(grid, everywhere), DivideStream(), []
    for row in range(grid.rows):
        here = [Candidates.empty(4), *parts[row * grid.cols : (row + 1) * grid.cols]]
        found = stitching.add_row(row, Candidates.concatenate(here))
        rows.append(division.add(found, stitching.horizon))
    rows.append(division.add(stitching.finish(4), None))
    streamed = Candidates.concatenate(rows)
    for name in vars(divided):
        assert np.array_equal(getattr(streamed, name), getattr(divided, name)), name


def test_one_that_is_covered_by_two_surer_ones_is_left_out() -> None:
    square = np.array([(0, 0), (8, 0), (8, 8), (0, 8)], np.int32)
    one = replace(
        Candidates.empty(1),
        coords=(square + np.array([[(4, 0)], [(0, 0)], [(8, 0)]], np.int32)).reshape(-1, 2),
        offsets=np.array([0, 4, 8, 12]),
        area=np.full(3, 64),
        centroid=np.zeros((3, 2)),
        bbox=np.array([(4, 0, 12, 8), (0, 0, 8, 8), (8, 0, 16, 8)], np.int32),
        label=np.zeros(3, np.uint8),
        score=np.array([0.5, 0.6, 0.7], np.float32),
        probabilities=np.zeros((3, 1), np.float32),
        tile=np.zeros(3, np.int32),
        cut=np.zeros(3, np.bool_),
    )
    assert divide(one).score.tolist() == one.score[1:].tolist()


def test_a_run_divides_when_it_is_told_to() -> None:
    labels = random_ellipses(9, 300, 300, 200, (12.0, 20.0))
    settings = RunSettings(tile_px=96, overlap_px=32)
    covered = []
    for overlaps in ("keep", "divide"):
        nuclei, summary = summarized(
            oracle_slide(labels),
            GrowingEngine(),
            made_bundle(Path("nowhere")),
            settings,
            View(overlaps=overlaps),
        )
        canvas = np.zeros(labels.shape, np.int64)
        for low, high in zip(nuclei.offsets[:-1], nuclei.offsets[1:], strict=True):
            canvas += fill_ring(nuclei.coords[low:high] // 100, *labels.shape)
        covered.append(canvas)
        assert summary.settings["overlaps"] == overlaps
        assert canvas.sum() == nuclei.area_px.sum()
    kept, divided = covered
    assert kept.max() > 1
    assert divided.max() == 1
    assert (divided <= kept).all()
