"""Which of several answers for a nucleus stays: the twin's choice, whatever the order."""

from dataclasses import dataclass, fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from reference import stitch as twin

from nuhtc.native.stitch import resolve_borders


@dataclass(frozen=True)
class Answers:
    """Rectangular outlines with what the rule needs to know of each."""

    bbox: NDArray[np.int32]
    tile: NDArray[np.int32]
    owned: NDArray[np.bool_]
    cut: NDArray[np.bool_]
    score: NDArray[np.float32]
    probe: NDArray[np.bool_]
    windows: NDArray[np.int32]

    def rings(self) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int64]]:
        """Return coordinates, offsets and areas."""
        coords = self.bbox[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 2)
        sides = self.bbox[:, 2:].astype(np.int64) - self.bbox[:, :2]
        return coords, np.arange(0, len(coords) + 1, 4), sides.prod(axis=1)

    def take(self, index: NDArray[np.int64]) -> "Answers":
        return Answers(**{each.name: getattr(self, each.name)[index] for each in fields(self)})


def resolve(answers: Answers, *, probe: bool = False, windows: bool = False) -> NDArray[np.bool_]:
    coords, offsets, area = answers.rings()
    return resolve_borders(
        coords,
        offsets,
        answers.bbox,
        area,
        answers.tile,
        answers.owned,
        answers.cut,
        answers.score,
        probe=answers.probe if probe else None,
        windows=answers.windows if windows else None,
    )


def resolve_plainly(answers: Answers, *, probe: bool, windows: bool) -> NDArray[np.bool_]:
    coords, offsets, area = answers.rings()
    return twin.resolve_borders(
        coords,
        offsets,
        area,
        answers.tile,
        answers.owned,
        answers.cut,
        answers.score,
        probe=answers.probe if probe else None,
        windows=answers.windows if windows else None,
    )


