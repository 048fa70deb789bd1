"""Dice, AJI, AJI+ and PQ: by hand, at their limits, and as the published protocol has them."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made.blobs import random_ellipses
from numpy.typing import NDArray
from places import SHARED
from scipy.optimize import linear_sum_assignment

from nuhtc.training.measures.instance import compare
from nuhtc.training.measures.overlaps import best_assignment, best_for_each_truth, overlaps

PROTOCOL = SHARED / "parity" / "metrics"

Labels = NDArray[np.int32]


def squares(*corners: tuple[int, int, int, int]) -> Labels:
    """A 20x20 map with one rectangle (y0, y1, x0, x1) for each nucleus."""
    out = np.zeros((20, 20), np.int32)
    for number, (y0, y1, x0, x1) in enumerate(corners, start=1):
        out[y0:y1, x0:x1] = number
    return out


def pairs() -> st.SearchStrategy[tuple[Labels, Labels]]:
    """Two maps of about the same nuclei."""

    def make(seed: int, shift: int, count: int) -> tuple[Labels, Labels]:
        truth = random_ellipses(seed, 40, 50, count, (6.0, 16.0))
        found = np.roll(truth, shift, axis=1)
        rng = np.random.default_rng(seed)
        found[np.isin(found, rng.integers(0, count + 1, 2))] = 0
        return truth, found

    return st.builds(make, st.integers(0, 500), st.integers(0, 6), st.integers(0, 8))


def test_by_hand() -> None:
    # One pair of IoU 6/10; one nucleus missed, two invented.
    truth = squares((0, 2, 0, 4), (10, 14, 10, 14))
    found = squares((0, 2, 1, 5), (5, 6, 5, 9), (18, 20, 18, 20))
    assert overlaps(truth, found).ious.tolist() == [0.6]
    quality = compare(truth, found)
    assert (quality.matched, quality.missed, quality.invented) == (1, 1, 2)
    assert quality.dq == 1 / (1 + 0.5 + 1)
    assert quality.sq == 0.6
    assert quality.pq == pytest.approx(0.24)
    assert quality.dice == 2 * 6 / (24 + 16)
    # Union of the pair, and the areas of all that is left over.
    assert quality.aji == quality.aji_plus == 6 / (10 + 16 + 4 + 4)


def test_half_is_no_match() -> None:
    quality = compare(squares((0, 2, 0, 3)), squares((0, 2, 1, 4)))
    assert quality.matched == 0 and quality.pq == 0
    assert quality.dice == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("truth", "found", "expected"),
    [((), (), 1.0), (((0, 4, 0, 4),), (), 0.0), ((), ((0, 4, 0, 4),), 0.0)],
)
def test_empty_pictures(
    truth: tuple[tuple[int, int, int, int], ...],
    found: tuple[tuple[int, int, int, int], ...],
    expected: float,
) -> None:
    quality = compare(squares(*truth), squares(*found))
    assert quality.pq == expected and quality.dice == expected


@given(pairs())
def test_a_perfect_answer_scores_one(maps: tuple[Labels, Labels]) -> None:
    quality = compare(maps[0], maps[0])
    assert quality.pq == 1 and quality.dice == 1
    assert quality.missed == quality.invented == 0


@given(pairs(), st.integers(2, 5))
def test_numbers_are_only_names(maps: tuple[Labels, Labels], factor: int) -> None:
    truth, found = maps
    renamed = (found.max(initial=0) + 1 - found) * factor * (found > 0)
    assert compare(truth, renamed.astype(np.int32)) == compare(truth, found)


@given(pairs())
def test_truth_and_answer_are_alike(maps: tuple[Labels, Labels]) -> None:
    there, back = compare(*maps), compare(*reversed(maps))
    assert (there.dq, there.dice) == (back.dq, back.dice)
    assert there.sq == pytest.approx(back.sq)
    assert (there.missed, there.invented) == (back.invented, back.missed)


@settings(max_examples=40)
@given(pairs())
def test_pairs_are_counted_as_a_loop_would(maps: tuple[Labels, Labels]) -> None:
    truth, found = maps
    expected = {}
    for a in np.unique(truth[truth > 0]):
        for b in np.unique(found[found > 0]):
            both = np.count_nonzero((truth == a) & (found == b))
            if both:
                expected[a, b] = both / np.count_nonzero((truth == a) | (found == b))
    pairs = overlaps(truth, found)
    ids = zip(pairs.truth_ids, pairs.found_ids, strict=True)
    assert dict(zip(ids, pairs.ious, strict=True)) == expected


def test_two_truths_may_take_one_answer_in_aji_only() -> None:
    # A found strip over two annotated squares: each takes it, but only one may keep it.
    truth = squares((0, 4, 0, 4), (0, 4, 4, 9))
    found = squares((0, 4, 0, 9))
    quality = compare(truth, found)
    assert quality.aji == (16 + 20) / (36 + 36)
    assert quality.aji_plus == 20 / (36 + 16)


def test_aji_counts_answers_that_nobody_takes() -> None:
    # The truth takes the larger part; the other overlaps too, and is left over.
    quality = compare(squares((0, 4, 0, 9)), squares((0, 4, 0, 6), (0, 4, 6, 9)))
    assert quality.aji == quality.aji_plus == 24 / (36 + 12)


def test_of_equal_answers_the_first_is_taken() -> None:
    pairs = overlaps(squares((0, 2, 0, 8)), squares((0, 2, 0, 4), (0, 2, 4, 8)))
    assert pairs.found_ids[best_for_each_truth(pairs)].tolist() == [1]


@settings(max_examples=40)
@given(pairs())
def test_the_assignment_is_that_of_the_whole_table(maps: tuple[Labels, Labels]) -> None:
    pairs = overlaps(*maps)
    table = np.zeros((len(pairs.truth_area), len(pairs.found_area)))
    table[pairs.truth_ids, pairs.found_ids] = pairs.ious
    best = table[linear_sum_assignment(table, maximize=True)].sum()
    chosen = best_assignment(pairs)
    assert pairs.ious[chosen].sum() == pytest.approx(best)
    assert len(set(pairs.truth_ids[chosen])) == len(set(pairs.found_ids[chosen])) == len(chosen)


@given(pairs())
def test_measures_do_not_depend_on_the_axes(maps: tuple[Labels, Labels]) -> None:
    there, turned = compare(*maps), compare(maps[0].T, maps[1].T)
    assert there == turned


@given(pairs())
def test_where_nobody_competes_both_aji_agree(maps: tuple[Labels, Labels]) -> None:
    pairs = overlaps(*maps)
    quality = compare(*maps)
    assert 0 <= quality.aji <= 1 and 0 <= quality.aji_plus <= 1
    if len(set(pairs.truth_ids)) == len(set(pairs.found_ids)) == len(pairs.shared):
        assert quality.aji == quality.aji_plus


@settings(max_examples=40)
@given(pairs(), st.integers(0, 100))
def test_some_nuclei_are_measured_as_if_alone(maps: tuple[Labels, Labels], seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth, found = (rng.random(map_.max(initial=0) + 1) < 0.5 for map_ in maps)
    some = overlaps(*maps).only(truth, found)
    alone = overlaps(np.where(truth[maps[0]], maps[0], 0), np.where(found[maps[1]], maps[1], 0))
    assert some.truth_count == alone.truth_count and some.found_count == alone.found_count
    assert np.array_equal(some.truth_ids, alone.truth_ids)
    assert np.array_equal(some.ious, alone.ious)


@pytest.mark.skipif(not PROTOCOL.is_dir(), reason="protocol values absent: ../shared/parity")
def test_the_published_protocol() -> None:
    protocol = json.loads((PROTOCOL / "consep_protocol.json").read_text())["instance"]
    with np.load(PROTOCOL / "input.npz") as archive:
        maps = list(zip(archive["true_inst"], archive["pred_inst"], strict=True))
    qualities = [compare(truth, found) for truth, found in maps]
    ours = np.array([[getattr(one, name) for name in protocol["columns"]] for one in qualities])
    # Given with 4 decimals.
    assert np.abs(ours - protocol["per_image"]).max() <= 5.1e-5
    assert np.abs(ours.mean(axis=0) - protocol["mean"]).max() <= 5.1e-5
