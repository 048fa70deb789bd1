"""Temperatures and thresholds from held-out pictures, held against known truth."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fakes.oracle import OracleEngine
from fakes.oracle import paint as oracle_paint
from hypothesis import given, settings
from hypothesis import strategies as st
from made.blobs import random_ellipses
from made.made_nuclei import made_bundle
from made.painted_set import PaintedSet
from numpy.typing import NDArray

from nuhtc.export.proof import tune as tune_module
from nuhtc.export.proof.tune import FLOOR, Fit, FoundNuclei, Remembered, choose_threshold, fit, tune
from nuhtc.runtime.engines.calibration import calibrate
from nuhtc.runtime.engines.engine import Detections
from nuhtc.runtime.ground.errors import DataError
from nuhtc.training.data.images import AnnotatedImage
from nuhtc.training.data.numbering import renumber


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
    found = FoundNuclei(said.astype(np.float32), right, np.where(right, types, -1))
    assert fit([found]) == pytest.approx(wanted, rel=0.06, abs=0.06)


def test_nothing_to_fit_on_changes_nothing() -> None:
    sure = np.full((5, 2), 0.4, np.float32)
    for right in (np.zeros(5, np.bool_), np.ones(5, np.bool_)):
        found = FoundNuclei(sure, right, np.full(5, -1, np.int64))
        assert fit([found]) == Fit()


class Inventive(OracleEngine):
    """Sees every third nucleus too, which the annotation does not have, but less surely."""

    def __init__(self, doubt: float) -> None:
        super().__init__()
        self._doubt = doubt

    def _answer(self, ids: NDArray[np.int64]) -> Detections:
        found = super()._answer(ids)
        seen = np.array([one for one in np.unique(ids) if one > 0], np.int64)
        probabilities = np.where(
            (seen % 3 == 0)[:, None], np.float32(self._doubt / 4), found.probabilities
        )
        probabilities[seen % 3 == 0, 0] = self._doubt
        return replace(found, probabilities=probabilities)


class TwoThirds(PaintedSet):
    """Annotates two of three nuclei that its pictures show."""

    def __getitem__(self, index: int) -> AnnotatedImage:
        image = super().__getitem__(index)
        kept = np.where(image.instances % 3 == 0, 0, image.instances)
        return replace(image, instances=renumber(kept.astype(np.int64))[0])


@settings(max_examples=10)
@given(st.integers(11, 58), st.sampled_from([Fit(), Fit(1.3, 0.5, 1.1)]))
def test_the_threshold_leaves_out_what_is_invented(
    tmp_path_factory: pytest.TempPathFactory, percent: int, chosen: Fit
) -> None:
    doubt = percent / 100
    engine = Inventive(doubt)
    bundle = made_bundle(tmp_path_factory.mktemp("made"))
    score = choose_threshold(bundle, Remembered(engine), [TwoThirds(["a_3", "a_8"])], chosen)
    # The oracle is at least 0.6 sure of what is there.
    said = np.array([[doubt, *[doubt / 4] * 3], [0.6, 0.01, 0.01, 0.01]], np.float32)
    invented, true = calibrate(said, *chosen).max(axis=1)
    assert invented <= score + 1e-6 and score < true
    assert score <= invented + 0.0101 or score == FLOOR, "the least of equally good ones"


def test_a_tile_is_run_once_and_answers_by_any_score() -> None:
    truth = random_ellipses(3, 128, 128, 9, (12.0, 24.0))
    tiles = oracle_paint(truth)[None]
    engine = OracleEngine()
    remembered = Remembered(engine)
    (everything,) = remembered.run(tiles)
    assert len(everything) == truth.max()
    remembered.fit, remembered.least = Fit(2.0, 0.3, 1.0), 0.7
    (some,) = remembered.run(tiles)
    assert engine.tiles == 1
    calibrated = calibrate(everything.probabilities, 2.0, 0.3, 1.0)
    sure = calibrated.max(axis=1) > 0.7
    assert 0 < len(some) == sure.sum() < len(everything)
    assert np.array_equal(some.probabilities, calibrated[sure])
    assert np.array_equal(some.masks, everything.masks[sure])


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
    assert card.detection.score == FLOOR, "of equally good thresholds the least"


def test_nothing_found_is_nothing_to_tune_by(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    everything = tuple(range(1, 40))
    monkeypatch.setattr(
        tune_module, "open_engine", lambda bundle, name: OracleEngine(skip=everything)
    )
    with pytest.raises(DataError, match="nothing was found"):
        tune(made_bundle(tmp_path), [PaintedSet(["a_3"])])
