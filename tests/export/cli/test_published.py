"""``nuhtc-export`` on published files: a bundle as published, or one clear line."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from made.exports import Exported

from nuhtc.export.cli import export as cli
from nuhtc.export.cli.export import main
from nuhtc.export.graphs import precisions
from nuhtc.export.graphs.precisions import FLOAT
from nuhtc.export.proof.report import Report
from nuhtc.runtime.bundle.load import load_bundle
from nuhtc.training.data.classes import PANNUKE
from nuhtc.training.network.presets import RESEARCH, UNKNOWN

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

FIVE = ",".join(one.name for one in PANNUKE)


@pytest.fixture
def traced(published: Exported, monkeypatch: pytest.MonkeyPatch) -> None:
    """Graphs that are there already stand in for tracing, which is slow and tested elsewhere."""

    def copy(_: object, folder: Path, **__: object) -> None:
        for name in FLOAT.values():
            shutil.copy(published.float32.path(name), folder / name)

    monkeypatch.setattr(precisions, "export_graphs", copy)


@pytest.fixture
def unproven(traced: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither is the proof run."""
    monkeypatch.setattr(cli, "prove_parity", lambda *_: Report(0, "none", {}, {}))


def failure(capsys: pytest.CaptureFixture[str], argv: list[str], code: int = 1) -> str:
    """Run, expect the code and exactly one line on stderr; return it."""
    assert main(argv) == code
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("nuhtc-export: ")
    return lines[0]


@pytest.mark.usefixtures("traced")
def test_a_published_file_becomes_a_bundle_with_its_proof(
    published: Exported, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "bundle"
    argv = [str(published.checkpoint), "--preset", "swin_t", "--classes", FIVE]
    # Made-up weights put many mask pixels on the brink of the threshold.
    limit = ["--min-mask-iou", "0.95"]
    assert main([*argv, *limit, "--storage", "float16", "--out", str(out)]) == 0
    captured = capsys.readouterr()
    assert captured.err == "" and "Beyond" not in captured.out
    card = load_bundle(out).card
    assert (card.name, card.preset, card.precisions["fp32"].storage) == (
        "swin_t-pannuke",
        "swin_t",
        "float16",
    )
    assert [(c.name, c.color) for c in card.classes] == [(c.name, c.color) for c in PANNUKE]
    assert (card.mpp, card.tile, card.input_scale) == (0.25, 256, 2)
    assert card.detection.nms_per_class and card.detection.score == 0.35
    assert (card.proposals.count, card.detection.count) == (1000, 500)
    assert card.licence == UNKNOWN and [d.licence for d in card.data] == ["unknown"]


@pytest.mark.usefixtures("unproven")
def test_classes_of_the_files_meta(published: Exported, tmp_path: Path) -> None:
    content = torch.load(published.checkpoint, weights_only=True)
    content["meta"] = {
        "CLASSES": ["T", "I", "C", "D", "E"],
        "PALETTE": [(i, 2 * i, 3 * i) for i in range(5)],
    }
    path = tmp_path / "fold 1.pth"
    torch.save(content, path)
    out = tmp_path / "bundle"
    assert main([str(path), "--out", str(out)]) == 0
    card = load_bundle(out).card
    assert [(c.name, c.color) for c in card.classes] == [
        (name, (i, 2 * i, 3 * i)) for i, name in enumerate("TICDE")
    ]
    assert card.precisions["fp32"].storage == "float32", (
        "the numbers as published, unless asked for otherwise"
    )
    assert main([str(path), "--out", str(out), "--classes", "A=#0000fF,B,C,Dead,E"]) == 0
    named = load_bundle(out).card.classes
    assert [c.name for c in named] == ["A", "B", "C", "Dead", "E"]
    assert named[0].color == (0, 0, 255) and named[3].color == PANNUKE[3].color


def test_a_file_without_names_asks_for_them(
    published: Exported, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = failure(capsys, [str(published.checkpoint), "--out", str(tmp_path / "b")])
    assert "its 5 classes" in line and f"--classes {FIVE}" in line


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--classes", "One,Two"], "5 classes, --classes names 2"),
        (["--preset", "lite0"], "is for --preset swin_t, not for lite0"),
    ],
)
def test_options_that_do_not_fit_the_file(
    options: list[str],
    expected: str,
    published: Exported,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    argv = [str(published.checkpoint), "--out", str(tmp_path / "b"), *options]
    assert expected in failure(capsys, argv)
    assert not (tmp_path / "b").exists()


def empty(path: Path) -> None:
    path.write_bytes(b"")


def folder(path: Path) -> None:
    path.mkdir()


def other_weights(path: Path) -> None:
    torch.save({"state_dict": {"layer.weight": torch.zeros(2)}}, path)


def nothing_known(path: Path) -> None:
    torch.save({"model": {}}, path)


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda path: None, "no such file"),
        (folder, "is a folder, no checkpoint; name the file"),
        (empty, "no checkpoint"),
        (other_weights, "1 unknown: layer.weight"),
        (nothing_known, "no 'state_dict'"),
    ],
)
def test_files_that_are_no_checkpoint(
    make: Callable[[Path], object],
    expected: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "bad.pth"
    make(path)
    line = failure(capsys, [str(path), "--preset", "swin_t", "--out", str(tmp_path / "b")])
    assert str(path) in line and expected in line


def test_a_truncated_file(
    published: Exported, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "short.pth"
    path.write_bytes(published.checkpoint.read_bytes()[:1_000_000])
    assert "damaged" in failure(capsys, [str(path), "--out", str(tmp_path / "b")])


@pytest.mark.parametrize("classes", ["", "A,,B", "A,A", "A=red", "A=#12345", "=#123456"])
def test_malformed_classes_are_wrong_usage(
    classes: str, capsys: pytest.CaptureFixture[Any]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["model.pt", "--out", "b", "--classes", classes])
    assert caught.value.code == 2
    assert "argument --classes" in capsys.readouterr().err


@pytest.mark.usefixtures("unproven")
def test_checkpoints_of_ours_have_a_preset_and_classes_of_their_own(
    exported: Exported,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def copy(_: object, folder: Path, **__: object) -> None:
        for name in FLOAT.values():
            shutil.copy(exported.float32.path(name), folder / name)

    monkeypatch.setattr(precisions, "export_graphs", copy)
    argv = [str(exported.checkpoint), "--out", str(tmp_path / "b")]
    assert "is for --preset lite0" in failure(capsys, [*argv, "--preset", "swin_t"])
    assert "3 classes" in failure(capsys, [*argv, "--classes", FIVE])
    assert main([*argv, "--preset", "lite0", "--classes", "X,Y,Z"]) == 0
    card = load_bundle(tmp_path / "b").card
    assert [c.name for c in card.classes] == ["X", "Y", "Z"]
    assert card.precisions["fp32"].storage == "float16" and card.licence == RESEARCH
