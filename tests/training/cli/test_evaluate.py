"""``nuhtc-eval`` as people call it: tables, files, JSON, and what it says when it cannot."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from fakes.oracle import OracleEngine, paint
from made.evaluated import made_picture, made_prediction
from made.made_nuclei import made_bundle
from PIL import Image

from nuhtc.training.cli import evaluate as cli
from nuhtc.training.cli.evaluate import main
from nuhtc.training.predictions import bundle_model as predict_bundle
from nuhtc.training.predictions.prediction import Prediction
from nuhtc.training.predictions.save import saving

FILES = ("classes.csv", "confusion.csv", "evaluation.png", "images.csv", "summary.json",
         "tissues.csv")  # fmt: skip


def write_set(root: Path, typed: bool = True, seeds: Sequence[int] = range(3)) -> Path:
    """Write pictures that the oracle can read; returns the folder."""
    (root / "images").mkdir(parents=True)
    (root / "labels").mkdir()
    for seed in seeds:
        image = made_picture(seed, 128)
        assert image.types is not None
        Image.fromarray(paint(image.instances)).save(root / "images" / f"{image.name}.png")
        arrays = {"inst_map": image.instances}
        if typed:
            arrays["type_map"] = (image.types + 1)[image.instances] * (image.instances > 0)
        np.savez(root / "labels" / f"{image.name}.npz", **arrays)
    return root


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_set(tmp_path / "consep")


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A folder of CoNSeP files for the made pictures."""
    images = [made_picture(seed, 128) for seed in range(3)]
    with saving("consep", tmp_path, [image.name for image in images], None) as save:
        for place, image in enumerate(images):
            found = made_prediction(image)
            save(place, Prediction(found.instances, found.types, found.scores))
    (tmp_path / "consep" / "predictions.json").unlink()
    return (tmp_path / "consep").rename(tmp_path / "found")