@st.composite
def crowds(draw: st.DrawFn) -> Answers:
    """Boxes in a crowd, a few of them huge, with few scores so that ties are common."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    count = draw(st.integers(1, 40))
    corner = rng.integers(-20, 30, (count, 2))
    side = rng.integers(1, 14, (count, 2))
    side[rng.random(count) < draw(st.sampled_from([0, 0.1]))] *= 40
    window = rng.integers(-20, 10, (count, 2))
    return Answers(
        bbox=np.concatenate([corner, corner + side], axis=1).astype(np.int32),
        tile=rng.integers(0, 6, count).astype(np.int32),
        owned=rng.random(count) < 0.6,
        cut=rng.random(count) < 0.4,
        score=(rng.integers(-2, 3, count) / 2).astype(np.float32),
        probe=rng.random(count) < 0.5,
        windows=np.concatenate([window, window + 25], axis=1).astype(np.int32),
    )


@settings(deadline=None)
@given(crowds(), st.booleans(), st.booleans())
def test_equals_the_twin(answers: Answers, probe: bool, windows: bool) -> None:
    keep = resolve(answers, probe=probe, windows=windows)
    assert keep.dtype == np.bool_
    np.testing.assert_array_equal(keep, resolve_plainly(answers, probe=probe, windows=windows))


@settings(deadline=None)
@given(crowds(), st.integers(0, 2**32 - 1))
def test_the_order_of_the_input_does_not_matter(answers: Answers, seed: int) -> None:
    shuffle = np.random.default_rng(seed).permutation(len(answers.bbox))
    np.testing.assert_array_equal(resolve(answers.take(shuffle)), resolve(answers)[shuffle])


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0, 2**31 - 5000, -(2**31)]))
def test_of_nuclei_that_keep_apart_exactly_the_best_answer_stays(seed: int, place: int) -> None:
    rng = np.random.default_rng(seed)
    nuclei = np.stack(np.meshgrid(np.arange(8), np.arange(8)), axis=-1).reshape(-1, 2) * 40 + place
    boxes, tiles, best = [], [], []
    owned, cut, score = [], [], []
    for corner in nuclei:
        seen = rng.permutation(5)[: rng.integers(1, 5)]
        ranks = []
        for tile in seen:
            low = corner + rng.integers(0, 3, 2)
            boxes.append((*low, *(low + rng.integers(28, 31, 2))))
            tiles.append(tile)
            owned.append(rng.random() < 0.5)
            cut.append(rng.random() < 0.5)
            score.append(rng.integers(0, 3) / 2)
            ranks.append((cut[-1], not owned[-1], -score[-1], tile))
        best.append(len(boxes) - len(seen) + ranks.index(min(ranks)))
    count = len(boxes)
    answers = Answers(
        bbox=np.array(boxes, np.int64).astype(np.int32),
        tile=np.array(tiles, np.int32),
        owned=np.array(owned),
        cut=np.array(cut),
        score=np.array(score, np.float32),
        probe=np.ones(count, bool),
        windows=np.zeros((count, 4), np.int32),
    )
    assert np.flatnonzero(resolve(answers)).tolist() == best


def two(first: tuple[int, ...], second: tuple[int, ...]) -> Answers:
    """Return two whole, owned answers of different tiles; the first has the higher score."""
    return Answers(
        bbox=np.array([first, second], np.int32),
        tile=np.array([0, 1], np.int32),
        owned=np.ones(2, bool),
        cut=np.zeros(2, bool),
        score=np.array([0.9, 0.8], np.float32),
        probe=np.ones(2, bool),
        windows=np.array([(0, 0, 20, 20), (14, 0, 34, 20)], np.int32),
    )


def test_exactly_half_of_the_smaller_area_is_not_yet_the_same() -> None:
    assert resolve(two((0, 0, 10, 10), (5, 0, 15, 10))).tolist() == [True, True]
    assert resolve(two((0, 0, 10, 10), (4, 0, 14, 10))).tolist() == [True, False]


def test_answers_of_one_tile_and_unmarked_ones_do_not_compete() -> None:
    pair = two((0, 0, 10, 10), (0, 0, 10, 10))
    assert resolve(replace(pair, tile=np.zeros(2, np.int32))).tolist() == [True, True]
    assert resolve(replace(pair, probe=np.zeros(2, bool)), probe=True).tolist() == [True, True]
    marked = replace(pair, probe=np.array([False, True]))
    assert resolve(marked, probe=True).tolist() == [True, False]


def test_pieces_of_one_long_nucleus_are_compared_where_both_tiles_look() -> None:
    # 20 px of each piece, 6 px of them in the overlap of the two tiles.
    pieces = replace(two((0, 5, 20, 10), (14, 5, 34, 10)), cut=np.ones(2, bool))
    assert resolve(pieces).tolist() == [True, True]
    assert resolve(pieces, windows=True).tolist() == [True, False]


def test_one_tile_for_each_answer_drops_doubles() -> None:
    rng = np.random.default_rng(0)
    score = rng.permutation(50).astype(np.float32)
    stack = Answers(
        bbox=np.tile(np.array([(3, 4, 20, 30)], np.int32), (50, 1)),
        tile=np.arange(50, dtype=np.int32),
        owned=np.ones(50, bool),
        cut=np.zeros(50, bool),
        score=score,
        probe=np.ones(50, bool),
        windows=np.zeros((50, 4), np.int32),
    )
    assert np.flatnonzero(resolve(stack)).tolist() == [int(score.argmax())]


def test_no_answers_empty_outlines_and_infinite_scores() -> None:
    none = two((0, 0, 1, 1), (0, 0, 1, 1)).take(np.zeros(0, np.int64))
    assert resolve(none).shape == (0,)
    points = replace(two((5, 5, 5, 5), (5, 5, 5, 9)), score=np.array([np.inf, -np.inf], np.float32))
    assert resolve(points).tolist() == [True, True]


def test_a_nan_score_and_an_impossible_tile_are_refused() -> None:
    pair = two((0, 0, 9, 9), (0, 0, 9, 9))
    with pytest.raises(ValueError, match="score must not be NaN"):
        resolve(replace(pair, score=np.array([0, np.nan], np.float32)))
    for tile in (-1, 2**30):
        with pytest.raises(ValueError, match="tile must be from 0"):
            resolve(replace(pair, tile=np.array([0, tile], np.int32)))


def test_the_widest_boxes_meet_the_smallest() -> None:
    everything = (-(2**31), -(2**31), 2**31 - 1, 2**31 - 1)
    pair = two(everything, (7, 7, 9, 9))
    area = np.array([2**62, 4])
    coords, offsets, _ = pair.rings()
    for order in ([0, 1], [1, 0]):
        score = np.array([0.9, 0.8], np.float32)[order]
        keep = resolve_borders(
            coords, offsets, pair.bbox, area, pair.tile, pair.owned, pair.cut, score
        )
        assert keep.tolist() == [order == [0, 1], order == [1, 0]]
