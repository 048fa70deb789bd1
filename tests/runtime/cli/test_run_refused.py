"""`nuhtc-run` where something is wrong: what it says, its exit code, and what it leaves."""

import json
import os

import numpy as np
import pytest
from fakes.oracle import OracleEngine
from numpy.typing import NDArray
from places import SHARED
from programs.typed_run import names, outputs, run

import nuhtc.runtime.bundle.load
import nuhtc.runtime.pipeline.segment
from nuhtc.runtime.cli.run import main
from nuhtc.runtime.engines.engine import Detections
from nuhtc.runtime.ground.errors import SlideReadError

DATA = SHARED / "data" / "wsi"


@pytest.mark.parametrize("other", ["in/a.bmp", "elsewhere/a.png", "in/A.png"])
def test_two_inputs_never_write_the_same_file(oracle, picture, tmp_path, capsys, other) -> None:
    assert run(picture(), picture(other), "--out", tmp_path / "out") == 2
    assert "would both write" in capsys.readouterr().err
    assert oracle.tiles == 0
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--mpp 0", "--mpp"),
        ("--mpp -1", "--mpp"),
        ("--mpp nan", "--mpp"),
        ("--mpp 40x", "--mpp"),
        ("--tile 100", "multiple of 32"),
        ("--tile 0", "--tile"),
        ("--tile 65536", "--tile"),
        ("--tile 64 --overlap 33", "--overlap"),
        ("--overlap -1", "--overlap"),
        ("--score 1.1", "--score"),
        ("--score nan", "--score"),
        ("--min-area -1", "--min-area"),
        ("--min-area inf", "--min-area"),
        ("--threads 0", "--threads"),
        ("--batch 0", "--batch"),
        ("--format paper", "--format"),
        ("--engine steam", "--engine"),
        ("--tyle 128", "--tyle"),
    ],
)
def test_wrong_usage_is_refused_before_anything_runs(
    oracle, picture, tmp_path, capsys, options, said
) -> None:
    argv = [str(picture()), "--out", str(tmp_path / "out"), *options.split()]
    try:
        code = main(argv)
    except SystemExit as leaving:
        code = leaving.code
    assert code == 2
    message = capsys.readouterr().err
    assert said in message
    assert "nuhtc-run: " in message
    assert oracle.tiles == 0
    assert not (tmp_path / "out").exists()


def test_where_to_write_must_be_said(oracle, picture, capsys) -> None:
    assert run(picture()) == 2
    assert "--out DIR" in capsys.readouterr().err


def test_one_bad_slide_does_not_stop_the_others(oracle, picture, tmp_path, capsys) -> None:
    (tmp_path / "empty.svs").write_bytes(b"")
    (tmp_path / "noise.tif").write_bytes(b"no slide at all" * 100)
    bad = [tmp_path / "empty.svs", tmp_path / "none.svs", tmp_path / "noise.tif"]
    assert run(*bad, picture(), "--out", tmp_path / "out") == 1
    assert names(tmp_path / "out") == outputs("a")
    said = capsys.readouterr().err
    lines = [line for line in said.splitlines() if "assume" not in line and "a.png" not in line]
    assert len(lines) == 3
    for line, path in zip(lines, bad, strict=True):
        assert line.startswith(f"nuhtc-run: {path}")


def test_a_folder_without_slides_fails(oracle, tmp_path, capsys) -> None:
    (tmp_path / "in").mkdir()
    assert run(tmp_path / "in", "--out", tmp_path / "out") == 1
    assert "no slide or picture" in capsys.readouterr().err


