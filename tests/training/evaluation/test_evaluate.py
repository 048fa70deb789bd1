"""Whole evaluations: perfect and empty answers, classes by name, and what the figures add up to."""

import math

import numpy as np
import pytest
from made.evaluated import NAMES, made_picture, made_prediction, perfect, task

from nuhtc.runtime.ground.errors import DataError
from nuhtc.training.data.images import AnnotatedImage
from nuhtc.training.evaluation.evaluate import evaluate, shared_classes
from nuhtc.training.evaluation.summary import (
    QUALITIES,
    class_rows,
    confusion_matrix,
    picture_rows,
    summarise_all,
    tissue_rows,
)
from nuhtc.training.predictions.prediction import Prediction

PICTURES = [
    made_picture(seed, tissue=tissue) for seed, tissue in enumerate(("Lung", "Skin", "Lung"))
]


def nothing(image: AnnotatedImage) -> Prediction:
    return Prediction(np.zeros_like(image.instances), np.zeros(1, np.int64))


def test_a_perfect_answer_scores_one_everywhere() -> None:
    summary = summarise_all(evaluate(task(), [(image, perfect(image)) for image in PICTURES]))
    figures = [summary["instance"], summary["pannuke"], *summary["coco"].values()]
    figures += [{k: v for k, v in summary["detection"].items() if k != "radius_px"}]
    for row in (*summary["images"], *summary["classes"], *summary["tissues"]):
        figures.append({key: value for key, value in row.items() if isinstance(value, float)})
    for part in figures:
        for name, value in part.items():
            # A class that no nucleus has, on either side, has no figure.
            assert math.isnan(value) or value == pytest.approx(1), name
    assert summary["instance"]["pq"] == summary["pannuke"]["mpq"] == 1
    assert np.count_nonzero(np.array(summary["confusion"]["counts"]) - np.diag(
        np.diag(summary["confusion"]["counts"])
    )) == 0  # fmt: skip
    assert summary["notes"] == []


def test_an_empty_answer_scores_zero() -> None:
    summary = summarise_all(evaluate(task(), [(image, nothing(image)) for image in PICTURES]))
    assert set(summary["instance"].values()) == {0}
    assert set(summary["pannuke"].values()) == {0}
    assert summary["detection"]["recall"] == summary["detection"]["f1"] == 0
    assert math.isnan(summary["detection"]["precision"])
    assert summary["coco"]["mask"]["ap"] == 0
    assert [row["f1"] for row in summary["classes"]] == [0] * 4


def test_rows_add_up() -> None:
    result = evaluate(task(), [(image, made_prediction(image)) for image in PICTURES])
    summary = summarise_all(result)
    rows = picture_rows(result)
    assert [row["name"] for row in rows] == ["made-0", "made-1", "made-2"]
    for name in QUALITIES:
        assert summary["instance"][name] == pytest.approx(np.mean([row[name] for row in rows]))
        assert 0 < summary["instance"][name] < 1
    lung, skin = tissue_rows(result)
    assert (lung["tissue"], lung["pictures"], skin["pictures"]) == ("Lung", 2, 1)
    assert lung["mpq"] == pytest.approx((rows[0]["mpq"] + rows[2]["mpq"]) / 2)
    assert skin["f1"] == rows[1]["f1"]
    assert summary["pannuke"]["mpq"] == pytest.approx((lung["mpq"] + skin["mpq"]) / 2)
    classes = class_rows(result)
    assert sum(row["truth"] for row in classes) == summary["nuclei_annotated"]
    assert sum(row["found"] for row in classes) == summary["nuclei_found"]
    _, _, counts = confusion_matrix(result)
    assert counts[:-1].sum() == summary["nuclei_annotated"]
    paired = counts[:-1, :-1]
    assert summary["detection"]["type_accuracy"] == np.trace(paired) / paired.sum()


def test_numbers_and_axes_change_nothing() -> None:
    def turned(image: AnnotatedImage, found: Prediction) -> tuple[AnnotatedImage, Prediction]:
        # Numbered backwards, rows as columns.
        count = len(found)
        assert found.types is not None and found.scores is not None
        back = np.concatenate([[0], np.arange(count, 0, -1)])
        return (
            AnnotatedImage(
                image.name, image.rgb.swapaxes(0, 1), image.instances.T, image.types, 0.25,
                image.tissue,
            ),
            Prediction(
                back[found.instances.T].astype(np.int32), found.types[back], found.scores[back]
            ),
        )  # fmt: skip

    pairs = [(image, made_prediction(image)) for image in PICTURES]
    there = summarise_all(evaluate(task(), pairs))
    back = summarise_all(evaluate(task(), [turned(*pair) for pair in pairs]))
    for part in ("instance", "pannuke", "detection"):
        assert there[part] == pytest.approx(back[part]), part
    assert there["confusion"] == back["confusion"]


