"""The engine: what it does between graphs whose answers are known, and PyTorch's nuclei."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made.toy_bundle import toy_bundle, toy_tile
from numpy.typing import NDArray

from nuhtc.runtime.bundle.card import Card, DetectionSettings, ProposalSettings
from nuhtc.runtime.bundle.load import Bundle
from nuhtc.runtime.engines.cascade import card_for_tile, propose, select_detections
from nuhtc.runtime.engines.engine import Detections
from nuhtc.runtime.engines.open import open_engine
from nuhtc.runtime.ground.errors import BundleError, EngineError
from nuhtc.runtime.pipeline.trace import trace_tile
from nuhtc.runtime.stitching.stitch import drop_doubled
from nuhtc.runtime.tiles.grid import Grid


@pytest.fixture
def toy(tmp_path: Path) -> Bundle:
    return toy_bundle(tmp_path / "toy")


def card_with(card: Card, **changes: Any) -> Card:
    settings: DetectionSettings = replace(card.detection, **changes)
    return replace(card, detection=settings)


APART = [(2, 2, 10, 12, 90), (14, 14, 24, 30, 80), (0, 20, 8, 28, 70)]
"""Regions that do not touch."""


def test_regions_go_to_their_own_tile_and_come_back_from_it(toy: Bundle) -> None:
    tiles = np.stack([toy_tile(APART[:2]), toy_tile([]), toy_tile(APART[2:])])
    first, second, third = open_engine(toy, threads=1).run(tiles)
    # The regions of zeros that fill each list up are too small to be proposed.
    assert first.boxes.tolist() == [[3, 2, 11, 12], [15, 14, 25, 30]]
    assert np.allclose(first.probabilities, [[0.9, 0.02], [0.9, 0.14]])
    assert np.allclose(first.masks, 0.2)
    assert len(second) == 0
    assert third.boxes.tolist() == [[1, 20, 9, 28]]
    assert np.allclose(third.probabilities, [[0.7, 0.0]]) and np.allclose(third.masks, 0.4)
    for answer in (first, second, third):
        assert answer.boxes.shape == (len(answer), 4)
        assert answer.probabilities.shape == (len(answer), 2)
        assert answer.masks.shape == (len(answer), 28, 28)
        assert {a.dtype for a in (answer.boxes, answer.probabilities, answer.masks)} == {
            np.dtype(np.float32)
        }


def test_boxes_are_in_tile_pixels_whatever_the_enlargement(tmp_path: Path) -> None:
    engine = open_engine(toy_bundle(tmp_path / "twice", input_scale=2), threads=1)
    (found,) = engine.run(toy_tile(APART[:1])[None])
    assert found.boxes.tolist() == [[1.5, 1, 5.5, 6]]


def test_small_regions_are_no_proposals(toy: Bundle) -> None:
    # The least side is 2, and a side of exactly that is too small.
    (found,) = open_engine(toy, threads=1).run(
        toy_tile([(4, 4, 6, 20, 90), (10, 4, 13, 7, 80), (20, 4, 30, 6, 70)])[None]
    )
    assert found.boxes.tolist() == [[11, 4, 14, 7]]


def test_a_proposal_below_the_least_score_is_none() -> None:
    settings = ProposalSettings(9, 0.0, 0.7, 0, score=0.5)
    boxes = np.array([[[0, 0, 8, 8], [10, 0, 18, 8], [0, 10, 8, 18]]], np.float32)
    scores = np.array([[0.5, np.nextafter(np.float32(0.5), 0), 1.0]], np.float32)
    given = (boxes, scores, np.zeros(3, np.int64), np.full((1, 8, 8), -9, np.float32))
    assert propose(settings, *given)[0].tolist() == [[0, 10, 8, 18], [0, 0, 8, 8]]
    assert len(propose(replace(settings, score=0.0), *given)[0]) == 3


def test_of_two_proposals_for_one_place_the_better_one_stays(toy: Bundle) -> None:
    twice = [(2, 2, 12, 12, 60), (2, 2, 12, 11, 90), (20, 2, 30, 12, 50)]
    (found,) = open_engine(toy, threads=1).run(toy_tile(twice)[None])
    assert found.boxes.tolist() == [[3, 2, 13, 11], [21, 2, 31, 12]]


def test_no_tiles(toy: Bundle) -> None:
    assert open_engine(toy, threads=1).run(np.zeros((0, 32, 32, 3), np.uint8)) == []


def test_tiles_without_anything(toy: Bundle) -> None:
    found = open_engine(toy, threads=1).run(np.zeros((2, 32, 64, 3), np.uint8))
    assert [len(answer) for answer in found] == [0, 0]


def test_any_memory_layout(toy: Bundle) -> None:
    tiles = np.stack([toy_tile(APART), toy_tile(APART[1:])])
    engine = open_engine(toy, threads=1)
    plain = engine.run(tiles)
    strided = np.zeros((2, 64, 64, 6), np.uint8)[:, ::2, ::2, ::2]
    strided[:] = tiles
    strided.flags.writeable = False
    for a, b in zip(plain, engine.run(strided), strict=True):
        assert np.array_equal(a.boxes, b.boxes)


@pytest.mark.parametrize(
    "tiles",
    [
        np.zeros((32, 32, 3), np.uint8),
        np.zeros((1, 32, 32, 4), np.uint8),
        np.zeros((1, 3, 32, 32), np.uint8),
        np.zeros((1, 32, 32, 3), np.float32),
        np.zeros((1, 32, 33, 3), np.uint8),
        np.zeros((1, 16, 32, 3), np.uint8),
    ],
    ids=lambda tiles: f"{tiles.dtype}-{tiles.shape}",
)
def test_tiles_of_the_wrong_kind(toy: Bundle, tiles: NDArray[Any]) -> None:
    with pytest.raises(EngineError, match="tiles"):
        open_engine(toy, threads=1).run(tiles)


@pytest.mark.parametrize("name", ["trunk.onnx", "heads.onnx", "masks.onnx"])
def test_a_graph_that_does_not_load(toy: Bundle, name: str) -> None:
    toy.path(name).write_bytes(b"no graph")
    with pytest.raises(EngineError) as caught:
        open_engine(toy)
    message = str(caught.value)
    assert message.startswith(str(toy.path(name))) and "\n" not in message


def test_a_card_with_another_number_of_classes(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"2 classes.*3"):
        open_engine(toy_bundle(tmp_path / "three", classes=3))


def test_a_bundle_is_checked_before_it_is_used(toy: Bundle) -> None:
    from nuhtc.runtime.bundle.load import load_bundle

    toy.path("trunk.onnx").write_bytes(b"no graph")
    with pytest.raises(BundleError):
        load_bundle(toy.folder)


BOXES = np.array([[0, 0, 10, 10], [0, 0, 10, 9], [20, 20, 30, 30], [40, 40, 50, 50]], np.float32)
PROBABILITIES = np.array([[0.8, 0.1], [0.2, 0.75], [0.35, 0.3], [0.5, 0.4]], np.float32)


def selected(
    card: Card,
    boxes: NDArray[np.float32] = BOXES,
    probabilities: NDArray[np.float32] = PROBABILITIES,
) -> list[tuple[int, int]]:
    """Pairs (region, class)."""
    regions, labels = select_detections(boxes, probabilities, card.detection)
    assert regions.dtype == labels.dtype == np.int64
    return list(zip(regions.tolist(), labels.tolist(), strict=True))


def test_one_nucleus_has_one_class(toy: Bundle) -> None:
    # Region 2 does not exceed the least score; region 1 is region 0 with another class.
    assert selected(toy.card) == [(0, 0), (3, 0)]


def test_as_published_every_probable_class_counts(toy: Bundle) -> None:
    card = card_with(toy.card, nms_per_class=True)
    assert selected(card) == [(0, 0), (1, 1), (3, 0), (3, 1)]


def test_the_best_come_first_and_only_so_many(toy: Bundle) -> None:
    turned = slice(None, None, -1)
    assert selected(toy.card, BOXES[turned], PROBABILITIES[turned]) == [(3, 0), (0, 0)]
    assert selected(card_with(toy.card, count=1)) == [(0, 0)]
    assert selected(card_with(toy.card, count=3, nms_per_class=True))[2] == (3, 0)


def test_overlap_up_to_the_limit_is_allowed(toy: Bundle) -> None:
    # Region 1 lies in region 0 and covers nine tenths of it.
    assert len(selected(card_with(toy.card, nms=0.89))) == 2
    assert len(selected(card_with(toy.card, nms=0.91))) == 3


@pytest.mark.parametrize("per_class", [False, True])
def test_no_regions_to_choose_from(toy: Bundle, per_class: bool) -> None:
    card = card_with(toy.card, nms_per_class=per_class)
    assert selected(card, np.zeros((0, 4), np.float32), np.zeros((0, 2), np.float32)) == []
    assert selected(card, BOXES, PROBABILITIES * 0) == []


def test_another_least_score(toy: Bundle) -> None:
    card = toy.card.with_detection(score=0.7)
    assert selected(card) == [(0, 0)]
    assert replace(card, detection=toy.card.detection) == toy.card


def test_a_label_need_not_be_the_most_probable_class() -> None:
    masks = np.zeros((4, 28, 28), np.float32)
    plain = Detections(BOXES, PROBABILITIES, masks)
    assert plain.labels.tolist() == [0, 1, 0, 0]
    assert np.array_equal(plain.scores, PROBABILITIES.max(axis=1))
    claimed = replace(plain, claims=np.array([1, 0, 0, 1]))
    assert claimed.labels.tolist() == [1, 0, 0, 1]
    assert np.array_equal(claimed.scores, np.float32([0.1, 0.2, 0.35, 0.4]))


def test_a_nucleus_of_two_classes_becomes_one_outline_of_the_better(tmp_path: Path) -> None:
    bundle = toy_bundle(tmp_path / "toy")
    card = card_with(bundle.card, nms_per_class=True, mask_threshold=0.1)
    # Class 1 is a hundredth of the left side: at 96 it beats class 0 with 0.9.
    tile = toy_tile([(40, 2, 52, 12, 90), (96, 2, 110, 12, 80)], width=128)
    (found,) = open_engine(replace(bundle, card=card), threads=1).run(tile[None])
    assert found.boxes[:, 0].tolist() == [97, 41, 97, 41]
    assert found.labels.tolist() == [1, 0, 0, 1]
    assert np.allclose(found.scores, [0.96, 0.9, 0.9, 0.4])
    grid = Grid(width=128, height=128, tile=128, overlap=0)
    traced = trace_tile(found, grid, 0, mask_threshold=0.1)
    assert traced.label.tolist() == [1, 0, 0, 1]
    assert np.allclose(traced.score, [0.96, 0.9, 0.9, 0.4])
    once = drop_doubled(traced)
    assert once.label.tolist() == [1, 0]
    assert np.allclose(once.score, [0.96, 0.9])


def overlaps(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    both = (high - low).clip(0).prod(axis=2)
    areas = [(x[:, 2:] - x[:, :2]).prod(axis=1) for x in (a, b)]
    return np.asarray(both / (areas[0][:, None] + areas[1][None] - both))


def assert_alike(found: Detections, boxes: Any, probabilities: Any, masks: Any) -> None:
    """The same nuclei; a pair that scores equally may have changed places."""
    assert len(found) == len(boxes) > 0
    best = overlaps(found.boxes, boxes).argmax(axis=1)
    assert len(set(best.tolist())) == len(boxes)
    assert np.abs(found.boxes - boxes[best]).max() < 0.05
    assert np.abs(found.probabilities - probabilities[best]).max() < 2e-3
    assert np.abs(found.masks - masks[best]).max() < 5e-3


@pytest.mark.slow
@pytest.mark.timeout(1800)
class TestRealBundle:
    def test_nuclei_are_pytorchs(self, exported: Any) -> None:
        from nuhtc.training.network.torch_graphs import torch_engine

        expected = torch_engine(exported.network, exported.preset).run(exported.tiles)
        found = open_engine(exported.float32, threads=1).run(exported.tiles)
        for ours, theirs in zip(found, expected, strict=True):
            assert_alike(ours, theirs.boxes, theirs.probabilities, theirs.masks)

    def test_batches_change_nothing(self, lite0_bundle: Bundle, exported: Any) -> None:
        engine = open_engine(lite0_bundle, threads=1)
        together = engine.run(exported.tiles)
        for i, ours in enumerate(together):
            (alone,) = engine.run(exported.tiles[i : i + 1])
            assert_alike(ours, alone.boxes, alone.probabilities, alone.masks)

    def test_two_runs_are_identical(self, lite0_bundle: Bundle, exported: Any) -> None:
        runs = [open_engine(lite0_bundle, threads=2).run(exported.tiles) for _ in range(2)]
        for a, b in zip(*runs, strict=True):
            assert np.array_equal(a.boxes, b.boxes)
            assert np.array_equal(a.probabilities, b.probabilities)
            assert np.array_equal(a.masks, b.masks)

    @pytest.mark.parametrize(("batch", "height", "width"), [(1, 384, 256), (3, 128, 256)])
    def test_tiles_of_any_size(
        self, lite0_bundle: Bundle, batch: int, height: int, width: int
    ) -> None:
        rng = np.random.default_rng(0)
        tiles = rng.integers(0, 256, (batch, height, width, 3), dtype=np.uint8)
        found = open_engine(lite0_bundle, threads=1).run(tiles)
        assert len(found) == batch
        settings = card_for_tile(lite0_bundle.card, width, height).detection
        for answer in found:
            assert 0 < len(answer) <= settings.count
            scores = answer.probabilities.max(axis=1)
            assert (scores > settings.score).all() and (np.diff(scores) <= 0).all()
            assert (answer.probabilities.sum(axis=1) <= 1.0001).all()
            assert (answer.boxes >= 0).all()
            assert (answer.boxes <= [width, height, width, height]).all()
            assert ((answer.masks >= 0) & (answer.masks <= 1)).all()
            same = overlaps(answer.boxes, answer.boxes)
            np.fill_diagonal(same, 0)
            assert same.max(initial=0) <= settings.nms + 1e-6

    def test_nothing_above_the_score_needs_no_masks(
        self, lite0_bundle: Bundle, exported: Any
    ) -> None:
        strict = replace(lite0_bundle, card=lite0_bundle.card.with_detection(score=1.0))
        for answer in open_engine(strict, threads=1).run(exported.tiles):
            assert answer.boxes.shape == (0, 4) and answer.probabilities.shape == (0, 3)
            assert answer.masks.shape == (0, 28, 28)


def test_larger_tiles_hold_more_by_area(toy: Bundle) -> None:
    card = toy.card
    small = card_for_tile(card, card.tile // 2, card.tile)
    assert (small.proposals.count, small.detection.count) == (
        card.proposals.count,
        card.detection.count,
    )
    large = card_for_tile(card, 2 * card.tile, 3 * card.tile)
    assert large.proposals.count == 6 * card.proposals.count
    assert large.detection.count == 6 * card.detection.count
