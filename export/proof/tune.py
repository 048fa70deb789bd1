"""Calibrate a bundle's scores and choose its threshold on held-out pictures."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from nuhtc.export.proof.quality import evaluated, held_out_of
from nuhtc.runtime.bundle.card import Card
from nuhtc.runtime.bundle.load import Bundle
from nuhtc.runtime.engines.calibration import calibrate
from nuhtc.runtime.engines.engine import Detections, Engine
from nuhtc.runtime.engines.open import open_engine
from nuhtc.runtime.ground.errors import DataError
from nuhtc.training.data.images import AnnotatedSet
from nuhtc.training.evaluation.evaluate import Evaluation
from nuhtc.training.evaluation.summary import summarise_all
from nuhtc.training.measures.instance import compare
from nuhtc.training.measures.overlaps import overlaps
from nuhtc.training.predictions.bundle_model import BundleModel
from nuhtc.training.predictions.model import predict

FLOOR = 0.02
"""Nuclei less sure than this are not looked at."""

COARSE = 0.05
"""Steps of the scores that are tried first; then those by 0.01 around the best."""

MOST = 4.0
"""Of a temperature's logarithm and of the bias."""


class Fit(NamedTuple):
    """The arguments of :func:`nuhtc.runtime.engines.calibration.calibrate`."""

    object_temperature: float = 1.0
    object_bias: float = 0.0
    class_temperature: float = 1.0


@dataclass(frozen=True)
class FoundNuclei:
    """What was found in one picture, sure or not, held against its annotation."""

    probabilities: NDArray[np.float32]
    """(nuclei, classes), as the heads gave them"""
    right: NDArray[np.bool_]
    """(nuclei,): it overlaps an annotated nucleus by more than half"""
    types: NDArray[np.int64]
    """(nuclei,): the model's class that the annotation calls it; -1 where none or wrong"""


class Remembered:
    """An engine that runs each tile once and then answers again, by other scores.

    Parameters
    ----------
    engine
        Opened for a card with a least score of :data:`FLOOR` and no calibration.

    Attributes
    ----------
    fit, least
        How its answers are calibrated, and how sure they must then be.
    """

    def __init__(self, engine: Engine) -> None:
        self.name, self.precision, self.reason = engine.name, engine.precision, engine.reason
        self.fit, self.least = Fit(), FLOOR
        self._engine = engine
        self._answers: dict[bytes, Detections] = {}

    def run(self, tiles: NDArray[np.uint8]) -> list[Detections]:
        """Find the nuclei of tiles, uint8 (B, H, W, 3)."""
        keys = [hashlib.sha256(tile.tobytes()).digest() for tile in tiles]
        new = [place for place, key in enumerate(keys) if key not in self._answers]
        if new:
            for place, answer in zip(new, self._engine.run(tiles[new]), strict=True):
                self._answers[keys[place]] = answer
        return [self._sure(self._answers[key]) for key in keys]

    def _sure(self, answer: Detections) -> Detections:
        probabilities = calibrate(answer.probabilities, *self.fit)
        above = probabilities[np.arange(len(answer)), answer.labels] > self.least
        return Detections(
            answer.boxes[above], probabilities[above], answer.masks[above], answer.labels[above]
        )


def remember(bundle: Bundle) -> Remembered:
    """Open ONNX Runtime for everything that a bundle finds, the doubtful too."""
    return Remembered(open_engine(_with(bundle, FLOOR, Fit()), "cpu"))


def find_all(bundle: Bundle, engine: Remembered, data: Sequence[AnnotatedSet]) -> list[FoundNuclei]:
    """Find the nuclei of all held-out pictures, the doubtful ones too.

    Parameters
    ----------
    bundle
        Its card's threshold and calibration do not count.
    engine
        Of :func:`remember`.
    data
        Annotated pictures.

    Raises
    ------
    DataError
        No picture of a set is held out, or one cannot be read.
    """
    engine.fit, engine.least = Fit(), FLOOR
    model = BundleModel(_with(bundle, FLOOR, Fit()), engine)
    names = [name.casefold() for name in model.classes]
    result = []
    for dataset in data:
        known = [] if dataset.classes is None else [one.name.casefold() for one in dataset.classes]
        to_model = np.array([*(names.index(n) if n in names else -1 for n in known), -1], np.int64)
        for index in held_out_of(dataset):
            image = dataset[index]
            prediction = predict(model, image)
            pairs = overlaps(image.instances, prediction.instances)
            good = pairs.ious > 0.5
            types = np.full(len(prediction) + 1, -1, np.int64)
            if image.types is not None:
                types[pairs.found_ids[good]] = to_model[image.types[pairs.truth_ids[good]]]
            right = np.zeros(len(prediction) + 1, np.bool_)
            right[pairs.found_ids[good]] = True
            assert prediction.probabilities is not None
            result.append(FoundNuclei(prediction.probabilities[1:], right[1:], types[1:]))
    return result


