"""Detection and classes: by hand, from tables, and as the CoNSeP protocol counts them."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from made.blobs import random_ellipses
from places import SHARED
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching

from nuhtc.training.data.numbering import majority_types, renumber
from nuhtc.training.measures.hovernet_protocol import (
    centroids,
    confusion,
    detection_scores,
    pair_centroids,
    pair_near,
    pairing_radius,
)

PROTOCOL = SHARED / "parity" / "metrics"


def test_centroids_are_means_of_pixels() -> None:
    instances = np.zeros((6, 8), np.int32)
    instances[1:3, 2:6] = 1
    instances[5, 0] = 2
    assert centroids(instances, 2).tolist() == [[3.5, 1.5], [0, 5]]
    assert centroids(np.zeros((4, 4), np.int32), 0).shape == (0, 2)


def test_far_pairs_are_dropped_after_pairing() -> None:
    # Both could have a partner within 12, but the least sum is 0 + 15.6, and that is too far.
    truth, found = np.array([[0.0, 0], [10, 0]]), np.array([[10.0, 0], [10, 12]])
    rows, columns = pair_centroids(truth, found, 12)
    assert (rows.tolist(), columns.tolist()) == ([1], [0])
    assert pair_centroids(truth[1:], found[1:], 12)[0].tolist() == [0], "12 is near enough"


def test_a_lonely_point_pulls_no_partners_away() -> None:
    # 6 + 300 is more than 14 + 280, so that the least sum pairs neither within 12.
    truth, found = np.array([[0.0, 0], [20, 0]]), np.array([[14.0, 0], [300, 0]])
    assert len(pair_centroids(truth, found, 12)[0]) == 0
    rows, columns = pair_near(truth, found, 12)
    assert (rows.tolist(), columns.tolist()) == ([1], [0])


def test_near_pairs_are_many_before_they_are_close() -> None:
    truth, found = np.array([[0.0, 0], [10, 0]]), np.array([[9.0, 0], [20, 0]])
    rows, columns = pair_near(truth, found, 12)
    assert sorted(zip(rows.tolist(), columns.tolist(), strict=True)) == [(0, 0), (1, 1)]
    # Of two ways to pair both, the closer one.
    rows, columns = pair_near(truth, np.array([[10.0, 1], [0, 1]]), 12)
    assert sorted(zip(rows.tolist(), columns.tolist(), strict=True)) == [(0, 1), (1, 0)]


COORDINATES = arrays(
    np.int64, st.tuples(st.integers(0, 9), st.just(2)), elements=st.integers(0, 40)
)
"""Whole pixels, so that 12 is 12 however it is worked out."""


@given(COORDINATES, COORDINATES)
def test_near_pairs_are_as_many_as_there_can_be(truth: np.ndarray, found: np.ndarray) -> None:
    rows, columns = pair_near(truth, found, 12)
    assert len(set(rows)) == len(rows) and len(set(columns)) == len(columns)
    distances = np.linalg.norm(truth[:, None] - found[None], axis=2)
    assert (distances[rows, columns] <= 12).all()
    best = 0
    if distances.size:
        graph = csr_array((distances <= 12).astype(np.int8))
        best = int((maximum_bipartite_matching(graph) >= 0).sum())
    assert len(rows) == best >= len(pair_centroids(truth, found, 12)[0])


def test_radius_is_by_magnification() -> None:
    assert [pairing_radius(mpp) for mpp in (0.25, 0.2527, 0.5)] == [12, 12, 6]


def points(*corners: tuple[int, int]) -> np.ndarray:
    out = np.zeros((60, 60), np.int32)
    for number, (y, x) in enumerate(corners, start=1):
        out[y : y + 3, x : x + 3] = number
    return out


def test_a_table_by_hand() -> None:
    # Three pairs: right, wrong class, no class; one missed of class 1; one invented of class 0.
    truth = points((0, 0), (0, 30), (30, 0), (30, 30))
    found = points((1, 1), (0, 31), (30, 1), (50, 50))
    table = confusion(truth, found, np.array([-1, 0, 0, 1, 1]), np.array([-1, 0, 1, -1, 0]), 2, 12)
    assert table.tolist() == [[1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 0, 0], [1, 0, 0, 0]]
    scores = detection_scores(table)
    assert (scores.precision, scores.recall, scores.f1) == (3 / 4, 3 / 4, 6 / 8)
    assert scores.type_accuracy == 1 / 3
    # Class 0: one right, one wrong (twice), one invented. Class 1: two wrong pairs, one missed.
    assert scores.class_f1 == (2 / (2 + 2 + 1), 0 / (4 + 1))


def test_nothing_to_find() -> None:
    empty, none = np.zeros((20, 20), np.int32), np.array([-1])
    scores = detection_scores(confusion(empty, empty, none, none, 2, 12))
    assert math.isnan(scores.f1) and all(math.isnan(one) for one in scores.class_f1)
    one = points((3, 3))
    missed = detection_scores(confusion(one, points(), np.array([-1, 0]), none, 2, 12))
    assert missed.f1 == missed.recall == missed.class_f1[0] == 0
    assert math.isnan(missed.precision) and math.isnan(missed.type_accuracy)


def test_without_classes_only_detection_is_known() -> None:
    types = np.full(3, -1)
    table = confusion(points((0, 0), (30, 30)), points((0, 0), (3, 40)), types, types, 0, 12)
    assert table.tolist() == [[1, 1], [1, 0]]
    scores = detection_scores(table)
    assert scores.f1 == 0.5 and math.isnan(scores.type_accuracy) and scores.class_f1 == ()


@settings(max_examples=30)
@given(st.integers(0, 500), st.integers(0, 4), st.integers(0, 8))
def test_every_nucleus_is_counted_once(seed: int, shift: int, count: int) -> None:
    truth = random_ellipses(seed, 60, 60, count, (6.0, 16.0))
    found, _ = renumber(np.roll(truth, shift, axis=1).astype(np.int64))
    rng = np.random.default_rng(seed)
    a, b = (rng.integers(-1, 3, map_.max(initial=0) + 1) for map_ in (truth, found))
    table = confusion(truth, found, a, b, 3, 12)
    assert table[:-1].sum() == truth.max(initial=0)
    assert table[:, :-1].sum() == found.max(initial=0)
    assert np.array_equal(confusion(found, truth, b, a, 3, 12), table.T), "pairing has no side"
    assert np.array_equal(confusion(truth.T, found.T, a, b, 3, 12), table)


@pytest.mark.skipif(not PROTOCOL.is_dir(), reason="protocol values absent: ../shared/parity")
def test_the_published_protocol() -> None:
    expected = json.loads((PROTOCOL / "consep_protocol.json").read_text())["type"]["values"]
    total = np.zeros((6, 6), np.int64)
    with np.load(PROTOCOL / "input.npz") as archive:
        arrays = [
            archive[f"{side}_{kind}"] for side in ("true", "pred") for kind in ("inst", "type")
        ]
    for true_inst, true_type, pred_inst, pred_type in zip(*arrays, strict=True):
        truth, _ = renumber(true_inst)
        found, _ = renumber(pred_inst)
        total += confusion(
            truth,
            found,
            majority_types(truth, true_type.astype(np.int64), 4, "truth"),
            majority_types(found, pred_type.astype(np.int64), 4, "found"),
            4,
            12,
        )
    scores = detection_scores(total)
    ours = np.array([scores.f1, scores.type_accuracy, *scores.class_f1])
    assert np.abs(ours - expected).max() <= 5.1e-6
