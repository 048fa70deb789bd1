"""From single pictures to figures: means over pictures, classes and tissues, as plain values."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nuhtc.training.evaluation.evaluate import Evaluation, PictureResult
from nuhtc.training.evaluation.intervals import intervals
from nuhtc.training.measures.coco_ap import AveragePrecision
from nuhtc.training.measures.hovernet_protocol import detection_scores
from nuhtc.training.measures.instance import InstanceQuality
from nuhtc.training.measures.pannuke_protocol import group, mean, mean_over_tissues, picture_mpq

QUALITIES = ("dice", "aji", "aji_plus", "dq", "sq", "pq")

Row = dict[str, Any]


def summarise_all(evaluation: Evaluation) -> Row:
    """Return all figures of a data set, as ``summary.json`` holds them; nan where unknown."""
    pictures = evaluation.pictures
    tissues = [picture.tissue for picture in pictures]
    typed = bool(evaluation.classes)
    task = evaluation.task
    row: Row = {
        "source": task.source,
        "data": task.data,
        "split": task.split,
        "pictures": len(pictures),
        "nuclei_annotated": sum(picture.truth for picture in pictures),
        "nuclei_found": sum(picture.found for picture in pictures),
        "instance": _means(picture.quality for picture in pictures),
        "pannuke": {"bpq": mean_over_tissues([_bpq(picture) for picture in pictures], tissues)},
        "detection": {
            "radius_px": evaluation.radius,
            **_detection(evaluation, sum_tables(pictures)),
        },
        "near": _detection(evaluation, sum_near_tables(pictures)),
        "coco": {"box": asdict(evaluation.coco.box), "mask": asdict(evaluation.coco.mask)},
    }
    if typed:
        mpq = [picture_mpq(picture.classes) for picture in pictures]
        row["pannuke"]["mpq"] = mean_over_tissues(mpq, tissues)
        row["coco"]["box_class_mean"] = _class_mean(evaluation.coco.class_box)
        row["coco"]["mask_class_mean"] = _class_mean(evaluation.coco.class_mask)
    rows, columns, counts = confusion_matrix(evaluation)
    row["intervals"] = intervals(pictures, QUALITIES, evaluation.classes)
    row["classes"] = class_rows(evaluation)
    row["tissues"] = tissue_rows(evaluation)
    row["images"] = picture_rows(evaluation)
    row["confusion"] = {"rows": rows, "columns": columns, "counts": counts.tolist()}
    row["notes"] = list(evaluation.notes)
    return row


def picture_rows(evaluation: Evaluation) -> list[Row]:
    """Return one row for each picture."""
    rows = []
    for picture in evaluation.pictures:
        quality = picture.quality
        row: Row = {
            "name": picture.name,
            "tissue": picture.tissue or "",
            "truth": picture.truth,
            "found": picture.found,
            **{name: getattr(quality, name) for name in QUALITIES},
            "matched": quality.matched,
            "missed": quality.missed,
            "invented": quality.invented,
            "bpq": _bpq(picture),
        }
        if evaluation.classes:
            row["mpq"] = picture_mpq(picture.classes)
        row |= _with_classes(evaluation, [picture])
        for name, of_class in zip(evaluation.classes, picture.classes, strict=True):
            row[f"pq {name}"] = of_class.pq if of_class else float("nan")
        rows.append(row)
    return rows


def class_rows(evaluation: Evaluation) -> list[Row]:
    """Return one row for each class: means over the pictures whose annotation holds it."""
    table = sum_tables(evaluation.pictures)
    scores, coco = detection_scores(table), evaluation.coco
    near = detection_scores(sum_near_tables(evaluation.pictures))
    rows = []
    for index, name in enumerate(evaluation.classes):
        present = [picture.classes[index] for picture in evaluation.pictures]
        known = [quality for quality in present if quality is not None]
        rows.append(
            {
                "class": name,
                "pictures": len(known),
                "truth": int(table[index].sum()),
                "found": int(table[:, index].sum()),
                **_means(known),
                "f1": scores.class_f1[index],
                "near_f1": near.class_f1[index],
                "ap_box": coco.class_box[index].ap,
                "ap_mask": coco.class_mask[index].ap,
            }
        )
    return rows


def tissue_rows(evaluation: Evaluation) -> list[Row]:
    """Return one row for each tissue, none where no picture names its tissue."""
    tissues = [picture.tissue for picture in evaluation.pictures]
    if not any(tissues):
        return []
    rows = []
    for tissue, pictures in group(evaluation.pictures, tissues).items():
        row: Row = {
            "tissue": tissue,
            "pictures": len(pictures),
            "truth": sum(picture.truth for picture in pictures),
            "found": sum(picture.found for picture in pictures),
            **_means(picture.quality for picture in pictures),
            "bpq": mean(_bpq(picture) for picture in pictures),
        }
        if evaluation.classes:
            row["mpq"] = mean(picture_mpq(picture.classes) for picture in pictures)
        row |= _with_classes(evaluation, pictures)
        for index, name in enumerate(evaluation.classes):
            ones = (picture.classes[index] for picture in pictures)
            row[f"pq {name}"] = mean(one.pq for one in ones if one)
        rows.append(row)
    return rows


def confusion_matrix(evaluation: Evaluation) -> tuple[list[str], list[str], NDArray[np.int64]]:
    """Return the rows (annotated), columns (predicted) and counts of nuclei paired by centroids.

    The last row counts the invented, the last column the missed.
    """
    table = sum_tables(evaluation.pictures)
    names = list(evaluation.classes)
    rest = len(names)
    if not names:
        names = ["nucleus"]
    elif table[rest].any() or table[:, rest].any():
        names.append("no shared class")
    else:
        table = np.delete(np.delete(table, rest, axis=0), rest, axis=1)
    return [*names, "invented"], [*names, "missed"], table


def confusion_rows(evaluation: Evaluation) -> list[Row]:
    """Return the confusion matrix, a row for each annotated class."""
    rows, columns, counts = confusion_matrix(evaluation)
    return [
        {"annotated": name, **dict(zip(columns, line, strict=True))}
        for name, line in zip(rows, counts.tolist(), strict=True)
    ]


def sum_tables(pictures: Sequence[PictureResult]) -> NDArray[np.int64]:
    """Return the confusion of all pictures together."""
    total: NDArray[np.int64] = np.sum([picture.table for picture in pictures], axis=0)
    return total


def sum_near_tables(pictures: Sequence[PictureResult]) -> NDArray[np.int64]:
    """Return the same by near pairs."""
    total: NDArray[np.int64] = np.sum([picture.near_table for picture in pictures], axis=0)
    return total


def _means(qualities: Iterable[InstanceQuality]) -> Row:
    """Return the means over pictures."""
    known = list(qualities)
    return {name: mean(getattr(quality, name) for quality in known) for name in QUALITIES}


def _bpq(picture: PictureResult) -> float:
    """Return PanNuke's binary PQ, which skips pictures without annotated nuclei."""
    return picture.quality.pq if picture.truth else float("nan")


def _detection(evaluation: Evaluation, table: NDArray[np.int64]) -> Row:
    """Return the detection scores of a table."""
    scores = detection_scores(table)
    row: Row = {"precision": scores.precision, "recall": scores.recall, "f1": scores.f1}
    if evaluation.classes:
        row["type_accuracy"] = scores.type_accuracy
    return row


def _with_classes(evaluation: Evaluation, pictures: Sequence[PictureResult]) -> Row:
    """Return the detection scores of some pictures together, and each class's."""
    table = sum_tables(pictures)
    row = _detection(evaluation, table)
    row["near_f1"] = detection_scores(sum_near_tables(pictures)).f1
    for name, value in zip(evaluation.classes, detection_scores(table).class_f1, strict=True):
        row[f"f1 {name}"] = value
    return row


def _class_mean(each: Sequence[AveragePrecision]) -> Row:
    """Return COCO's mean over classes."""
    return {name: mean(getattr(one, name) for one in each) for name in ("ap", "ap50", "ap75")}
