"""Curves: a picture that shows what the log says, or one line that says why not."""

import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nuhtc.runtime.ground.errors import NuhtcError, TrainingError
from nuhtc.training.loop.curves import plot_curves
from nuhtc.training.loop.logs import TrainingLog

PARTS = ("rpn", "semantic", *(f"{kind}_{i}" for i in (1, 2, 3) for kind in ("class", "box")))


def written(folder: Path, rows: int, *, quality: float | None = 0.5, scale: float = 1) -> Path:
    """Write a log of falling losses."""
    folder.mkdir(exist_ok=True)
    with TrainingLog(folder, 0) as log:
        for step in range(1, rows + 1):
            losses = {name: scale * math.exp(-step / (5 + i)) for i, name in enumerate(PARTS)}
            figures = None if quality is None else {"pq": quality * step / rows}
            log.write(step * 10, step * 1.0, losses, 1e-3, figures)
    return folder / "log.csv"


def ink(path: Path) -> float:
    """Return the share of pixels that are not white."""
    with Image.open(path) as picture:
        return float((np.asarray(picture.convert("L")) < 250).mean())


@pytest.mark.parametrize("rows", [1, 2, 30])
@pytest.mark.parametrize("quality", [None, 0.0, 0.6])
def test_curves(tmp_path: Path, rows: int, quality: float | None) -> None:
    out = tmp_path / "curves.png"
    plot_curves(written(tmp_path, rows, quality=quality), out, "tiny")
    with Image.open(out) as picture:
        width, height = picture.size
        picture.verify()
    assert width > 800 and height > (500 if quality is None else 700)
    assert ink(out) > 0.02
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.parametrize("scale", [0.0, 1e-9, 1e6])
def test_losses_of_any_size(tmp_path: Path, scale: float) -> None:
    plot_curves(written(tmp_path, 5, scale=scale), tmp_path / "curves.png", "")
    assert ink(tmp_path / "curves.png") > 0.02


def test_the_text_says_what_is_shown(tmp_path: Path) -> None:
    out = tmp_path / "curves.svg"
    plot_curves(written(tmp_path, 12, quality=0.625), out, "swin_t on pannuke")
    text = out.read_text("utf-8")
    # Matplotlib writes each text beside its outlines.
    for word in ("swin_t on pannuke", "validation PQ", "best 0.625 at step 120", "loss", *PARTS):
        assert f"<!-- {word} -->" in text


def test_a_later_picture_takes_the_place(tmp_path: Path) -> None:
    out = tmp_path / "curves.png"
    log = written(tmp_path, 3)
    plot_curves(log, out, "first")
    before = out.read_bytes()
    plot_curves(log, out, "second")
    assert out.read_bytes() != before


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "holds no row yet"),
        ("step,seconds,learning_rate,validation_pq,loss\n", "holds no row yet"),
        ("step,seconds,learning_rate,validation_pq,loss\n1,1.0,0.1,,0.5", "holds no row yet"),
        ("step,seconds,learning_rate,validation_pq,loss\n1,1.0,oops,,1\n", "line 2 is wrong"),
        ("some,other,table\n1,2,3\n", "does not name a run's columns"),
    ],
)
def test_no_log_no_picture(tmp_path: Path, content: str, reason: str) -> None:
    log, out = tmp_path / "log.csv", tmp_path / "curves.png"
    log.write_text(content, "utf-8")
    out.write_bytes(b"before")
    with pytest.raises(TrainingError, match=reason) as caught:
        plot_curves(log, out, "")
    assert str(caught.value).startswith(str(log)) and "\n" not in str(caught.value)
    assert out.read_bytes() == b"before"


def test_a_missing_log(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"log\.csv: cannot be read \(No such file"):
        plot_curves(tmp_path / "log.csv", tmp_path / "curves.png", "")


@pytest.mark.parametrize("name", ["missing/curves.png", "curves.xyz"])
def test_a_picture_that_cannot_be_written(tmp_path: Path, name: str) -> None:
    with pytest.raises(NuhtcError, match="cannot be written") as caught:
        plot_curves(written(tmp_path / "run", 2), tmp_path / name, "")
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.glob("curves*"))


def test_the_figures_of_a_process_do_not_pile_up(tmp_path: Path) -> None:
    from matplotlib import pyplot

    plot_curves(written(tmp_path, 2), tmp_path / "curves.png", "")
    assert pyplot.get_fignums() == []
