"""Panoptic quality: by hand, at its limits, and as the published protocol computes it."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from reference.blobs import random_ellipses

from nuhtc.training.metrics import pair_ious, panoptic_quality

PROTOCOL = Path(__file__).parents[2].parent / "shared" / "parity" / "metrics"

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
    assert pair_ious(truth, found)[2].tolist() == [0.6]
    quality = panoptic_quality(truth, found)
    assert (quality.matched, quality.missed, quality.invented) == (1, 1, 2)
    assert quality.dq == 1 / (1 + 0.5 + 1)
    assert quality.sq == 0.6
    assert quality.pq == pytest.approx(0.24)
    assert quality.dice == 2 * 6 / (24 + 16)


def test_half_is_no_match() -> None:
    quality = panoptic_quality(squares((0, 2, 0, 3)), squares((0, 2, 1, 4)))
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
    quality = panoptic_quality(squares(*truth), squares(*found))
    assert quality.pq == expected and quality.dice == expected


@given(pairs())
def test_a_perfect_answer_scores_one(maps: tuple[Labels, Labels]) -> None:
    quality = panoptic_quality(maps[0], maps[0])
    assert quality.pq == 1 and quality.dice == 1
    assert quality.missed == quality.invented == 0


@given(pairs(), st.integers(2, 5))
def test_numbers_are_only_names(maps: tuple[Labels, Labels], factor: int) -> None:
    truth, found = maps
    renamed = (found.max(initial=0) + 1 - found) * factor * (found > 0)
    assert panoptic_quality(truth, renamed.astype(np.int32)) == panoptic_quality(truth, found)


@given(pairs())
def test_truth_and_answer_are_alike(maps: tuple[Labels, Labels]) -> None:
    there, back = panoptic_quality(*maps), panoptic_quality(*reversed(maps))
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
    truth_ids, found_ids, ious = pair_ious(truth, found)
    assert dict(zip(zip(truth_ids, found_ids, strict=True), ious, strict=True)) == expected


@pytest.mark.skipif(not PROTOCOL.is_dir(), reason="protocol values absent: ../shared/parity")
def test_the_published_protocol() -> None:
    protocol = json.loads((PROTOCOL / "consep_protocol.json").read_text())["instance"]
    with np.load(PROTOCOL / "input.npz") as archive:
        truth, found = archive["true_inst"], archive["pred_inst"]
    expected = [dict(zip(protocol["columns"], row, strict=True)) for row in protocol["per_image"]]
    assert len(expected) == len(truth)
    for one, a, b in zip(expected, truth, found, strict=True):
        quality = panoptic_quality(a, b)
        for name in ("dice", "dq", "sq", "pq"):
            assert getattr(quality, name) == pytest.approx(one[name], abs=6e-5), name
