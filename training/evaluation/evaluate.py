"""Hold predictions against annotations: every measure of every picture, in one pass."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nuhtc.runtime.ground.errors import DataError
from nuhtc.training.data.images import AnnotatedImage
from nuhtc.training.data.numbering import size_text
from nuhtc.training.measures.coco_ap import CocoPicture, CocoScores, coco_scores
from nuhtc.training.measures.coco_ap import shapes as coco_shapes
from nuhtc.training.measures.hovernet_protocol import confusion, pair_near, pairing_radius
from nuhtc.training.measures.instance import InstanceQuality, instance_quality
from nuhtc.training.measures.overlaps import overlaps
from nuhtc.training.measures.pannuke_protocol import class_qualities
from nuhtc.training.predictions.prediction import Prediction


@dataclass(frozen=True)
class Task:
    """What is measured on what."""

    source: str
    """the model or the saved predictions, for messages and reports"""
    data: str
    """the data set's name"""
    split: str
    """``validation``, ``train`` or ``all``"""
    mpp: float
    """um per pixel of the pictures"""
    classes: tuple[str, ...] | None
    """what the annotation's types index; None for a set without classes"""
    found_classes: tuple[str, ...] | None
    """what the predictions' types index; None where they have no classes"""


@dataclass(frozen=True)
class PictureResult:
    """One picture's measures."""

    name: str
    tissue: str | None
    truth: int
    found: int
    quality: InstanceQuality
    classes: tuple[InstanceQuality | None, ...]
    """of each compared class; None where the annotation holds none of it"""
    table: NDArray[np.int64]
    """who was called what; see :func:`nuhtc.training.measures.hovernet_protocol.confusion`"""
    near_table: NDArray[np.int64]
    """the same with :func:`nuhtc.training.measures.hovernet_protocol.pair_near`"""


@dataclass(frozen=True)
class Evaluation:
    """Everything measured on one data set."""

    task: Task
    classes: tuple[str, ...]
    """those that annotation and prediction share, which alone are compared"""
    radius: float
    """pixels within which centroids pair"""
    pictures: tuple[PictureResult, ...]
    coco: CocoScores
    notes: tuple[str, ...]
    """what a reader of the figures must know"""


def evaluate(task: Task, pairs: Iterable[tuple[AnnotatedImage, Prediction]]) -> Evaluation:
    """Measure predictions.

    Parameters
    ----------
    task
        What the pictures and predictions are.
    pairs
        Each picture with what was found in it; asked for one at a time.

    Raises
    ------
    DataError
        There is no picture, or a prediction does not belong to its picture.
    """
    shared = shared_classes(task.classes, task.found_classes)
    to_truth, to_found = (_to_shared(names, shared) for names in (task.classes, task.found_classes))
    radius = pairing_radius(task.mpp)
    results: list[PictureResult] = []
    coco: list[CocoPicture] = []
    scored = True
    for image, prediction in pairs:
        if prediction.instances.shape != image.instances.shape:
            raise DataError(
                f"{task.source}: for {image.name} it is {size_text(prediction.instances)} pixels, "
                f"the picture {size_text(image.instances)}; predict the picture as it is"
            )
        truth_types = _types(image.types, len(image), to_truth)
        found_types = _types(prediction.types, len(prediction), to_found)
        scored = scored and (prediction.scores is not None or not len(prediction))
        between = overlaps(image.instances, prediction.instances)
        named = (image.instances, prediction.instances, truth_types, found_types, len(shared))
        results.append(
            PictureResult(
                name=image.name,
                tissue=image.tissue,
                truth=len(image),
                found=len(prediction),
                quality=instance_quality(between),
                classes=class_qualities(between, truth_types, found_types, len(shared)),
                table=confusion(*named, radius),
                near_table=confusion(*named, radius, pair_near),
            )
        )
        certain = np.ones(len(truth_types), np.float32)
        scores = prediction.scores
        if scores is None:
            scores = np.ones(len(found_types), np.float32)
        coco.append(
            CocoPicture(
                coco_shapes(image.instances, truth_types, certain),
                coco_shapes(prediction.instances, found_types, scores),
            )
        )
    if not results:
        raise DataError(f"{task.data}: no pictures to evaluate in the split {task.split}")
    return Evaluation(
        task,
        shared,
        radius,
        tuple(results),
        coco_scores(coco, len(shared)),
        tuple(_notes(task, shared, scored)),
    )


def shared_classes(truth: Sequence[str] | None, found: Sequence[str] | None) -> tuple[str, ...]:
    """Return the classes that both know, by name, whatever the case; in the annotation's order."""
    known = {name.casefold() for name in found or ()}
    return tuple(name for name in truth or () if name.casefold() in known)


def _to_shared(names: Sequence[str] | None, shared: Sequence[str]) -> NDArray[np.int64]:
    """Return for each class its index among the shared ones, or -1; the last entry is for none."""
    order = [name.casefold() for name in shared]
    found = [name.casefold() for name in names or ()]
    return np.array([*(order.index(n) if n in order else -1 for n in found), -1], np.int64)


def _types(
    types: NDArray[np.int64] | None, count: int, to_shared: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return the types among the shared classes; -1 for all where there are none."""
    if types is None:
        return np.full(count + 1, -1, np.int64)
    return to_shared[types]


def _notes(task: Task, shared: Sequence[str], scored: bool) -> Iterable[str]:
    if task.classes is None:
        yield "no class measures: the data set has no classes"
    elif task.found_classes is None:
        yield "no class measures: the predictions have no classes"
    elif not shared:
        yield (
            f"no class measures: the model's classes ({', '.join(task.found_classes)}) and the "
            f"data set's ({', '.join(task.classes)}) share no name"
        )
    elif len(shared) < max(len(task.classes), len(task.found_classes)):
        yield (
            f"class measures over {', '.join(shared)} only: the other classes of the model "
            f"({', '.join(task.found_classes)}) and the data set ({', '.join(task.classes)}) "
            "differ in name"
        )
    if not scored:
        yield "AP is of a single operating point: the predictions have no scores"
