"""What a bundle finds, held against what PyTorch finds: nuclei, their masks, and PQ.

The network in PyTorch is put behind the runtime's own seam, as one more engine, so that both
go through the same tiles, thresholds, outlines and stitching and only the precision differs.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from nuhtc.runtime.bundle.load import Bundle
from nuhtc.runtime.engines.engine import Detections, Engine
from nuhtc.runtime.ground.errors import DataError
from nuhtc.training.data.images import AnnotatedImage, AnnotatedSet
from nuhtc.training.data.splits import split
from nuhtc.training.evaluation.evaluate import Evaluation, Task, evaluate
from nuhtc.training.evaluation.summary import summarise_all
from nuhtc.training.network.boxes import iou
from nuhtc.training.predictions.bundle_model import BundleModel
from nuhtc.training.predictions.model import predict
from nuhtc.training.predictions.prediction import Prediction
from nuhtc.training.predictions.validation import paste

SAME_NUCLEUS_IOU = 0.5
"""Boxes overlapping at least this much show the same nucleus."""


@dataclass(frozen=True)
class Agreement:
    """Nuclei that PyTorch and a bundle find in the same tiles."""

    expected: int
    """found by PyTorch"""
    found: int
    """found by the bundle"""
    matched: int
    """found by both"""
    same_class: int
    """and given the same class"""
    box_difference: float
    """largest difference of a matched box's side from its place, in tile pixels"""
    mask_iou: float
    """mean over the matched; 1 where there are none"""
    least_mask_iou: float

    @property
    def f1(self) -> float:
        """Twice the matched over all found by either; 1 where nobody finds any."""
        total = self.expected + self.found
        return 2 * self.matched / total if total else 1.0


@dataclass(frozen=True)
class Quality:
    """How well a model does on the held-out pictures of a data set."""

    pictures: int
    pq: float
    """mean over pictures, whatever the classes"""
    mpq: float | None
    """mean over the classes that model and annotation share; None where they share none"""


def agree(
    expected: Sequence[Detections],
    found: Sequence[Detections],
    side: int,
    threshold: float,
) -> Agreement:
    """Match the nuclei of two engines, tile by tile.

    Parameters
    ----------
    expected, found
        Their answers for the same tiles.
    side
        Of the tiles in pixels.
    threshold
        Least mask probability of a pixel inside.
    """
    matched = same_class = 0
    differences, ious = [0.0], []
    for reference, answer in zip(expected, found, strict=True):
        for i, j in _pairs(reference.boxes, answer.boxes):
            matched += 1
            same_class += bool(reference.labels[i] == answer.labels[j])
            differences.append(float(np.abs(reference.boxes[i] - answer.boxes[j]).max()))
            a, b = (_canvas(d, k, side, threshold) for d, k in ((reference, i), (answer, j)))
            union = np.count_nonzero(a | b)
            ious.append(np.count_nonzero(a & b) / union if union else 1.0)
    return Agreement(
        expected=sum(map(len, expected)),
        found=sum(map(len, found)),
        matched=matched,
        same_class=same_class,
        box_difference=max(differences),
        mask_iou=float(np.mean(ious)) if ious else 1.0,
        least_mask_iou=min(ious, default=1.0),
    )


def _pairs(a: NDArray[np.float32], b: NDArray[np.float32]) -> Iterator[tuple[int, int]]:
    """Give pairs of boxes, the most alike first, each box once."""
    overlap = iou(torch.from_numpy(a), torch.from_numpy(b)).numpy()
    for flat in np.argsort(-overlap, axis=None, kind="stable"):
        i, j = divmod(int(flat), overlap.shape[1])
        if overlap[i, j] < SAME_NUCLEUS_IOU:
            continue
        overlap[i, :] = overlap[:, j] = 0.0
        yield i, j


def _canvas(found: Detections, index: int, side: int, threshold: float) -> NDArray[np.bool_]:
    canvas = np.zeros((side, side), bool)
    x, y, inside = paste(found.masks[index], found.boxes[index], (side, side), threshold)
    canvas[y : y + inside.shape[0], x : x + inside.shape[1]] = inside
    return canvas


def measure(bundle: Bundle, engine: Engine, dataset: AnnotatedSet) -> Quality:
    """Return PQ and mPQ of an engine on the held-out pictures of a data set.

    Parameters
    ----------
    bundle
        Whose card says tile, thresholds and classes.
    engine
        Of the bundle, or PyTorch's in its place.
    dataset
        Annotated pictures.

    Raises
    ------
    DataError
        No picture of the set is held out, or one cannot be read.
    """
    result = evaluated(bundle, engine, dataset)
    mpq = summarise_all(result)["pannuke"].get("mpq")
    pq = float(np.mean([picture.quality.pq for picture in result.pictures]))
    return Quality(len(result.pictures), pq, None if mpq is None or np.isnan(mpq) else float(mpq))


def held_out_of(dataset: AnnotatedSet) -> list[int]:
    """Return the numbers of the pictures that no training sees.

    Raises
    ------
    DataError
        There is none.
    """
    held_out = split(dataset)[1]
    if not held_out:
        raise DataError(f"{dataset.path}: none of its {len(dataset)} pictures is held out")
    return held_out


def evaluated(bundle: Bundle, engine: Engine, dataset: AnnotatedSet) -> Evaluation:
    """Return every measure of an engine on a data set's held-out pictures; see :func:`measure`."""
    held_out = held_out_of(dataset)
    model = BundleModel(bundle, engine)
    task = Task(
        source=engine.name,
        data=dataset.name,
        split="validation",
        mpp=dataset.mpp,
        classes=None if dataset.classes is None else tuple(c.name for c in dataset.classes),
        found_classes=model.classes,
    )

    def pairs() -> Iterator[tuple[AnnotatedImage, Prediction]]:
        for index in held_out:
            image = dataset[index]
            yield image, predict(model, image)

    return evaluate(task, pairs())
