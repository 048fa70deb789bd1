"""What people and programs read: the table on the screen, JSON, and the files of ``--out``."""

import csv
import io
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nuhtc.runtime.ground.strict_json import finite
from nuhtc.runtime.ground.whole_files import whole_file
from nuhtc.training.evaluation.evaluate import Evaluation
from nuhtc.training.evaluation.figure import draw
from nuhtc.training.evaluation.summary import (
    QUALITIES,
    Row,
    class_rows,
    confusion_rows,
    picture_rows,
    summarise_all,
    tissue_rows,
)

TITLES = {
    "dice": "Dice",
    "aji": "AJI",
    "aji_plus": "AJI+",
    "dq": "DQ",
    "sq": "SQ",
    "pq": "PQ",
    "bpq": "bPQ",
    "mpq": "mPQ",
    "f1": "F1",
    "near_f1": "near F1",
    "ap_box": "box AP",
    "ap_mask": "mask AP",
    "class": "",
    "tissue": "",
    "annotated": "",
}
"""Column heads that differ from the figures' names."""


def as_json(value: Any) -> str:
    """Return JSON with null where a figure is not known, for JSON knows no nan."""
    return json.dumps(finite(value), indent=1, ensure_ascii=False, allow_nan=False)


def as_text(evaluation: Evaluation) -> str:
    """Return the table for the screen."""
    summary = summarise_all(evaluation)
    detection, coco = summary["detection"], summary["coco"]
    radius = detection.pop("radius_px")
    lines = [
        f"{summary['data']} ({summary['split']}): {summary['pictures']} pictures, "
        f"{summary['nuclei_annotated']} nuclei annotated, {summary['nuclei_found']} found",
        "",
        _line(
            "mean over pictures", {TITLES[name]: summary["instance"][name] for name in QUALITIES}
        ),
        _line("19 times out of 20", {TITLES[k]: summary["intervals"][k] for k in QUALITIES}),
        _line(
            "PanNuke protocol", {TITLES[key]: value for key, value in summary["pannuke"].items()}
        ),
        *(
            _line(title, {TITLES.get(k, k.replace("_", " ")): v for k, v in part.items()})
            for title, part in (
                (f"detection ({radius:g} px)", detection),
                ("near pairs", summary["near"]),
            )
        ),
        *(
            _line(f"COCO {key.replace('_', ' ')}", {name.upper(): v for name, v in part.items()})
            for key, part in coco.items()
        ),
    ]
    for rows, drop in (
        (summary["classes"], ()),
        (summary["tissues"], [key for row in summary["tissues"][:1] for key in row if " " in key]),
        (confusion_rows(evaluation), ()),
    ):
        if rows:
            lines += ["", *_table(rows, drop)]
    lines += [f"note: {note}" for note in evaluation.notes]
    return "\n".join(lines)


def write_report(folder: Path, evaluation: Evaluation) -> None:
    """Write all files of one data set; each appears whole or not at all.

    Parameters
    ----------
    folder
        An existing folder.
    evaluation
        What to write.

    Raises
    ------
    OutputError
        A file cannot be written.
    """
    tables = {
        "images": ("name", picture_rows(evaluation)),
        "classes": ("class", class_rows(evaluation)),
        "tissues": ("tissue", tissue_rows(evaluation)),
        "confusion": ("annotated", confusion_rows(evaluation)),
    }
    for name, (first, rows) in tables.items():
        _write_text(folder / f"{name}.csv", _csv(rows, first))
    _write_text(folder / "summary.json", as_json(summarise_all(evaluation)) + "\n")
    with whole_file(folder / "evaluation.png") as partial:
        draw(evaluation, partial)


def _write_text(path: Path, text: str) -> None:
    with whole_file(path) as partial:
        partial.write_text(text, encoding="utf-8", newline="")


def _csv(rows: Sequence[Row], first: str) -> str:
    """Write rows under a head, which is there without rows too; unknown figures are empty cells."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]) if rows else [first], lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: _cell(value) for key, value in row.items()} for row in rows)
    return text.getvalue()


def _cell(value: Any) -> Any:
    if not isinstance(value, float):
        return value
    return "" if math.isnan(value) else f"{value:.6f}"


def _line(title: str, figures: dict[str, Any]) -> str:
    return f"{title:<24}" + "  ".join(f"{name} {_figure(value)}" for name, value in figures.items())


def _table(rows: Sequence[Row], drop: Sequence[str]) -> list[str]:
    """Write rows as text in columns as wide as their widest cell."""
    keys = [key for key in rows[0] if key not in drop]
    cells = [[TITLES.get(key, key.replace("_", " ")) for key in keys]]
    cells += [[_figure(row[key]) for key in keys] for row in rows]
    widths = [max(len(line[column]) for line in cells) for column in range(len(keys))]
    return [
        "  ".join(
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in cells
    ]


def _figure(value: Any) -> str:
    if isinstance(value, tuple):
        return "-".join(f"{one:.3f}" for one in value)
    if not isinstance(value, float):
        return str(value)
    return "-" if math.isnan(value) else f"{value:.4f}"
