"""Temperatures and thresholds from held-out pictures, held against known truth."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference.blobs import random_ellipses
from reference.made_nuclei import made_bundle
from reference.oracle import OracleEngine
from reference.painted_set import PaintedSet

from nuhtc.export import tune as tune_module
from nuhtc.export.tune import THRESHOLDS, Fit, FoundNuclei, choose_threshold, fit, tune
from nuhtc.training.errors import DataError
from nuhtc.training.evaluation.instance import compare
from nuhtc.training.evaluation.overlaps import overlaps

NOTHING = overlaps(np.zeros((4, 4), np.int32), np.zeros((4, 4), np.int32))


@pytest.mark.parametrize("wanted", [Fit(0.5, 1.5, 2.0), Fit(), Fit(3.0, -0.5, 0.7)])
def test_what_made_the_answers_is_found(wanted: Fit) -> None:
    rng = np.random.default_rng(3)
    count = 20_000
    objects = rng.normal(0, 2, (count, 1))
    logits = rng.normal(0, 2, (count, 3))
    right = rng.random(count) < 1 / (
        1 + np.exp(-objects[:, 0] / wanted.object_temperature - wanted.object_bias)
    )
    shares = np.exp(logits / wanted.class_temperature)
    shares /= shares.sum(axis=1, keepdims=True)
    types = (rng.random((count, 1)) > shares.cumsum(axis=1)).sum(axis=1).clip(0, 2)
    said = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True) / (1 + np.exp(-objects))
    found = FoundNuclei(NOTHING, said.astype(np.float32), right, np.where(right, types, -1))
    assert fit([found]) == pytest.approx(wanted, rel=0.06, abs=0.06)


def test_nothing_to_fit_on_changes_nothing() -> None:
    sure = np.full((5, 2), 0.4, np.float32)
    for right in (np.zeros(5, np.bool_), np.ones(5, np.bool_)):
        found = FoundNuclei(NOTHING, sure, right, np.full(5, -1, np.int64))
        assert fit([found]) == Fit()


@given(st.integers(0, 2**32))
def test_the_threshold_is_the_best_of_all(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sets = []
    for pictures in (1, 2):
        found = []
        for _ in range(pictures):
            truth = random_ellipses(int(rng.integers(2**31)), 60, 60, 6, (6.0, 12.0))
            other = random_ellipses(int(rng.integers(2**31)), 60, 60, 6, (6.0, 12.0))
            instances = np.where(rng.random() < 0.5, np.roll(truth, 2, 1), other).astype(np.int32)
            scores = rng.random((int(instances.max()), 1)).astype(np.float32)
            found.append((truth, instances, scores))
        sets.append(found)

    def quality(threshold: float) -> float:
        return sum(
            compare(truth, np.where(np.append(0, scores[:, 0])[found] > threshold, found, 0)).pq
            / len(pictures)
            for pictures in sets
            for truth, found, scores in pictures
        )

    def as_found(truth, found, scores) -> FoundNuclei:
        count = len(scores)
        return FoundNuclei(overlaps(truth, found), scores, np.ones(count, bool), np.zeros(count))

    chosen = choose_threshold([[as_found(*one) for one in pictures] for pictures in sets], Fit())
    best = max(quality(threshold) for threshold in THRESHOLDS)
    assert quality(THRESHOLDS[np.abs(THRESHOLDS - chosen).argmin()]) == pytest.approx(best)


def test_a_card_gets_figures_with_intervals(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tune_module, "open_engine", lambda bundle, name: OracleEngine())
    bundle = made_bundle(tmp_path)
    card = tune(bundle, [PaintedSet(["a_1", "a_3", "a_8"])])
    told = card.metrics["consep"]
    assert (told["images"], told["pq"], told["pq low"], told["pq high"]) == (2, 1, 1, 1)
    assert told["f1"] == 1
    assert (card.detection.object_temperature, card.detection.object_bias) == (1, 0)
    assert card.detection.score == 0.05, "of equally good thresholds the least"


def test_nothing_found_is_nothing_to_tune_by(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    everything = tuple(range(1, 40))
    monkeypatch.setattr(
        tune_module, "open_engine", lambda bundle, name: OracleEngine(skip=everything)
    )
    with pytest.raises(DataError, match="nothing was found"):
        tune(made_bundle(tmp_path), [PaintedSet(["a_3"])])
