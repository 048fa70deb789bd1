"""Calibrate a bundle's scores and choose its threshold on held-out pictures."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from nuhtc.export.quality import evaluated, held_out_of
from nuhtc.runtime.bundle import Bundle, Card
from nuhtc.runtime.calibration import calibrate
from nuhtc.runtime.engines.open import open_engine
from nuhtc.training.data.images import AnnotatedSet
from nuhtc.training.errors import DataError
from nuhtc.training.evaluation.evaluate import Evaluation
from nuhtc.training.evaluation.overlaps import Overlaps, overlaps
from nuhtc.training.evaluation.predict import predict
from nuhtc.training.evaluation.predict_bundle import BundleModel
from nuhtc.training.evaluation.summary import summarise_all

FLOOR = 0.02
"""Nuclei less sure than this are not looked at."""

THRESHOLDS = np.arange(0.05, 0.95, 0.01)

MOST = 4.0
"""Of a temperature's logarithm and of the bias."""


@dataclass(frozen=True)
class FoundNuclei:
    """What was found in one picture, sure or not, held against its annotation."""

    pairs: Overlaps
    probabilities: NDArray[np.float32]
    """(nuclei, classes), as the heads gave them"""
    right: NDArray[np.bool_]
    """(nuclei,): it overlaps an annotated nucleus by more than half"""
    types: NDArray[np.int64]
    """(nuclei,): the model's class that the annotation calls it; -1 where none or wrong"""


def find_all(bundle: Bundle, data: Sequence[AnnotatedSet]) -> list[list[FoundNuclei]]:
    """Find the nuclei of all held-out pictures, the doubtful ones too, data set by data set.

    Parameters
    ----------
    bundle
        Its card's threshold and temperatures do not count.
    data
        Annotated pictures.

    Raises
    ------
    DataError
        No picture of a set is held out, or one cannot be read.
    """
    everything = _with(bundle, FLOOR, Fit())
    model = BundleModel(everything, open_engine(everything, "cpu"))
    names = [name.casefold() for name in model.classes]
    result = []
    for dataset in data:
        known = [] if dataset.classes is None else [one.name.casefold() for one in dataset.classes]
        to_model = np.array([*(names.index(n) if n in names else -1 for n in known), -1], np.int64)
        found = []
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
            found.append(FoundNuclei(pairs, prediction.probabilities[1:], right[1:], types[1:]))
        result.append(found)
    return result


class Fit(NamedTuple):
    """The arguments of :func:`nuhtc.runtime.calibration.calibrate`."""

    object_temperature: float = 1.0
    object_bias: float = 0.0
    class_temperature: float = 1.0


def fit(found: Sequence[FoundNuclei]) -> Fit:
    """The temperatures and the bias with the least cross entropy.

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
        sure = calibrate(probabilities, float(np.exp(log_temperature)), bias, 1.0)
        sums = np.clip(sure.sum(axis=1, dtype=np.float64), 1e-7, 1 - 1e-7)
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
    """Where a loss is least, within what cards may hold."""
    bounds = [(-MOST, MOST)] * len(start)
    result: NDArray[np.float64] = minimize(loss, start, method="Nelder-Mead", bounds=bounds).x
    return result


def choose_threshold(found: Sequence[Sequence[FoundNuclei]], chosen: Fit) -> float:
    """The least score with the best PQ: the mean over data sets of the mean over pictures."""
    quality = np.zeros(len(THRESHOLDS))
    for pictures in found:
        for one in pictures:
            scores = calibrate(one.probabilities, *chosen).max(axis=1, initial=0.0)
            quality += _pq(one.pairs, scores) / len(pictures)
    return round(float(THRESHOLDS[quality.argmax()]), 2)


def _pq(pairs: Overlaps, scores: NDArray[np.float32]) -> NDArray[np.float64]:
    """PQ of one picture at each of :data:`THRESHOLDS`.

    Within a tile, whatever is dropped lay below what is kept, so that the kept ones are as they
    would have been found at that threshold. Between tiles that is nearly so: there a doubtful
    answer of the tile that owns a nucleus stays before a sure one of its neighbour.
    """
    good = pairs.ious > 0.5
    matched = scores[pairs.found_ids[good] - 1]
    kept = scores > THRESHOLDS[:, None]
    shared = ((matched > THRESHOLDS[:, None]) * pairs.ious[good]).sum(axis=1)
    either = (pairs.truth_count + kept.sum(axis=1)) / 2
    quality: NDArray[np.float64] = np.ones(len(THRESHOLDS))
    np.divide(shared, either, out=quality, where=either > 0)
    return quality


def _with(bundle: Bundle, score: float, chosen: Fit) -> Bundle:
    detection = replace(bundle.card.detection, score=score, **chosen._asdict())
    return replace(bundle, card=replace(bundle.card, detection=detection))


def tune(bundle: Bundle, data: Sequence[AnnotatedSet]) -> Card:
    """The bundle's card with temperatures, threshold and figures of held-out pictures.

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
    found = find_all(bundle, data)
    if not any(len(one.right) for pictures in found for one in pictures):
        raise DataError("nothing was found in any held-out picture, so there is nothing to tune by")
    chosen = fit([one for pictures in found for one in pictures])
    tuned = _with(bundle, choose_threshold(found, chosen), chosen)
    engine = open_engine(tuned, "cpu")
    figures = {one.name: _figures(evaluated(tuned, engine, one)) for one in data}
    return replace(tuned.card, metrics={**bundle.card.metrics, **figures})


def _figures(evaluation: Evaluation) -> dict[str, float]:
    """What a card tells of a data set: means over its held-out pictures, and where they may lie."""
    row = summarise_all(evaluation)
    figures = {name: row["instance"][name] for name in ("pq", "dq", "sq", "dice", "aji")}
    figures["f1"] = row["detection"]["f1"]
    figures |= {f"f1 {one['class']}": one["f1"] for one in row["classes"]}
    told: dict[str, float] = {"images": row["pictures"]}
    for name, value in figures.items():
        bounds = dict(zip(("", " low", " high"), (value, *row["intervals"][name]), strict=True))
        told |= {f"{name}{end}": round(v, 4) for end, v in bounds.items() if not np.isnan(v)}
    return told
