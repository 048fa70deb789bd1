"""PanNuke's protocol (Gamper et al. 2020): PQ per class, averaged over classes and tissues."""

from collections.abc import Iterable, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from nuhtc.training.measures.instance import InstanceQuality, instance_quality
from nuhtc.training.measures.overlaps import Overlaps

T = TypeVar("T")


def class_qualities(
    pairs: Overlaps,
    truth_types: NDArray[np.int64],
    found_types: NDArray[np.int64],
    classes: int,
) -> tuple[InstanceQuality | None, ...]:
    """Measure each class of one picture by itself.

    Parameters
    ----------
    pairs
        Of the whole picture, numbered without gaps.
    truth_types, found_types
        int64 (nuclei + 1,), class index or -1; entry 0 is unused.
    classes
        How many there are.

    Returns
    -------
    tuple
        None for a class that the annotation does not hold, whatever was found: such a picture
        says nothing of the class and is skipped.
    """
    result: list[InstanceQuality | None] = []
    for index in range(classes):
        of_class = pairs.only(truth_types == index, found_types == index)
        result.append(instance_quality(of_class) if of_class.truth_count else None)
    return tuple(result)


def picture_mpq(qualities: Sequence[InstanceQuality | None]) -> float:
    """Return the mean PQ of a picture's classes; nan where it holds none."""
    return mean(quality.pq for quality in qualities if quality is not None)


def mean_over_tissues(values: Sequence[float], tissues: Sequence[str | None]) -> float:
    """Return the mean of the tissues' means; the plain mean where no picture names its tissue.

    Parameters
    ----------
    values
        One for each picture, nan to skip it.
    tissues
        Of each picture.
    """
    return mean(mean(by_tissue) for by_tissue in group(values, tissues).values())


def group(items: Sequence[T], tissues: Sequence[str | None]) -> dict[str, list[T]]:
    """Return the pictures' items by tissue, in alphabetical order; those of no tissue are one."""
    result: dict[str, list[T]] = {}
    for item, tissue in sorted(
        zip(items, tissues, strict=True), key=lambda pair: (pair[1] is None, pair[1] or "")
    ):
        result.setdefault(tissue or "unknown", []).append(item)
    return result


def mean(values: Iterable[float]) -> float:
    """Return the mean of what is not nan; nan of nothing."""
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")
