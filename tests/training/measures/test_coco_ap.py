"""Average precision: known cases, and pycocotools on the same pictures."""

import contextlib
import io
import math
from typing import Any

import numpy as np
import pytest
from made.evaluated import made_picture, made_prediction, perfect
from numpy.typing import NDArray
from pycocotools import mask as rle
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from nuhtc.training.data.images import AnnotatedImage
from nuhtc.training.measures.coco_ap import CocoPicture, coco_scores, shapes
from nuhtc.training.predictions.prediction import Prediction

Pair = tuple[AnnotatedImage, Prediction]


def encoded(pair: Pair) -> CocoPicture:
    image, found = pair
    assert image.types is not None and found.types is not None and found.scores is not None
    return CocoPicture(
        shapes(image.instances, image.types, np.ones(len(image.types), np.float32)),
        shapes(found.instances, found.types, found.scores),
    )


def by_pycocotools(pairs: list[Pair], kind: str, typed: bool) -> NDArray[np.float64]:
    """Return (AP, AP50, AP75) as pycocotools gives them."""
    sides: list[list[dict[str, Any]]] = [[], []]
    for number, (image, found) in enumerate(pairs):
        for side, (instances, types, scores) in zip(
            sides,
            [(image.instances, image.types, None), (found.instances, found.types, found.scores)],
            strict=True,
        ):
            assert types is not None
            for nucleus in range(1, int(instances.max(initial=0)) + 1):
                mask = rle.encode(np.asfortranarray(instances == nucleus, np.uint8))
                side.append(
                    {
                        "id": len(side) + 1,
                        "image_id": number,
                        "category_id": int(types[nucleus]) + 1 if typed else 1,
                        "segmentation": mask,
                        "bbox": rle.toBbox(mask).tolist(),
                        "area": float(rle.area(mask)),
                        "iscrowd": 0,
                        "score": 1.0 if scores is None else float(scores[nucleus]),
                    }
                )
    with contextlib.redirect_stdout(io.StringIO()):
        sets = []
        for side in sides:
            one = COCO()
            images = [
                {"id": i, "height": p[0].rgb.shape[0], "width": p[0].rgb.shape[1]}
                for i, p in enumerate(pairs)
            ]
            one.dataset = {
                "images": images,
                "annotations": side,
                "categories": [{"id": i} for i in range(1, 5 if typed else 2)],
            }
            one.createIndex()
            sets.append(one)
        job = COCOeval(*sets, kind)
        job.params.maxDets = [1, 10, 1000]
        job.evaluate()
        job.accumulate()
    precision = job.eval["precision"][:, :, :, 0, -1]
    return np.array([part[part > -1].mean() for part in (precision, precision[0], precision[5])])


def test_every_figure_is_pycocotools() -> None:
    pairs = [(image, made_prediction(image)) for image in map(made_picture, range(4))]
    # Scores that are distinct over all pictures: the order of equal ones is nobody's.
    pairs = [
        (image, Prediction(p.instances, p.types, p.scores + np.float32(i / 1000)))
        for i, (image, p) in enumerate(pairs)
        if p.scores is not None
    ]
    pictures = [encoded(pair) for pair in pairs]
    scores = coco_scores(pictures, 4)
    for kind, one, each in (
        ("bbox", scores.box, scores.class_box),
        ("segm", scores.mask, scores.class_mask),
    ):
        ours = np.array([one.ap, one.ap50, one.ap75])
        assert 0.05 < ours[0] < 0.95
        assert ours == pytest.approx(by_pycocotools(pairs, kind, typed=False), abs=1e-12)
        ours = np.mean([[q.ap, q.ap50, q.ap75] for q in each], axis=0)
        assert ours == pytest.approx(by_pycocotools(pairs, kind, typed=True), abs=1e-12)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_masks_are_encoded_as_pycocotools_does() -> None:
    image = made_picture(3)
    assert image.types is not None
    made = shapes(image.instances, image.types, np.ones(len(image.types), np.float32))
    for nucleus, (mask, box) in enumerate(zip(made.masks, made.boxes, strict=True), start=1):
        inside = image.instances == nucleus
        assert np.array_equal(rle.decode(mask), inside)
        text = rle.encode(np.asfortranarray(inside, np.uint8))["counts"].decode()
        assert mask["counts"] == text
        y, x = np.nonzero(inside)
        assert box.tolist() == [x.min(), y.min(), np.ptp(x) + 1, np.ptp(y) + 1]
    whole = np.ones((5, 7), np.int32)
    assert rle.area(shapes(whole, np.zeros(2, int), np.ones(2, np.float32)).masks[0]) == 35


def test_a_perfect_answer_and_none() -> None:
    image = made_picture(1)
    full = coco_scores([encoded((image, perfect(image)))], 4)
    assert full.box.ap == full.mask.ap == full.mask.ap75 == pytest.approx(1)
    nothing = Prediction(
        np.zeros_like(image.instances), np.zeros(1, np.int64), np.zeros(1, np.float32)
    )
    empty = coco_scores([encoded((image, nothing))], 4)
    assert empty.box.ap == empty.mask.ap50 == 0
    assert all(each.ap in (0,) or math.isnan(each.ap) for each in empty.class_mask)
    blank = AnnotatedImage("blank", image.rgb, nothing.instances, nothing.types)
    assert math.isnan(coco_scores([encoded((blank, nothing))], 0).mask.ap)
    assert math.isnan(coco_scores([encoded((blank, perfect(image)))], 4).mask.ap)


def test_a_better_score_on_the_wrong_nucleus_costs() -> None:
    truth = np.zeros((20, 20), np.int32)
    truth[:5, :5] = 1
    found = truth.copy()
    found[10:15, 10:15] = 2
    image = AnnotatedImage("one", np.zeros((20, 20, 3), np.uint8), truth, np.zeros(2, np.int64))
    for wrong, expected in ((0.1, 1.0), (0.9, 0.5)):
        scores = np.array([0, 0.5, wrong], np.float32)
        picture = encoded((image, Prediction(found, np.zeros(3, np.int64), scores)))
        assert coco_scores([picture], 0).mask.ap == pytest.approx(expected)
