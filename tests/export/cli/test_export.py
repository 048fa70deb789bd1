"""``nuhtc-export``: a bundle and its proof, or one clear line and no bundle.

Tracing the graphs is slow and tested elsewhere; here graphs that are there already stand
in for it, and everything around it is real.
"""

import errno
import json
import shutil
from dataclasses import replace
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made.exports import Exported, export_trained
from PIL import Image

from nuhtc.export.cli.export import main
from nuhtc.export.graphs import precisions
from nuhtc.export.graphs.precisions import FLOAT, HALF, INTEGER
from nuhtc.export.graphs.write_bundle import card_in
from nuhtc.export.proof.example_tiles import example_tiles, read_tiles
from nuhtc.runtime.bundle.card import PROOF_FILES
from nuhtc.runtime.bundle.load import Bundle, load_bundle
from nuhtc.runtime.ground.errors import SlideError
from nuhtc.training.network.presets import RESEARCH

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def stand_in(monkeypatch: pytest.MonkeyPatch, graphs: Bundle) -> None:
    def copy(_: object, folder: Path, **__: object) -> None:
        for name in FLOAT.values():
            shutil.copy(graphs.path(name), folder / name)

    monkeypatch.setattr(precisions, "export_graphs", copy)


@pytest.fixture(autouse=True)
def traced(exported: Exported, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, exported.float32)


