"""Every nucleus once, whatever the tiles: known nuclei, seen tile by tile by the oracle."""

from dataclasses import replace

import numpy as np
import pytest
from fakes.oracle import OracleEngine, oracle_slide
from hypothesis import given, settings
from hypothesis import strategies as st
from made.blobs import fill_ring, random_ellipses
from made.seen import as_set, everywhere, found_about, found_labels, grid_over, see, stitched
from numpy.typing import NDArray

from nuhtc.runtime.ground.errors import EngineError, PipelineError
from nuhtc.runtime.nuclei.candidates import Candidates
from nuhtc.runtime.pipeline.trace import trace_tile
from nuhtc.runtime.stitching.stitch import stitch

SCENES = settings.default.max_examples // 4
"""Each is a slide seen tile by tile."""


@st.composite
def scenes(draw: st.DrawFn) -> tuple[NDArray[np.int32], int, int]:
    """Draw a label image, a tile and an overlap wider than any of its nuclei."""
    tile = draw(st.integers(32, 64)) * 2
    overlap = draw(st.integers(12, tile // 4)) * 2
    widest = min(28.0, overlap - 2.0)
    height, width = draw(st.integers(40, 200)), draw(st.integers(40, 200))
    seed, count = draw(st.integers(0, 2**32)), draw(st.integers(0, 60))
    return random_ellipses(seed, height, width, count, (6.0, widest)), tile, overlap


@settings(max_examples=SCENES, deadline=None)
@given(scenes())
def test_every_nucleus_comes_out_once_with_exactly_its_mask(
    scene: tuple[NDArray[np.int32], int, int],
) -> None:
    labels, tile, overlap = scene
    found = stitched(labels, grid_over(labels, tile, overlap))
    assert sorted(found_labels(found, labels)) == list(range(1, labels.max() + 1))
    assert not found.cut.any()
    assert (np.diff(found.tile) >= 0).all(), "in the order of the tiles"


@settings(max_examples=SCENES, deadline=None)
@given(scenes(), st.tuples(st.integers(0, 90), st.integers(0, 90)))
def test_shifting_the_grid_changes_nothing(
    scene: tuple[NDArray[np.int32], int, int], shift: tuple[int, int]
) -> None:
    labels, tile, overlap = scene
    # Further in by some pixels everywhere, so that the picture's border crops the same nuclei.
    moved = np.pad(labels, ((shift[1], 0), (shift[0], 0)))
    here = stitched(labels, grid_over(labels, tile, overlap))
    there = stitched(moved, grid_over(moved, tile, overlap))
    assert as_set(here) == as_set(there, shift)
    assert len(here) == len(there)


@settings(max_examples=SCENES, deadline=None)
@given(scenes(), st.randoms(use_true_random=False))
def test_the_order_of_the_tiles_does_not_matter(scene, random) -> None:
    labels, tile, overlap = scene
    grid = grid_over(labels, tile, overlap)
    parts = see(labels, grid, OracleEngine())
    in_order = stitch(Candidates.concatenate(parts), grid, everywhere(grid))
    random.shuffle(parts)
    shuffled = stitch(Candidates.concatenate(parts), grid, everywhere(grid))
    for name in vars(in_order):
        assert np.array_equal(getattr(in_order, name), getattr(shuffled, name)), name


@settings(max_examples=SCENES, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 2**32))
def test_tiles_that_place_a_nucleus_differently_still_count_it_once(seed: int, jitter: int) -> None:
    labels = random_ellipses(seed, 200, 200, 40, (14.0, 26.0))
    grid = grid_over(labels, 96, 40)
    rng = np.random.default_rng(jitter)
    parts = []
    for part in see(labels, grid, OracleEngine()):
        step = rng.integers(-1, 2, 2).astype(np.int32)
        parts.append(replace(part, coords=part.coords + step, bbox=part.bbox + np.tile(step, 2)))
    found = stitch(Candidates.concatenate(parts), grid, everywhere(grid))
    assert len(found) == labels.max()


@settings(max_examples=SCENES, deadline=None)
@given(st.integers(0, 2**32))
def test_nuclei_larger_than_the_mask_lose_little_of_their_shape(seed: int) -> None:
    labels = random_ellipses(seed, 220, 260, 20, (30.0, 46.0))
    found = stitched(labels, grid_over(labels, 128, 64))
    seen = set()
    for index in range(len(found)):
        ring = found.coords[found.offsets[index] : found.offsets[index + 1]]
        inside = fill_ring(ring, *labels.shape)
        number = int(np.bincount(labels[inside]).argmax())
        truth = labels == number
        assert (inside & truth).sum() / (inside | truth).sum() > 0.85
        seen.add(number)
    assert len(found) == len(seen) == labels.max()


@settings(max_examples=SCENES, deadline=None)
@given(st.integers(0, 2**32), st.integers(24, 40), st.floats(0.1, 0.5))
def test_a_nucleus_larger_than_the_overlap_comes_out_once(
    seed: int, half_tile: int, overlap: float
) -> None:
    # Up to one and a half tiles: four pieces and more, none of them whole.
    tile = 2 * half_tile
    labels = random_ellipses(seed, 230, 210, 12, (8.0, 1.5 * tile))
    grid = grid_over(labels, tile, int(overlap * tile))
    found = stitched(labels, grid)
    # What 28 x 28 points hold of a piece as large as a tile.
    numbers = found_about(found, labels, 0.85)
    assert sorted(numbers) == list(range(1, labels.max() + 1))
    assert not found.cut.any()


@pytest.mark.parametrize("centre", [(88, 48), (88, 88), (88, 96), (80, 40), (95, 95)])
@pytest.mark.parametrize("side", [18, 24, 28])
def test_pieces_of_a_nucleus_are_joined_to_exactly_its_mask(
    centre: tuple[int, int], side: int
) -> None:
    y, x = np.mgrid[:200, :200] + 0.5
    labels = (np.hypot(x - centre[0], y - centre[1]) <= side / 2).astype(np.int32)
    found = stitched(labels, grid_over(labels, 96, 16))
    assert found_labels(found, labels) == [1]
    assert not found.cut.any()


def test_what_is_found_everywhere_is_no_nucleus() -> None:
    labels = np.ones((300, 300), np.int32)
    found = stitched(labels, grid_over(labels, 64, 32))
    assert len(found) == 1
    assert found.area.tolist() == [64 * 64]
    assert found.cut.all()


def test_a_piece_stays_marked_where_its_neighbour_was_not_run() -> None:
    labels = np.zeros((60, 200), np.int32)
    labels[20:40, 80:160] = 1
    grid = grid_over(labels, 64, 16)
    parts = see(labels, grid, OracleEngine())
    ran = everywhere(grid)
    ran[0, 2:] = False
    found = stitch(Candidates.concatenate(parts[:2]), grid, ran)
    assert found.bbox.tolist() == [[80, 20, 112, 40]]
    assert found.cut.all()


def test_neighbours_speak_for_a_tile_that_was_not_run() -> None:
    labels = random_ellipses(5, 300, 300, 120, (8.0, 20.0))
    grid = grid_over(labels, 128, 48)
    missing = (1, 1)
    parts = see(labels, grid, OracleEngine())
    ran = everywhere(grid)
    ran[missing] = False
    del parts[missing[0] * grid.cols + missing[1]]
    found = stitch(Candidates.concatenate(parts), grid, ran)

    x, y = grid.corner(grid.numbers(*missing))
    alone = np.zeros(labels.shape, np.bool_)
    alone[y + 48 : y + 128 - 48, x + 48 : x + 128 - 48] = True
    outside = set(range(1, labels.max() + 1)) - set(np.unique(labels[alone]).tolist())
    whole = found.take(np.flatnonzero(~found.cut))
    numbers = found_labels(whole, labels)
    assert len(numbers) == len(set(numbers))
    assert outside <= set(numbers), "all that a neighbour sees whole is there"
    assert found.cut.any(), "what only the missing tile saw whole is kept as a piece, and marked"


def test_doubled_answers_of_one_tile_are_dropped() -> None:
    labels = random_ellipses(3, 150, 150, 40, (8.0, 24.0))
    grid = grid_over(labels, 96, 40)
    found = stitched(labels, grid, OracleEngine(twice=True))
    assert sorted(found_labels(found, labels)) == list(range(1, labels.max() + 1))


def test_nothing_gives_nothing() -> None:
    labels = np.zeros((100, 100), np.int32)
    found = stitched(labels, grid_over(labels, 64, 32))
    assert len(found) == 0
    assert found.probabilities.shape == (0, 4)


def test_results_of_a_tile_nobody_ran_are_refused() -> None:
    labels = random_ellipses(1, 100, 100, 20, (8.0, 20.0))
    grid = grid_over(labels, 64, 32)
    all_parts = Candidates.concatenate(see(labels, grid, OracleEngine()))
    ran = everywhere(grid)
    ran[0, 0] = False
    with pytest.raises(PipelineError, match="not run"):
        stitch(all_parts, grid, ran)
    with pytest.raises(PipelineError, match="tiles"):
        stitch(all_parts, grid, ran[:1])


@pytest.mark.parametrize("field", ["boxes", "probabilities", "masks"])
@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_an_answer_that_is_not_finite_is_the_engines_fault(field: str, number: float) -> None:
    labels = random_ellipses(1, 64, 64, 10, (8.0, 20.0))
    grid = grid_over(labels, 64, 32)
    answer = OracleEngine().run(oracle_slide(labels).read(0, 0, 0, 64, 64)[None])[0]
    getattr(answer, field).flat[0] = number
    with pytest.raises(EngineError, match="not finite"):
        trace_tile(answer, grid, 0)


def test_less_sure_nuclei_are_left_out() -> None:
    labels = random_ellipses(1, 64, 64, 20, (8.0, 20.0))
    grid = grid_over(labels, 64, 32)
    answer = OracleEngine().run(oracle_slide(labels).read(0, 0, 0, 64, 64)[None])[0]
    best = answer.probabilities.max(axis=1)
    limit = float(np.median(best))
    traced = trace_tile(answer, grid, 0, min_score=limit)
    assert 0 < len(traced) < len(answer)
    assert len(traced) == (best >= np.float32(limit)).sum()


def test_the_slides_border_does_not_cut() -> None:
    labels = np.zeros((70, 70), np.int32)
    labels[10:30, 60:70] = 1
    labels[60:70, 0:12] = 2
    found = stitched(labels, grid_over(labels, 64, 32))
    assert sorted(found_labels(found, labels)) == [1, 2]
    assert not found.cut.any()