def test_classes_are_compared_by_name() -> None:
    assert shared_classes(("Other", "Epithelial"), ("epithelial", "Dead")) == ("Epithelial",)
    assert shared_classes(None, ("Dead",)) == ()
    image = PICTURES[0]
    order = ("Spindle", "Epithelial", "Inflammatory", "Other")
    assert image.types is not None
    renamed = Prediction(image.instances, np.array([3, 2, 1, 0])[image.types])
    result = summarise_all(evaluate(task(found_classes=order), [(image, renamed)]))
    assert result["detection"]["type_accuracy"] == 1
    assert result["pannuke"]["mpq"] == 1


def test_classes_that_one_side_lacks_are_left_out_with_a_note() -> None:
    image = PICTURES[0]
    found = Prediction(image.instances, image.types)
    names = ("Neoplastic", "Inflammatory", "Dead", "Spindle")
    result = evaluate(task(found_classes=names), [(image, found)])
    assert result.classes == ("Inflammatory", "Spindle")
    rows, columns, counts = confusion_matrix(result)
    assert rows == ["Inflammatory", "Spindle", "no shared class", "invented"]
    assert columns[-2:] == ["no shared class", "missed"]
    assert counts[0, 2] == counts[2, 0] == 0 < counts[2, 2]
    assert summarise_all(result)["detection"]["type_accuracy"] == 1
    assert "Inflammatory, Spindle only" in result.notes[0]
    assert "no scores" in result.notes[1]


@pytest.mark.parametrize(
    ("classes", "found", "words"),
    [
        (None, NAMES, "data set has no classes"),
        (NAMES, None, "predictions have no classes"),
        (NAMES, ("A", "B", "C", "D"), "share no name"),
    ],
)
def test_without_shared_classes_detection_is_measured_still(
    classes: tuple[str, ...] | None, found: tuple[str, ...] | None, words: str
) -> None:
    image = PICTURES[0]
    if classes is None:
        image = AnnotatedImage(image.name, image.rgb, image.instances, None)
    answer = made_prediction(PICTURES[0])
    if found is None:
        answer = Prediction(answer.instances, None, answer.scores)
    result = evaluate(task(classes, found), [(image, answer)])
    summary = summarise_all(result)
    assert words in result.notes[0]
    assert 0 < summary["detection"]["f1"] <= summary["near"]["f1"] < 1
    assert "type_accuracy" not in summary["near"]
    assert 0 < summary["coco"]["box"]["ap50"] <= 1
    assert "type_accuracy" not in summary["detection"] and "mpq" not in summary["pannuke"]
    assert summary["classes"] == [] and confusion_matrix(result)[0] == ["nucleus", "invented"]


def test_pictures_of_another_size_and_no_pictures() -> None:
    image = PICTURES[0]
    small = Prediction(image.instances[:50, :40], image.types)
    with pytest.raises(DataError, match=r"here: for made-0 it is 40x50 pixels, the picture 96x96"):
        evaluate(task(), [(image, small)])
    with pytest.raises(DataError, match="made: no pictures to evaluate in the split all"):
        evaluate(task(), [])


def test_pictures_without_nuclei() -> None:
    blank = AnnotatedImage("blank", PICTURES[0].rgb, np.zeros((96, 96), np.int32), np.zeros(1, int))
    result = summarise_all(evaluate(task(), [(blank, nothing(blank))]))
    assert result["instance"]["pq"] == 1
    assert math.isnan(result["pannuke"]["bpq"]) and math.isnan(result["pannuke"]["mpq"])
    assert math.isnan(result["detection"]["f1"]) and math.isnan(result["coco"]["mask"]["ap"])
    # PanNuke's protocol skips it, whatever was found there.
    invented = summarise_all(evaluate(task(), [(blank, perfect(PICTURES[0]))]))
    assert invented["instance"]["pq"] == 0 and math.isnan(invented["pannuke"]["bpq"])
