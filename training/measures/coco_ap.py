"""COCO's average precision of boxes and masks, by pycocotools.

pycocotools compares every nucleus of a picture with every other in plain Python, which takes
minutes where a picture holds a thousand. Only pairs with an IoU of at least 0.5 can match, so
nuclei linked by such pairs are handed over in small groups, each as a picture of its own: the
same matches and, as scores are ranked over all pictures, the same average precision.
"""

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as rle
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from nuhtc.training.measures.overlaps import Overlaps
from nuhtc.training.measures.pannuke_protocol import mean

LOWEST_IOU = 0.5
"""The lowest threshold that COCO asks for."""

GROUP = 24
"""Nuclei handed over together: few enough to compare each with each."""


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
    """Annotated and found nuclei of one picture, and which to hand over together."""

    truth: Shapes
    found: Shapes
    truth_group: NDArray[np.int64]
    """(N,), from 0"""
    found_group: NDArray[np.int64]
    """(M,), from 0"""


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
    height, width = instances.shape
    count = len(types) - 1
    # COCO's runs go down the columns.
    flat = instances.T.ravel()
    starts = np.concatenate([[0], np.flatnonzero(np.diff(flat)) + 1])
    stops = np.append(starts[1:], flat.size)
    inside = flat[starts] > 0
    starts, stops, owner = starts[inside], stops[inside], flat[starts[inside]]
    order = np.argsort(owner, kind="stable")
    starts, stops, owner = starts[order], stops[order], owner[order]
    ends = np.searchsorted(owner, np.arange(1, count + 2))
    before = np.concatenate([[0], stops[:-1]])
    before[ends[:-1]] = 0
    runs = np.stack([starts - before, stops - starts], axis=1)
    lists = [
        [*runs[a:b].ravel().tolist(), int(flat.size - stops[b - 1])]
        for a, b in pairwise(ends.tolist())
    ]
    raw = [{"counts": counts, "size": [height, width]} for counts in lists]
    masks = rle.frPyObjects(raw, height, width) if raw else []
    boxes = rle.toBbox(masks) if raw else np.zeros((0, 4))
    return Shapes(boxes, masks, types[1:], scores[1:])


def coco_picture(pairs: Overlaps, truth: Shapes, found: Shapes) -> CocoPicture:
    """Group the nuclei of one picture so that no possible match crosses groups.

    Parameters
    ----------
    pairs
        Of the same nuclei, for the masks' IoUs.
    truth, found
        The nuclei encoded.
    """
    good = pairs.ious >= LOWEST_IOU
    i, j = _box_pairs(truth.boxes, found.boxes)
    rows = np.concatenate([pairs.truth_ids[good] - 1, i])
    columns = np.concatenate([pairs.found_ids[good] - 1, j]) + len(truth.boxes)
    size = len(truth.boxes) + len(found.boxes)
    if size == 0:
        return CocoPicture(truth, found, np.zeros(0, np.int64), np.zeros(0, np.int64))
    links = coo_array((np.ones(len(rows)), (rows, columns)), (size, size))
    island = connected_components(links, directed=False)[1]
    counts = np.bincount(island)
    group = ((np.cumsum(counts) - counts) // GROUP)[island]
    return CocoPicture(truth, found, group[: len(truth.boxes)], group[len(truth.boxes) :])


def _box_pairs(
    truth: NDArray[np.float64], found: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs of boxes with an IoU of at least 0.5, a strip of the table at a time."""
    rows, columns = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for start in range(0, len(truth) if len(found) else 0, 1000):
        part = truth[start : start + 1000]
        # In C order for pycocotools, which reads the buffer as it lies.
        ious = rle.iou(
            np.ascontiguousarray(found), np.ascontiguousarray(part), np.zeros(len(part), np.uint8)
        )
        column, row = np.nonzero(ious >= LOWEST_IOU)
        rows.append(row + start)
        columns.append(column)
    return np.concatenate(rows), np.concatenate(columns)


def coco_scores(pictures: Sequence[CocoPicture], classes: int) -> CocoScores:
    """Average precision over all pictures.

    Parameters
    ----------
    pictures
        Of one data set.
    classes
        How many there are; each is measured by itself too.
    """
    one = {kind: _run(pictures, 0, kind)[0] for kind in ("bbox", "segm")}
    each = {kind: _run(pictures, classes, kind) for kind in ("bbox", "segm")} if classes else {}
    return CocoScores(one["bbox"], one["segm"], each.get("bbox", ()), each.get("segm", ()))


def _run(pictures: Sequence[CocoPicture], classes: int, kind: str) -> tuple[AveragePrecision, ...]:
    """Run pycocotools over all groups: one class for all nuclei where `classes` is 0."""
    starts = np.cumsum([0, *(_groups(picture) for picture in pictures)]).tolist()
    categories = [{"id": number} for number in range(1, max(classes, 1) + 1)]
    # Masks are encoded already, so no size is used; boxes and masks carry their own.
    images = [{"id": number, "height": 0, "width": 0} for number in range(starts[-1])]
    truth, found = (
        _coco(
            [
                annotation
                for picture, start in zip(pictures, starts, strict=False)
                for annotation in _annotations(
                    getattr(picture, side), getattr(picture, f"{side}_group") + start, classes
                )
            ],
            images,
            categories,
        )
        for side in ("truth", "found")
    )
    with contextlib.redirect_stdout(io.StringIO()):  # it prints its progress
        job = COCOeval(truth, found, kind)
        job.params.areaRng, job.params.areaRngLbl = [[0, 1e10]], ["all"]
        job.params.maxDets = [max(len(found.anns), 1)]
        job.evaluate()
        job.accumulate()
    precision = job.eval["precision"][:, :, :, 0, 0]
    return tuple(_average(precision[:, :, index]) for index in range(len(categories)))


def _groups(picture: CocoPicture) -> int:
    """How many groups a picture has."""
    return 1 + max(
        int(picture.truth_group.max(initial=-1)), int(picture.found_group.max(initial=-1))
    )


def _annotations(nuclei: Shapes, group: NDArray[np.int64], classes: int) -> list[dict[str, Any]]:
    """One picture's nuclei as COCO writes them; those of no class are left out among classes."""
    categories = nuclei.types + 1 if classes else np.ones(len(nuclei.types), np.int64)
    return [
        {
            "image_id": image,
            "category_id": category,
            "bbox": box,
            "area": box[2] * box[3],
            "segmentation": mask,
            "iscrowd": 0,
            "score": score,
        }
        for image, category, box, mask, score in zip(
            group.tolist(),
            categories.tolist(),
            nuclei.boxes.tolist(),
            nuclei.masks,
            nuclei.scores.tolist(),
            strict=True,
        )
        if category
    ]


def _coco(
    annotations: list[dict[str, Any]],
    images: list[dict[str, int]],
    categories: list[dict[str, int]],
) -> Any:
    """A COCO data set in memory."""
    result = COCO()
    # Numbers start at 1: in pycocotools' tables of matches 0 stands for none.
    numbered = [{"id": number, **each} for number, each in enumerate(annotations, start=1)]
    result.dataset = {"images": images, "annotations": numbered, "categories": categories}
    with contextlib.redirect_stdout(io.StringIO()):
        result.createIndex()
    return result


def _average(precision: NDArray[np.float64]) -> AveragePrecision:
    """Means over the recall steps of a (thresholds, steps) table, where -1 stands for no truth."""
    known = [np.nan if (row < 0).any() else float(row.mean()) for row in precision]
    return AveragePrecision(ap=mean(known), ap50=known[0], ap75=known[5])