@pytest.fixture(scope="module")
def trained_once(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return export_trained(tmp_path_factory.mktemp("trained"))


@pytest.fixture
def trained(trained_once: Exported, traced: None, monkeypatch: pytest.MonkeyPatch) -> Exported:
    """For what must keep the limits: random heads leave mask pixels on the brink of 0.5."""
    stand_in(monkeypatch, trained_once.float32)
    return trained_once


def failure(capsys: pytest.CaptureFixture[str], argv: list[str], code: int = 1) -> str:
    """Run, expect the code and exactly one line on stderr; return it."""
    assert main(argv) == code
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("nuhtc-export: ")
    return lines[0]


@pytest.mark.parametrize("storage", ["float16", "float32"])
def test_a_bundle_and_its_proof(
    trained: Exported, tmp_path: Path, capsys: pytest.CaptureFixture[str], storage: str
) -> None:
    out = tmp_path / "deep" / "bundle"
    argv = [str(trained.checkpoint), "--out", str(out)]
    assert main(argv if storage == "float16" else [*argv, "--storage", storage]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    for output in ("trunk.fine4", "trunk.scores", "heads.boxes", "heads.probabilities", "masks"):
        assert output in captured.out
    assert "All within the limits" in captured.out and str(out) in captured.out
    card = load_bundle(out).card
    assert card.precisions["fp32"].storage == storage
    assert [(c.name, c.color) for c in card.classes] == [
        (c.name, c.color) for c in trained.info.classes
    ]
    assert {path.name for path in out.iterdir()} == {"card.json", *FLOAT.values(), *PROOF_FILES}
    assert [path.name for path in out.parent.iterdir()] == ["bundle"], "no leftovers"


def test_all_precisions_in_one_archive(
    exported: Exported, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "bundle.zip"
    # How near random heads come in int8 says nothing; a trained network is measured elsewhere.
    loose = ["--min-agreement", "0", "--min-mask-iou", "0", "--max-feature-difference", "99"]
    argv = [str(exported.checkpoint), "--out", str(out), "--fp32", "--fp16", "--int8", *loose]
    assert main(argv) == 0, capsys.readouterr()
    assert [path.name for path in tmp_path.iterdir()] == ["bundle.zip"]
    bundle = load_bundle(out)
    card = bundle.card
    assert set(card.files) == {*FLOAT.values(), *HALF.values(), *INTEGER.values(), *PROOF_FILES}
    assert [card.precisions[name].storage for name in ("fp32", "fp16", "int8")] == [
        "float16",
        "float16",
        "int8",
    ]
    assert card.precisions["int8"].heads == card.precisions["fp32"].heads == "heads.onnx"
    assert "made-up" in card.precisions["int8"].calibration
    assert card.precisions["fp32"].calibration == ""
    proof = json.loads(bundle.path("parity.json").read_bytes())
    assert set(proof["precisions"]) == {"fp32", "fp16", "int8"} and proof["passes"]
    assert bundle.path("parity.md").read_text() in capsys.readouterr().out
    assert main([*argv[:3], *loose]) == 0, "an older archive is replaced"
    assert set(load_bundle(out).card.precisions) == {"fp32"}


def test_fp16_alone_is_half_the_size(trained: Exported, tmp_path: Path) -> None:
    out = tmp_path / "bundle"
    assert main([str(trained.checkpoint), "--out", str(out), "--fp16"]) == 0
    card = load_bundle(out).card
    assert set(card.precisions) == {"fp16"} and set(card.files) == {*HALF.values(), *PROOF_FILES}
    whole = trained.float32.card.files
    size = sum(card.files[name].size for name in HALF.values())
    assert size < 0.53 * sum(whole[name].size for name in FLOAT.values())


def test_int8_alone_brings_the_graphs_it_shares(exported: Exported, tmp_path: Path) -> None:
    picture(tmp_path / "calibration" / "a.png", 256, 256)
    argv = [str(exported.checkpoint), "--out", str(tmp_path / "bundle"), "--int8"]
    argv += ["--calibration", str(tmp_path / "calibration"), "--max-feature-difference", "99"]
    assert main([*argv, "--min-agreement", "0", "--min-mask-iou", "0"]) == 0
    card = load_bundle(tmp_path / "bundle").card
    assert set(card.files) == {*INTEGER.values(), *PROOF_FILES}
    assert card.precisions["int8"].calibration == ("the middles of 1 pictures of calibration")


def test_an_archive_of_something_else_is_left(
    exported: Exported, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "photos.zip"
    out.write_bytes(b"memories")
    assert "no bundle" in failure(capsys, [str(exported.checkpoint), "--out", str(out)])
    assert out.read_bytes() == b"memories"


def test_a_card_tells_what_the_checkpoint_is(exported: Exported) -> None:
    card = exported.float32.card
    assert card.name == "lite0-made" and card.preset == "lite0"
    assert (card.mpp, card.tile, card.input_scale, card.multiple) == (0.25, 256, 1.5, 64)
    assert card.metrics == {"made-up": {"images": 2.0, "pq": 0.5}}
    assert [(d.name, d.licence, d.source) for d in card.data] == [
        ("Made up", "none needed", "nobody")
    ]
    assert card.licence == RESEARCH
    assert (card.detection.score, card.detection.count) == (0.17, 500)
    assert (card.proposals.count, card.proposals.min_side, card.proposals.score) == (400, 5, 0.95)


def test_a_card_without_data(exported: Exported) -> None:
    info = replace(exported.info, data=())
    card = card_in(exported.preset, info, exported.float32.card.precisions, exported.float32.folder)
    assert card.name == "lite0"


@pytest.mark.parametrize(
    "option", ["--max-box-difference", "--max-feature-difference", "--max-probability-difference"]
)
@pytest.mark.parametrize("limit", ["0", "nan"])
def test_too_far_from_pytorch(
    exported: Exported, tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str, limit: str
) -> None:
    argv = [str(exported.checkpoint), "--out", str(tmp_path / "bundle"), option, limit]
    assert main(argv) == 1
    captured = capsys.readouterr()
    assert "Beyond the limits" in captured.out
    assert len(captured.err.splitlines()) == 1 and "too far" in captured.err
    assert not list(tmp_path.iterdir()), "what fails its proof is not left behind"


def test_checkpoints_that_are_none(
    exported: Exported, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truncated = tmp_path / "truncated.pt"
    truncated.write_bytes(exported.checkpoint.read_bytes()[:5000])
    text = tmp_path / "text.pt"
    text.write_text("no checkpoint")
    for path in (truncated, text, tmp_path / "missing.pt", tmp_path):
        line = failure(capsys, [str(path), "--out", str(tmp_path / "bundle")])
        assert str(path) in line
    assert not (tmp_path / "bundle").exists()


def test_an_out_that_holds_something_else(
    exported: Exported, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, file = tmp_path / "papers", tmp_path / "file"
    folder.mkdir()
    (folder / "thesis.txt").write_text("years of work")
    (folder / "card.json").write_text("{}")
    file.write_text("mine")
    for out in (folder, file):
        line = failure(capsys, [str(exported.checkpoint), "--out", str(out)])
        assert str(out) in line and "--out" in line
    assert (folder / "thesis.txt").read_text() == "years of work"
    assert file.read_text() == "mine"
    assert {path.name for path in tmp_path.iterdir()} == {"papers", "file"}


def test_an_out_below_a_file(
    exported: Exported, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    line = failure(capsys, [str(exported.checkpoint), "--out", str(tmp_path / "file" / "bundle")])
    assert "cannot be written" in line


def test_an_older_bundle_or_an_empty_folder_is_replaced(
    trained: Exported, bundle_copy: Path, tmp_path: Path
) -> None:
    (bundle_copy / "card.json").write_text("an old one")
    (tmp_path / "empty").mkdir()
    for out in (bundle_copy, tmp_path / "empty"):
        assert main([str(trained.checkpoint), "--out", str(out)]) == 0
        assert load_bundle(out).card.precisions["fp32"].storage == "float16"


@pytest.mark.parametrize(
    ("trouble", "code"),
    [(KeyboardInterrupt(), 130), (OSError(errno.ENOSPC, "No space left on device"), 1)],
)
def test_trouble_on_the_way_leaves_the_old_bundle_and_nothing_else(
    exported: Exported,
    bundle_copy: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    trouble: BaseException,
    code: int,
) -> None:
    def stop(_: object, folder: Path, **__: object) -> None:
        (folder / "trunk.onnx").write_bytes(b"half of it")
        raise trouble

    before = load_bundle(bundle_copy).digest
    monkeypatch.setattr(precisions, "export_graphs", stop)
    failure(capsys, [str(exported.checkpoint), "--out", str(bundle_copy)], code)
    assert load_bundle(bundle_copy).digest == before
    assert [path.name for path in bundle_copy.parent.iterdir()] == [bundle_copy.name]


def picture(path: Path, width: int, height: int) -> None:
    rng = np.random.default_rng(width)
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(path)


def test_tiles_from_pictures(tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    picture(folder / "a.png", 70, 100)
    picture(folder / "small.png", 63, 200)
    picture(folder / "b.tif", 64, 64)
    (folder / "notes.txt").write_text("no picture")
    tiles = read_tiles(folder, 64).rgb
    assert tiles.shape == (2, 64, 64, 3) and tiles.dtype == np.uint8
    with Image.open(folder / "a.png") as whole:
        assert np.array_equal(tiles[0], np.asarray(whole)[18:82, 3:67])


def test_the_first_eight_pictures_do(tmp_path: Path) -> None:
    for i in range(10):
        picture(tmp_path / "pictures" / f"{i}.png", 32, 32 + i)
    assert read_tiles(tmp_path / "pictures", 32).rgb.shape == (8, 32, 32, 3)


def test_folders_without_a_fitting_picture(tmp_path: Path) -> None:
    picture(tmp_path / "pictures" / "small.png", 63, 200)
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "a.png").write_bytes(b"no picture")
    for name in ("pictures", "damaged", "missing"):
        with pytest.raises(SlideError, match=name):
            read_tiles(tmp_path / name, 64)


def test_missing_pictures_cost_no_export(
    exported: Exported, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "bundle"
    argv = [str(exported.checkpoint), "--out", str(out), "--tiles", str(tmp_path / "missing")]
    assert "missing" in failure(capsys, argv)
    assert not out.exists()


def test_made_up_tiles_are_always_the_same() -> None:
    tiles = example_tiles(64)
    assert tiles.shape == (2, 64, 64, 3) and tiles.dtype == np.uint8
    assert np.array_equal(tiles, example_tiles(64))
    dark = (tiles[0].mean(axis=2) < 140).mean()
    assert 0.02 < dark < 0.9, "discs and background"


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["model.pt"],
        ["--out", "bundle"],
        ["model.pt", "--out", "b", "--storage", "int1"],
        ["model.pt", "--out", "b", "--calibration", "pictures"],
        ["model.pt", "--out", "b", "--max-box-difference", "far"],
    ],
)
def test_wrong_usage(argv: list[str], capsys: pytest.CaptureFixture[Any]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(argv)
    assert caught.value.code == 2
    assert "nuhtc-export" in capsys.readouterr().err


def test_help_names_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    for option in ("--out", "--int8", "--storage", "--calibration", "--data", "--max-pq-loss"):
        assert option in text


def test_the_command_is_installed() -> None:
    (script,) = entry_points(group="console_scripts", name="nuhtc-export")
    assert script.load() is main