def test_damage_has_its_own_exit_code(oracle, picture, tmp_path, monkeypatch, capsys) -> None:
    from nuhtc.runtime.slides.picture import ArraySlide

    read = ArraySlide.read

    def damaged(self, x, y, level, width, height):
        if x <= 5 < x + width and y <= 5 < y + height:
            raise SlideReadError("damaged around x 5, y 5")
        return read(self, x, y, level, width, height)

    monkeypatch.setattr(ArraySlide, "read", damaged)
    assert run(picture(), "--out", tmp_path / "out") == 3
    summary = json.loads((tmp_path / "out" / "a.summary.json").read_text())
    assert summary["damaged_px"] == [[0, 0, 64, 64]]
    assert summary["tiles"]["skipped"] == 0
    assert "1 areas are damaged" in capsys.readouterr().out
    # A slide that failed altogether says more.
    assert run(picture(), tmp_path / "none.svs", "--out", tmp_path / "out") == 1


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_an_output_folder_that_cannot_be_is_found_before_the_network_runs(
    oracle, picture, tmp_path, capsys, place
) -> None:
    (tmp_path / "file").write_text("in the way")
    assert run(picture(), "--out", tmp_path / place) == 1
    message = capsys.readouterr().err
    assert str(tmp_path / place) in message
    assert "cannot be written" in message
    assert oracle.tiles == 0


def test_a_full_disk_leaves_no_file_under_its_final_name(
    oracle, picture, tmp_path, monkeypatch, capsys
) -> None:
    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert run(picture(), "--out", tmp_path / "out") == 1
    assert "disk is full" in capsys.readouterr().err
    assert names(tmp_path / "out") == ["a.nuclei"]
    assert names(tmp_path / "out" / "a.nuclei") == []


def test_ctrl_c_leaves_one_line_and_no_half_file(
    picture, tmp_path, monkeypatch, capsys, oracle
) -> None:
    class Interrupted(OracleEngine):
        def run(self, tiles: NDArray[np.uint8]) -> list[Detections]:
            if self.tiles >= 3:
                raise KeyboardInterrupt
            return super().run(tiles)

    monkeypatch.setattr(nuhtc.runtime.pipeline.segment, "open_engine", lambda *args: Interrupted())
    assert run(picture(), "--out", tmp_path / "out") == 130
    assert names(tmp_path / "out") == ["a.nuclei"], "what the same command continues from"
    said = [line for line in capsys.readouterr().err.splitlines() if "um/px" not in line]
    assert len(said) == 1
    assert said[0].startswith("nuhtc-run: stopped")


def test_running_out_of_memory_is_said(oracle, picture, tmp_path, monkeypatch, capsys) -> None:
    class Greedy(OracleEngine):
        def run(self, tiles: NDArray[np.uint8]) -> list[Detections]:
            raise MemoryError

    monkeypatch.setattr(nuhtc.runtime.pipeline.segment, "open_engine", lambda *args: Greedy())
    assert run(picture(), "--out", tmp_path / "out") == 1
    assert "not enough memory" in capsys.readouterr().err


@pytest.mark.parametrize("what", ["missing", "empty", "file", "foreign"])
def test_a_bundle_that_is_none_is_one_clear_line(tmp_path, picture, capsys, what) -> None:
    bundle = tmp_path / "bundle"
    if what == "file":
        bundle.write_text("not a folder")
    elif what != "missing":
        bundle.mkdir()
    if what == "foreign":
        (bundle / "card.json").write_text('{"format": "something else"}')
    assert run(picture(), "--out", tmp_path / "out", "--bundle", bundle) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"nuhtc-run: {bundle}")


@pytest.mark.skipif(not DATA.exists(), reason="the real slides are not here")
def test_real_slides_that_cannot_be_used_say_why(oracle, tmp_path, capsys) -> None:
    slides = [
        DATA / "histolab" / "tcga-cr-7395-01a-01-ts1.svs",
        DATA / "histolab" / "broken.svs",
        DATA / "openslide-python" / "unreadable.svs",
        DATA / "README.md",
    ]
    assert run(*slides, "--out", tmp_path / "out") == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == len(slides)
    for line, slide in zip(lines, slides, strict=True):
        assert line.startswith(f"nuhtc-run: {slide}")
    assert "--mpp" in lines[0]
    assert names(tmp_path / "out") == []


def test_an_earlier_run_with_other_settings_is_not_mixed_in(
    oracle, picture, tmp_path, capsys
) -> None:
    path = picture()
    assert run(path, "--out", tmp_path / "out") == 0
    assert run(path, "--out", tmp_path / "out", "--tile", 64) == 1
    said = capsys.readouterr().err
    assert "tile 128, not 64" in said
    assert "--fresh" in said
    assert run(path, "--out", tmp_path / "out", "--tile", 64, "--fresh") == 0
