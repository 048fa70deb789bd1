"""An evaluation as a picture: classes, confusion, and how the pictures differ."""

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from nuhtc.training.evaluation.evaluate import Evaluation
from nuhtc.training.evaluation.summary import (
    class_rows,
    confusion_matrix,
    picture_rows,
    summarise_all,
)

PQ_COLOUR, F1_COLOUR = "#3b6fb6", "#e08a2e"


def draw(evaluation: Evaluation, path: Path) -> None:
    """Write a PNG: PQ and F1 by class, the confusion matrix, and PQ over pictures.

    Parameters
    ----------
    evaluation
        What to show.
    path
        The file, whatever its suffix.
    """
    # The settings that a user's matplotlibrc may hold must not change a report.
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        figure = Figure(figsize=(15, 4.8), dpi=110, layout="constrained")
        FigureCanvasAgg(figure)
        bars, heat, spread = figure.subplots(1, 3)
        _bars(bars, evaluation)
        _heat(heat, evaluation)
        _spread(spread, evaluation)
        task = evaluation.task
        figure.suptitle(f"{task.data} ({task.split}), {len(evaluation.pictures)} pictures")
        figure.savefig(path, format="png")


def _bars(axes: Any, evaluation: Evaluation) -> None:
    """Plot PQ and F1 of each class and of all nuclei."""
    summary = summarise_all(evaluation)
    rows = [(row["class"], row["pq"], row["f1"]) for row in class_rows(evaluation)]
    rows.append(("all nuclei", summary["instance"]["pq"], summary["detection"]["f1"]))
    place = np.arange(len(rows))
    for shift, column, name, colour in ((-0.2, 1, "PQ", PQ_COLOUR), (0.2, 2, "F1", F1_COLOUR)):
        values = np.nan_to_num([row[column] for row in rows])
        drawn = axes.bar(place + shift, values, 0.4, label=name, color=colour)
        axes.bar_label(drawn, fmt="%.2f", fontsize=8, padding=1)
    axes.set_xticks(place, [row[0] for row in rows], rotation=20, ha="right")
    axes.set_ylim(0, 1.12)
    axes.set_yticks(np.linspace(0, 1, 6))
    axes.set_title(f"panoptic quality and F1 within {evaluation.radius:g} px")
    axes.legend(loc="upper right", ncols=2, frameon=False)
    axes.spines[["top", "right"]].set_visible(False)


def _heat(axes: Any, evaluation: Evaluation) -> None:
    """Plot the confusion matrix, coloured by each row's shares, labelled with counts."""
    rows, columns, counts = confusion_matrix(evaluation)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for (y, x), count in np.ndenumerate(counts):
        if (y, x) != (len(rows) - 1, len(columns) - 1):
            colour = "white" if shares[y, x] > 0.55 else "black"
            axes.text(x, y, str(count), ha="center", va="center", fontsize=9, color=colour)
    axes.set_xticks(range(len(columns)), columns, rotation=20, ha="right")
    axes.set_yticks(range(len(rows)), rows)
    axes.set_xlabel("predicted")
    axes.set_ylabel("annotated")
    axes.set_title("nuclei; colour: share of the row")


def _spread(axes: Any, evaluation: Evaluation) -> None:
    """Plot the distribution of the pictures' PQ."""
    values = np.array([row["pq"] for row in picture_rows(evaluation)])
    axes.hist(values, np.linspace(0, 1, 21), color=PQ_COLOUR, edgecolor="white")
    axes.axvline(values.mean(), color="black", linestyle="--", label=f"mean {values.mean():.3f}")
    middle = float(np.median(values))
    axes.axvline(middle, color="grey", linestyle=":", label=f"median {middle:.3f}")
    axes.set_xlim(0, 1)
    axes.yaxis.get_major_locator().set_params(integer=True)
    axes.set_xlabel("PQ of a picture")
    axes.set_ylabel("pictures")
    axes.set_title("pictures by panoptic quality")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
