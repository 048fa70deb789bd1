"""A picture of how a training went: loss and validation PQ over the steps."""

import math
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from nuhtc.runtime.ground.errors import TrainingError, first_line
from nuhtc.runtime.ground.whole_files import whole_file
from nuhtc.training.loop.logs import FIRST_COLUMNS, LogTable, read_log

DASHES = ("-", "--", ":")
"""Of the parts of the loss, once the ten colours are used up."""


def plot_curves(log_csv: Path, out: Path, title: str) -> None:
    """Draw a run's curves.

    Parameters
    ----------
    log_csv
        What :class:`nuhtc.training.loop.logs.TrainingLog` wrote.
    out
        The picture, written whole or not at all; its suffix says the format (``.png``,
        ``.svg``, ``.pdf``).
    title
        Stands above the curves.

    Raises
    ------
    TrainingError
        The log is missing, damaged or holds no row, or the picture cannot be written.
    """
    table = read_log(log_csv)
    if not table.rows:
        raise TrainingError(f"{log_csv}: holds no row yet, so there are no curves to draw")
    steps = table.numbers("step")
    quality = table.numbers("validation_pq")
    measured = [i for i, value in enumerate(quality) if math.isfinite(value)]

    figure = Figure(figsize=(9, 7.5 if measured else 5), layout="constrained")
    figure.suptitle(title)
    if measured:
        axes, below = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
        below.plot([steps[i] for i in measured], [quality[i] for i in measured], "k.-")
        best = max(measured, key=lambda i: quality[i])
        below.set_title(f"best {quality[best]:.3f} at step {steps[best]:.0f}", fontsize="small")
        below.set(ylabel="validation PQ", ylim=(0, None), xlabel="step")
        below.grid(alpha=0.3)
    else:
        axes = figure.subplots()
        axes.set_xlabel("step")
    _plot_losses(axes, table, steps)
    _save(figure, out)


def _plot_losses(axes: Axes, table: LogTable, steps: list[float]) -> None:
    """Plot the loss and its parts, which a log axis keeps apart."""
    # A lone point would be an empty picture without its mark.
    marker = "." if len(steps) < 3 else ""
    parts = table.columns[len(FIRST_COLUMNS) :]
    curves = {name: table.numbers(name) for name in ("loss", *parts)}
    axes.plot(steps, curves["loss"], color="black", linewidth=2, marker=marker, label="loss")
    for number, name in enumerate(parts):
        axes.plot(
            steps,
            curves[name],
            color=f"C{number % 10}",
            linestyle=DASHES[number // 10 % len(DASHES)],
            linewidth=1,
            marker=marker,
            label=name,
        )
    positive = [v for values in curves.values() for v in values if math.isfinite(v) and v > 0]
    if positive:
        axes.set_yscale("log")
        # A part that nearly vanishes must not press the others together.
        low = max(min(positive), max(positive) / 1e4)
        axes.set_ylim(low / 1.5, max(positive) * 1.5)
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_ylabel("loss")
    axes.grid(alpha=0.3)
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize="small", frameon=False)


def _save(figure: Figure, out: Path) -> None:
    """Write the picture under another name, then give it its own."""
    try:
        with whole_file(out) as partial:
            figure.savefig(partial, format=out.suffix.lstrip(".") or "png", dpi=110)
    except ValueError as error:
        raise TrainingError(f"{out}: the curves cannot be written ({first_line(error)})") from error
