"""How far figures might be others on other pictures: the bootstrap over pictures."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nuhtc.training.evaluation.evaluate import PictureResult
from nuhtc.training.measures.hovernet_protocol import detection_scores

RESAMPLES = 2000
LEVEL = 0.95

Interval = tuple[float, float]
"""Low and high; nan where nothing is known, as of a class that no picture has."""


def intervals(
    pictures: Sequence[PictureResult],
    qualities: Sequence[str],
    classes: Sequence[str],
    seed: int = 0,
) -> dict[str, Interval]:
    """Return the middle 95% of figures over pictures drawn anew, with replacement.

    The percentile bootstrap (Efron and Tibshirani, An Introduction to the Bootstrap, 1993,
    chapter 13). Pictures are drawn, not nuclei, since those of one picture are alike. From a
    handful of pictures it is rough, and rather too narrow.

    Parameters
    ----------
    pictures
        Each measured; one at least.
    qualities
        Attributes of :class:`nuhtc.training.measures.instance.InstanceQuality`, whose mean
        over the pictures is asked for.
    classes
        Names of the classes that were compared.
    seed
        Of the draws.

    Returns
    -------
    dict
        Of each quality by its name, of detection's F1 as ``f1``, and of each class's F1 as
        ``f1`` and its name; of near pairs as ``near f1`` alike.
    """
    count = len(pictures)
    drawn = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), RESAMPLES)
    found = {
        name: _middle(_means(drawn, np.array([getattr(one.quality, name) for one in pictures])))
        for name in qualities
    }
    for key, tables in (
        ("f1", np.stack([one.table for one in pictures])),
        ("near f1", np.stack([one.near_table for one in pictures])),
    ):
        sums = (drawn @ tables.reshape(count, -1)).reshape(RESAMPLES, *tables.shape[1:])
        scores = [detection_scores(table) for table in sums]
        found[key] = _middle(np.array([one.f1 for one in scores]))
        for index, name in enumerate(classes):
            found[f"{key} {name}"] = _middle(np.array([one.class_f1[index] for one in scores]))
    return found


def _means(drawn: NDArray[np.int64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean of each draw over what is known; nan where nothing is."""
    known = ~np.isnan(values)
    weights = drawn[:, known]
    total = weights.sum(axis=1)
    sums = weights @ values[known]
    means: NDArray[np.float64] = np.full(len(total), np.nan)
    np.divide(sums, total, out=means, where=total > 0)
    return means


def _middle(values: NDArray[np.float64]) -> Interval:
    known = values[~np.isnan(values)]
    if not len(known):
        return float("nan"), float("nan")
    low, high = np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
