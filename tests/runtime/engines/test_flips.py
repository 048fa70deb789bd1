"""Mirror images of tiles: nothing is lost or moved by them, and what is told is their mean."""

from dataclasses import replace

import numpy as np
import pytest
from fakes.oracle import OracleEngine, class_probabilities
from hypothesis import given, settings
from hypothesis import strategies as st
from made.blobs import random_ellipses
from made.made_nuclei import made_card
from made.seen import found_about, grid_over, stitched
from made.toy_bundle import toy_bundle, toy_tile
from numpy.typing import NDArray

from nuhtc.runtime.bundle.card import Card
from nuhtc.runtime.engines.engine import Detections
from nuhtc.runtime.engines.flips import VIEWS, FlippedEngine, flipped, fuse, mirrored
from nuhtc.runtime.engines.names import FLIPS
from nuhtc.runtime.engines.open import open_engine


def card_with(**changes: object) -> Card:
    card = made_card()
    wanted = {"score": 0.35, "nms": 0.5, "nms_per_class": False, "count": 500, **changes}
    return replace(card, detection=replace(card.detection, **wanted))


def answer(
    boxes: list[tuple[float, ...]], probabilities: list[tuple[float, ...]], mask: float = 1.0
) -> Detections:
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(probabilities, np.float32).reshape(-1, 2),
        np.full((len(boxes), 28, 28), mask, np.float32),
    )


@settings(max_examples=settings.default.max_examples // 4, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from(sorted(VIEWS)), st.integers(0, 60))
def test_a_perfect_engine_answers_nearly_the_same(seed: int, flips: int, count: int) -> None:
    labels = random_ellipses(seed, 150, 130, count, (14.0, 28.0))
    grid = grid_over(labels, 96, 40)
    # Its boxes are widened for the mask's sake, so they overlap where nuclei do not.
    engine = FlippedEngine(OracleEngine(), card_with(nms=1.0), flips)
    found = stitched(labels, grid, engine)
    # A box that is an odd number of pixels wide is half a pixel off in a mirror image.
    numbers = found_about(found, labels, 0.8)
    assert sorted(numbers) == list(range(1, labels.max() + 1))
    assert np.array_equal(found.score, class_probabilities(np.array(numbers, np.int64)).max(axis=1))


@given(st.booleans(), st.booleans(), st.integers(0, 2**32))
def test_a_mirror_image_of_a_mirror_image_is_the_thing(x: bool, y: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    corner = rng.integers(0, 40, (5, 2)).astype(np.float32)
    boxes = np.concatenate([corner, corner + rng.integers(1, 20, (5, 2))], axis=1)
    masks = rng.random((5, 28, 28), np.float32)
    found = Detections(boxes.astype(np.float32), rng.random((5, 2), np.float32), masks)
    back = mirrored(mirrored(found, 64, 60, x, y), 64, 60, x, y)
    for name in ("boxes", "probabilities", "masks", "labels"):
        assert np.array_equal(getattr(back, name), getattr(found, name)), name


@pytest.mark.parametrize(
    ("x", "y", "box"), [(True, False, (52, 2, 60, 8)), (False, True, (4, 22, 12, 28))]
)
def test_it_is_mirrored_in_the_middle_of_the_tile(x: bool, y: bool, box: tuple[float, ...]) -> None:
    found = answer([(4, 2, 12, 8)], [(0.5, 0.1)])
    found.masks[0, 3, 5] = 0
    there = mirrored(found, 64, 30, x, y)
    assert there.boxes.tolist() == [list(box)]
    (hole,) = np.argwhere(there.masks[0] == 0)
    assert hole.tolist() == [24 if y else 3, 22 if x else 5]


def test_box_mask_and_probabilities_are_means() -> None:
    one = answer([(0, 0, 10, 10)], [(0.6, 0.2)], 1.0)
    other = answer([(2, 0, 12, 10)], [(0.1, 0.1)], 0.0)
    (found,) = fuse([one, other], card_with(score=0.3)).boxes
    assert np.allclose(found, [0.4, 0, 10.4, 10]), "the surer one weighs four times as much"
    both = fuse([one, other], card_with(score=0.3))
    assert np.allclose(both.probabilities, [[0.35, 0.15]])
    assert np.allclose(both.masks, 0.8)


def test_what_one_view_misses_must_be_surer_in_the_other() -> None:
    none = answer([], [])
    sure = answer([(0, 0, 10, 10)], [(0.9, 0.05)])
    doubtful = answer([(0, 0, 10, 10)], [(0.6, 0.05)])
    assert fuse([none, sure], card_with()).probabilities.max() == pytest.approx(0.45)
    assert len(fuse([doubtful, none], card_with())) == 0
    assert len(fuse([none, none], card_with())) == 0


def test_neighbours_stay_two() -> None:
    boxes = [(0, 0, 10, 10), (8, 0, 18, 10)]
    one = answer(boxes, [(0.6, 0.2), (0.5, 0.2)])
    other = answer(boxes[::-1], [(0.6, 0.2), (0.5, 0.2)])
    found = fuse([one, other], card_with())
    assert sorted(found.boxes.tolist()) == [list(map(float, box)) for box in boxes]
    assert np.allclose(found.probabilities, [[0.55, 0.2], [0.55, 0.2]])


@pytest.mark.parametrize(("per_class", "count"), [(False, 1), (True, 2)])
def test_a_nucleus_may_be_of_two_classes_only_as_published(per_class: bool, count: int) -> None:
    box = (0.0, 0.0, 10.0, 10.0)
    probabilities: NDArray[np.float32] = np.array([[0.45, 0.5]] * 2, np.float32)
    masks = np.ones((2, 28, 28), np.float32)
    twice = Detections(np.array([box, box], np.float32), probabilities, masks, np.array([1, 0]))
    found = fuse([twice, twice], card_with(nms_per_class=per_class))
    assert found.labels.tolist() == [1, 0][:count]


def test_the_best_are_kept_where_there_are_too_many() -> None:
    boxes = [(x, 0.0, x + 8.0, 8.0) for x in range(0, 60, 10)]
    found = fuse([answer(boxes, [(0.4 + x / 100, 0.1) for x in range(6)])], card_with(count=2))
    assert found.boxes[:, 0].tolist() == [50, 40]


def test_the_engine_is_asked_for_what_is_half_as_sure(tmp_path) -> None:
    """A toy's first region is there upright alone: a mirrored toy tile shows nothing."""
    bundle = toy_bundle(tmp_path / "toy")
    engine = open_engine(bundle, threads=1)
    assert flipped(engine, 1) is engine
    twice = flipped(engine, 2)
    assert (twice.name, twice.precision, twice.reason) == ("cpu", "fp32", engine.reason)
    (found,) = twice.run(toy_tile([(2, 2, 10, 12, 90)])[None])
    assert found.boxes.tolist() == [[3, 2, 11, 12]]
    assert np.allclose(found.probabilities, [[0.45, 0.01]]), "0.9 upright, nothing mirrored"
    assert twice.run(np.zeros((0, 32, 32, 3), np.uint8)) == []


def test_the_names_are_complete() -> None:
    assert set(FLIPS) == set(VIEWS)