@pytest.fixture
def bundle(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setattr(predict_bundle, "load_bundle", made_bundle)
    monkeypatch.setattr(predict_bundle, "engine_for", lambda *_, **__: OracleEngine())
    (tmp_path / "bundle").mkdir()
    return tmp_path / "bundle"


def run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def fails(capsys: pytest.CaptureFixture[str], words: str, *arguments: object) -> None:
    """Run and expect exit 1 with one line that holds the words."""
    assert run(*arguments) == 1
    out, error = capsys.readouterr()
    assert out == "" and error.startswith("nuhtc-eval: ") and error.count("\n") == 1
    assert words in error and "Traceback" not in error


def test_saved_predictions_as_a_table_and_files(
    saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_set(tmp_path / "consep")
    out = tmp_path / "new" / "out"
    assert run("--predictions", saved, "--data", data, "--split", "all", "--out", out) == 0
    text, error = capsys.readouterr()
    assert error == ""
    assert text.startswith("consep (all): 3 pictures, ")
    for word in ("AJI+", "bPQ", "mPQ", "type accuracy", "COCO mask", "Spindle", "missed"):
        assert word in text
    assert tuple(sorted(path.name for path in out.iterdir())) == FILES
    with Image.open(out / "evaluation.png") as picture:
        assert picture.size[0] > 1000
    summary = json.loads((out / "summary.json").read_text())
    with (out / "images.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == ["made-0", "made-1", "made-2"]
    mean = np.mean([float(row["pq"]) for row in rows])
    assert summary["instance"]["pq"] == pytest.approx(mean, abs=1e-6)
    with (out / "confusion.csv").open(newline="") as file:
        table = list(csv.reader(file))
    assert table[0] == ["annotated", "Other", "Inflammatory", "Epithelial", "Spindle", "missed"]
    assert [row[0] for row in table[1:]] == [*table[0][1:-1], "invented"]
    assert (out / "tissues.csv").read_text() == "tissue\n", "none is named"


def test_json_holds_the_same(
    saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = write_set(tmp_path / "consep"), tmp_path / "out"
    command = ("--predictions", saved, "--data", data, "--split", "all", "--out", out, "--json")
    assert run(*command) == 0
    printed = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert printed["results"] == [json.loads((out / "summary.json").read_text())]


def test_a_bundle_on_two_sets_with_saving(
    bundle: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other, out = write_set(tmp_path / "other", typed=False), tmp_path / "out"
    command = (bundle, "--data", data, other, "--split", "all", "--out", out, "--save", "consep")
    assert run(*command) == 0
    text, error = capsys.readouterr()
    assert "consep (all)" in text and "other (all)" in text and error == ""
    assert "note: no class measures: the data set has no classes" in text
    for name in ("consep", "other"):
        assert set(FILES) < {path.name for path in (out / name).iterdir()}
        assert len(list((out / name / "consep").glob("*.mat"))) == 3
        summary = json.loads((out / name / "summary.json").read_text())
        assert summary["detection"]["f1"] == summary["near"]["f1"] == 1
    # What was saved evaluates to the same.
    first = json.loads((out / "consep" / "summary.json").read_text())
    again = ("--predictions", out / "consep" / "consep", "--data", data, "--split", "all", "--json")
    assert run(*again) == 0
    [second] = json.loads(capsys.readouterr().out)["results"]
    assert first.pop("source") == str(bundle) != second.pop("source")
    assert second == first


def test_the_default_is_what_was_held_out(
    saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_set(tmp_path / "tnbc", seeds=[0])
    (data / "images" / "made-0.png").rename(data / "images" / "03_1.png")
    (data / "labels" / "made-0.npz").rename(data / "labels" / "03_1.npz")
    fails(capsys, "no prediction for 1 of 1 pictures: 03_1", "--predictions", saved, "--data", data)
    words = "none of its 1 pictures is in the split train"
    fails(capsys, words, "--predictions", saved, "--data", data, "--split", "train")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "either BUNDLE_OR_CHECKPOINT or --predictions"),
        (["model.pt", "--predictions", "x"], "either BUNDLE_OR_CHECKPOINT or --predictions"),
        (["--predictions", "x", "--data", "a", "b"], "of one data set"),
        (["model.pt", "--save", "consep"], "--save writes to --out"),
        (["model.pt", "--save", "png"], "there is pannuke, consep"),
        (["model.pt", "--tile", "100"], "--tile must be a multiple of 32"),
        (["model.pt", "--threads", "-1"], "--threads must be 0 or more"),
        (["model.pt", "--classes", "A,A"], "a name comes twice"),
    ],
)
def test_wrong_use(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    if "--data" not in arguments:
        arguments = [*arguments, "--data", "a"]
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert words in capsys.readouterr().err


def test_what_cannot_be_used(
    saved: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fails(capsys, "no such bundle or checkpoint", tmp_path / "no.pt", "--data", data)
    fails(
        capsys, "no such file", "--predictions", tmp_path / "no", "--data", data, "--split", "all"
    )
    fails(capsys, str(tmp_path / "no"), "--predictions", saved, "--data", tmp_path / "no")
    (tmp_path / "file").touch()
    command = ("--predictions", saved, "--data", data, "--split", "all", "--out")
    fails(capsys, "cannot be written", *command, tmp_path / "file")
    small = write_set(tmp_path / "small" / "consep")
    Image.new("RGB", (9, 9)).save(small / "images" / "made-0.png")
    np.savez(small / "labels" / "made-0.npz", inst_map=np.zeros((9, 9), int),
             type_map=np.zeros((9, 9), int))  # fmt: skip
    words = f"{saved}: for made-0 it is 128x128 pixels, the picture 9x9"
    fails(capsys, words, "--predictions", saved, "--data", small, "--split", "all")
    (saved / "made-1.mat").write_bytes(b"")
    fails(capsys, "made-1.mat: damaged or truncated", *command, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == [], "nothing half done"


def test_two_sets_of_one_name(
    bundle: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = write_set(tmp_path / "x" / "consep")
    fails(capsys, "two data sets consep", bundle, "--data", data, other)


def test_stopped_by_hand(
    monkeypatch: pytest.MonkeyPatch, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_evaluate", stop)
    assert run("model.pt", "--data", data) == 130
    assert "stopped" in capsys.readouterr().err
