"""COCO's average precision of boxes and masks, by faster-coco-eval.

It gives pycocotools' figures to the digit; pycocotools compares every nucleus of a picture with
every other in plain Python, which takes minutes where a picture holds a thousand.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster
from faster_coco_eval import mask as rle
from numpy.typing import NDArray

from nuhtc.training.data.rle import encode
from nuhtc.training.measures.pannuke_protocol import mean


@dataclass(frozen=True)
class Shapes:
    """The nuclei of one picture as COCO has them."""

    boxes: NDArray[np.float64]
    """(N, 4), x, y, width, height"""
    masks: list[dict[str, Any]]
    """run-length encoded"""
    types: NDArray[np.int64]
    """(N,), class index or -1"""
    scores: NDArray[np.float32]
    """(N,)"""


@dataclass(frozen=True)
class CocoPicture:
    """Annotated and found nuclei of one picture."""

    truth: Shapes
    found: Shapes


@dataclass(frozen=True)
class AveragePrecision:
    """Average precision over IoU 0.50 to 0.95, and at 0.50 and 0.75; nan without truth."""

    ap: float
    ap50: float
    ap75: float


@dataclass(frozen=True)
class CocoScores:
    """Average precision of boxes and of masks."""

    box: AveragePrecision
    """with all nuclei as one class"""
    mask: AveragePrecision
    """with all nuclei as one class"""
    class_box: tuple[AveragePrecision, ...]
    class_mask: tuple[AveragePrecision, ...]


def shapes(
    instances: NDArray[np.int32], types: NDArray[np.int64], scores: NDArray[np.float32]
) -> Shapes:
    """Encode a label map.

    Parameters
    ----------
    instances
        int32 (H, W), 0 for background, numbered from 1 without gaps.
    types
        int64 (nuclei + 1,), class index or -1; entry 0 is unused.
    scores
        float32 (nuclei + 1,); entry 0 is unused.
    """
    masks = encode(instances)
    boxes = rle.toBbox(masks) if masks else np.zeros((0, 4))
    return Shapes(boxes, masks, types[1:], scores[1:])


def coco_scores(pictures: Sequence[CocoPicture], classes: int) -> CocoScores:
    """Return the average precision over all pictures.

    Parameters
    ----------
    pictures
        Of one data set.
    classes
        How many there are; each is measured by itself too.
    """
    pooled = {kind: _run(pictures, 0, kind)[0] for kind in ("bbox", "segm")}
    each = {kind: _run(pictures, classes, kind) for kind in ("bbox", "segm")} if classes else {}
    return CocoScores(pooled["bbox"], pooled["segm"], each.get("bbox", ()), each.get("segm", ()))


def _run(pictures: Sequence[CocoPicture], classes: int, kind: str) -> tuple[AveragePrecision, ...]:
    """Evaluate boxes or masks: one class for all nuclei where `classes` is 0."""
    count = max(classes, 1)
    truth, found = (
        _coco([getattr(picture, side) for picture in pictures], classes)
        for side in ("truth", "found")
    )
    job = COCOeval_faster(truth, found, kind, print_function=lambda *_: None)
    job.params.areaRng, job.params.areaRngLbl = [[0, 1e10]], ["all"]
    job.params.maxDets = [max(len(found.anns), 1)]
    job.evaluate()
    job.accumulate()
    precision = job.eval["precision"][:, :, :, 0, 0]
    return tuple(_average(precision[:, :, index]) for index in range(count))


def _coco(pictures: Sequence[Shapes], classes: int) -> COCO:
    """Return nuclei as a COCO data set in memory; those of no class are left out among classes."""
    annotations = [
        {
            "image_id": image,
            "category_id": category,
            "bbox": box,
            "area": box[2] * box[3],
            "segmentation": mask,
            "iscrowd": 0,
            "score": score,
        }
        for image, nuclei in enumerate(pictures)
        for category, box, mask, score in zip(
            (nuclei.types + 1).tolist() if classes else [1] * len(nuclei.types),
            nuclei.boxes.tolist(),
            nuclei.masks,
            nuclei.scores.tolist(),
            strict=True,
        )
        if category
    ]
    result = COCO(print_function=lambda *_: None)
    result.dataset = {
        # Masks are encoded already, so no size is used; boxes and masks carry their own.
        "images": [{"id": image, "height": 0, "width": 0} for image in range(len(pictures))],
        # Numbers start at 1: in tables of matches 0 stands for none.
        "annotations": [{"id": number, **each} for number, each in enumerate(annotations, 1)],
        "categories": [{"id": number} for number in range(1, max(classes, 1) + 1)],
    }
    result.createIndex()
    return result


def _average(precision: NDArray[np.float64]) -> AveragePrecision:
    """Return means over the recall steps of a table (thresholds, steps); -1 stands for no truth."""
    known = [np.nan if (row < 0).any() else float(row.mean()) for row in precision]
    return AveragePrecision(ap=mean(known), ap50=known[0], ap75=known[5])