def fit(found: Sequence[FoundNuclei]) -> Fit:
    """Return the temperatures and the bias with the least cross entropy.

    Parameters
    ----------
    found
        Of all pictures.

    Returns
    -------
    Fit
        What changes nothing, where there is nothing to fit on.
    """
    probabilities = np.concatenate([one.probabilities for one in found])
    right = np.concatenate([one.right for one in found])
    types = np.concatenate([one.types for one in found])
    typed = types >= 0

    def object_loss(log_temperature: float, bias: float) -> float:
        calibrated = calibrate(probabilities, float(np.exp(log_temperature)), bias, 1.0)
        sums = np.clip(calibrated.sum(axis=1, dtype=np.float64), 1e-7, 1 - 1e-7)
        return float(-np.log(np.where(right, sums, 1 - sums)).mean())

    def class_loss(log_temperature: float) -> float:
        each = calibrate(probabilities[typed], 1.0, 0.0, float(np.exp(log_temperature)))
        share = each[np.arange(len(each)), types[typed]] / each.sum(axis=1, dtype=np.float64)
        return float(-np.log(np.maximum(share, 1e-7)).mean())

    temperature, bias, class_temperature = Fit()
    if 0 < right.sum() < len(right):
        best = _least(lambda x: object_loss(x[0], x[1]), [0.0, 0.0])
        temperature, bias = float(np.exp(best[0])), float(best[1])
    if typed.any():
        class_temperature = float(np.exp(_least(lambda x: class_loss(x[0]), [0.0])[0]))
    return Fit(round(temperature, 3), round(bias, 3), round(class_temperature, 3))


def _least(
    loss: Callable[[NDArray[np.float64]], float], start: Sequence[float]
) -> NDArray[np.float64]:
    """Return where a loss is least, within what cards may hold."""
    bounds = [(-MOST, MOST)] * len(start)
    result: NDArray[np.float64] = minimize(loss, start, method="Nelder-Mead", bounds=bounds).x
    return result


def choose_threshold(
    bundle: Bundle, engine: Remembered, data: Sequence[AnnotatedSet], chosen: Fit
) -> float:
    """Return the least score with the best PQ: the mean over data sets of the mean over pictures.

    Every score that is tried leaves candidates out before tiles are stitched, as a run does.
    Afterwards would not be the same: a doubtful answer of the tile that owns a nucleus stays
    before a sure one of its neighbour.

    Parameters
    ----------
    bundle, engine, data
        As for :func:`find_all`.
    chosen
        How scores are calibrated.
    """
    tried: dict[float, float] = {}

    def quality(score: float) -> float:
        if score not in tried:
            engine.fit, engine.least = chosen, score
            model = BundleModel(_with(bundle, score, chosen), engine)
            tried[score] = float(np.mean([_mean_pq(model, dataset) for dataset in data]))
        return tried[score]

    best = max(np.arange(COARSE, 1.0, COARSE).round(2).tolist(), key=quality)
    around = np.arange(max(best - 0.04, FLOOR), best + 0.041, 0.01).round(2)
    return float(max(around.tolist(), key=quality))


def _mean_pq(model: BundleModel, dataset: AnnotatedSet) -> float:
    images = (dataset[index] for index in held_out_of(dataset))
    return float(
        np.mean([compare(one.instances, predict(model, one).instances).pq for one in images])
    )


def _with(bundle: Bundle, score: float, chosen: Fit) -> Bundle:
    return replace(bundle, card=bundle.card.with_detection(score=score, **chosen._asdict()))


def tune(bundle: Bundle, data: Sequence[AnnotatedSet]) -> Card:
    """Return the bundle's card with temperatures, threshold and figures of held-out pictures.

    Parameters
    ----------
    bundle
        What is tuned.
    data
        Annotated pictures.

    Raises
    ------
    DataError
        No picture of a set is held out, or one cannot be read.
    """
    engine = remember(bundle)
    found = find_all(bundle, engine, data)
    if not any(len(one.right) for one in found):
        raise DataError("nothing was found in any held-out picture, so there is nothing to tune by")
    chosen = fit(found)
    tuned = _with(bundle, choose_threshold(bundle, engine, data, chosen), chosen)
    # What is told is measured as it will run, by an engine that opens the tuned card.
    tuned_engine = open_engine(tuned, "cpu")
    figures = {one.name: _figures(evaluated(tuned, tuned_engine, one)) for one in data}
    return replace(tuned.card, metrics={**bundle.card.metrics, **figures})


def _figures(evaluation: Evaluation) -> dict[str, float]:
    """Return what a card tells of a data set: means over held-out pictures, and their bounds."""
    row = summarise_all(evaluation)
    figures = {name: row["instance"][name] for name in ("pq", "dq", "sq", "dice", "aji")}
    for key, part, column in (("f1", "detection", "f1"), ("near f1", "near", "near_f1")):
        figures[key] = row[part]["f1"]
        figures |= {f"{key} {one['class']}": one[column] for one in row["classes"]}
    rounded: dict[str, float] = {"images": row["pictures"]}
    for name, value in figures.items():
        bounds = dict(zip(("", " low", " high"), (value, *row["intervals"][name]), strict=True))
        rounded |= {f"{name}{end}": round(v, 4) for end, v in bounds.items() if not np.isnan(v)}
    return rounded
