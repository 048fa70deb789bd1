"""`nuhtc-run` as people type it, with the oracle in the network's place."""

import dataclasses
import gzip
import io
import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from fakes.oracle import OracleEngine, paint
from made.made_nuclei import made_bundle
from PIL import Image
from programs.typed_run import LABELS, names, outputs, run

import nuhtc.runtime.bundle.load
import nuhtc.runtime.cli.run_options
import nuhtc.runtime.pipeline.segment
from nuhtc.runtime.pipeline.settings import RunSettings


def test_a_picture_leaves_its_files_and_a_few_lines(oracle, picture, tmp_path, capsys) -> None:
    out = tmp_path / "deep" / "out"
    assert run(picture(), "--out", out) == 0
    assert names(out) == outputs("a")
    printed, said = capsys.readouterr()
    assert f"{LABELS.max()} nuclei" in printed
    assert str(out / "a.geojson.gz") in printed
    assert "0.25" in said, "an assumed resolution is said aloud"
    assert "Traceback" not in said
    assert "\r" not in said, "no progress bar where there is no terminal"
    features = json.loads(gzip.decompress((out / "a.geojson.gz").read_bytes()))["features"]
    summary = json.loads((out / "a.summary.json").read_text())
    assert len(features) == summary["nuclei"] == LABELS.max()
    assert summary["settings"]["tile_px"] == 128
    assert summary["outputs"] == ["a.nuclei", "a.geojson.gz", "a.gpkg", "a.overlay.png"]
    assert summary["bundle"]["digest"] == "sha256:made"


def test_two_runs_give_identical_files(oracle, picture, tmp_path) -> None:
    path = picture()
    for out in ("one", "two"):
        assert run(path, "--out", tmp_path / out) == 0
    for name in ("a.geojson.gz", "a.gpkg", "a.overlay.png"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    kept = [
        {
            key: value
            for key, value in json.loads((tmp_path / out / "a.summary.json").read_text()).items()
            if not key.startswith("seconds")
        }
        for out in ("one", "two")
    ]
    assert kept[0] == kept[1]


def test_options_reach_the_run(oracle, picture, tmp_path) -> None:
    options = "--mpp 0.3 --tile 64 --overlap 32 --score 0.7 --min-area 5 --threads 1 --batch 2"
    options += " --overlaps divide"
    assert run(picture(), "--out", tmp_path / "out", *options.split(), "--format", "qupath") == 0
    summary = json.loads((tmp_path / "out" / "a.summary.json").read_text())
    assert summary["slide"]["mpp"] == 0.3
    assert summary["settings"] == {
        "tile_px": 64,
        "overlap_px": 32,
        "min_score": 0.7,
        "min_area_um2": 5.0,
        "overlaps": "divide",
        "batch": 2,
        "threads": 1,
        "flips": 1,
    }


def test_the_least_score_reaches_the_engine_too(picture, tmp_path, monkeypatch) -> None:
    opened = []

    def open_engine(bundle, name, precision, threads):
        opened.append((bundle.card.detection.score, name, precision, threads))
        return OracleEngine()

    monkeypatch.setattr(
        nuhtc.runtime.bundle.load, "load_bundle", lambda folder: made_bundle(folder)
    )
    monkeypatch.setattr(nuhtc.runtime.pipeline.segment, "open_engine", open_engine)
    options = ("--score", 0.1, "--engine", "cpu", "--precision", "fp16", "--threads", 3)
    assert run(picture(), "--out", tmp_path / "out", *options) == 0
    assert opened == [(0.1, "cpu", "fp16", 3)]


def test_json_is_one_line_per_slide_also_for_those_that_failed(
    oracle, picture, tmp_path, capsys
) -> None:
    bad = tmp_path / "missing.svs"
    assert run(picture(), bad, "--out", tmp_path / "out", "--json") == 1
    good, failed = map(json.loads, capsys.readouterr().out.splitlines())
    assert good["nuclei"] == LABELS.max()
    assert "no such file" in failed["error"]
    assert failed["slide"] == {"file": "missing.svs"}


def test_a_folder_means_what_is_in_it(oracle, picture, tmp_path, capsys) -> None:
    for name in ("in/b.png", "in/a.png", "in/deeper/c.png", "in/.hidden.png"):
        picture(name)
    (tmp_path / "in" / "notes.txt").write_text("not a slide")
    picture("in/z.overlay.png")
    assert run(tmp_path / "in", "--out", tmp_path / "out") == 0
    assert names(tmp_path / "out") == outputs("a", "b")
    printed, said = capsys.readouterr()
    assert "2 slides and pictures" in said
    assert printed.index("a.png") < printed.index("b.png")


def test_results_beside_the_pictures_are_no_pictures(oracle, picture, tmp_path) -> None:
    folder = picture().parent
    assert run(folder, "--out", folder) == 0
    assert run(folder, "--out", folder) == 0
    assert names(folder) == sorted(["a.png", *outputs("a")])


def test_a_file_named_twice_runs_once(oracle, picture, tmp_path, capsys) -> None:
    path = picture()
    assert run(path, path, path.parent, "--out", tmp_path / "out") == 0
    assert capsys.readouterr().out.count("mm2 of tissue") == 1


def test_a_second_run_asks_the_network_nothing(oracle, picture, tmp_path, capsys) -> None:
    path = picture()
    assert run(path, "--out", tmp_path / "out") == 0
    tiles, first = oracle.tiles, (tmp_path / "out" / "a.geojson.gz").read_bytes()
    assert run(path, "--out", tmp_path / "out", "--min-area", 20) == 0
    assert oracle.tiles == tiles > 0
    assert f"{tiles} of {tiles} tiles are in a.nuclei" in capsys.readouterr().err
    assert (tmp_path / "out" / "a.geojson.gz").read_bytes() != first
    assert run(path, "--out", tmp_path / "out", "--fresh") == 0
    assert oracle.tiles == 2 * tiles
    assert (tmp_path / "out" / "a.geojson.gz").read_bytes() == first


def test_every_format_and_the_tiles_pictures(oracle, picture, tmp_path, capsys) -> None:
    path, out = picture(), tmp_path / "out"
    assert run(path, "--out", out, "--format", "all", "--coco-images", "--centroids") == 0
    assert names(out) == sorted(
        [*outputs("a"), "a.centroids.geojson.gz", "a.coco", "a.dsa", "a.parquet"]
    )
    document = json.loads((out / "a.coco" / "instances.json").read_text())
    assert len(document["images"]) == oracle.tiles
    whole = np.asarray(Image.open(path))
    for image in document["images"]:
        pixels = np.asarray(Image.open(out / "a.coco" / image["file_name"]))
        x, y = image["slide_x"], image["slide_y"]
        assert pixels.shape == (image["height"], image["width"], 3)
        assert np.array_equal(pixels, whole[y : y + image["height"], x : x + image["width"]])
    again = tmp_path / "again"
    from nuhtc.runtime.cli.convert import main as convert

    argv = [str(out / "a.nuclei"), "--format", "coco", "--out", str(again), "--coco-images"]
    assert convert([*argv, str(path)]) == 0
    there = sorted(one.name for one in (again / "a.coco" / "images").iterdir())
    assert there == names(out / "a.coco" / "images")
    assert convert([*argv, str(picture("in/b.png", LABELS * 0))]) == 1
    assert "not the slide" in capsys.readouterr().err


def test_a_reader_that_leaves_does_not_stop_the_slides(
    oracle, picture, tmp_path, monkeypatch
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as nobody:
        monkeypatch.setattr(sys, "stdout", nobody)
        code = run(picture(), picture("in/b.png"), "--out", tmp_path / "out")
    assert code == 0
    assert names(tmp_path / "out") == outputs("a", "b")


def test_a_name_stdout_cannot_encode_is_printed_somehow(
    oracle, picture, tmp_path, monkeypatch
) -> None:
    stdout = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stdout)
    assert run(picture("in/Müller.png"), "--out", tmp_path / "out") == 0
    assert names(tmp_path / "out") == outputs("Müller")
    assert b"M\\xfcller" in stdout.buffer.getvalue()


def test_verbose_says_more_and_leaves_logging_as_it_was(oracle, picture, tmp_path, capsys) -> None:
    log = logging.getLogger("nuhtc")
    before = (log.level, list(log.handlers))
    assert run(picture(), "--out", tmp_path / "out", "--verbose") == 0
    said = capsys.readouterr().err
    assert "tiles hold tissue" in said
    assert "model made: none; Made up: for nothing\n" in said, "whoever asks hears the licences"
    assert (log.level, log.handlers) == before


def test_the_demo_needs_no_arguments(tmp_path, monkeypatch, capsys, oracle) -> None:
    import nuhtc.runtime.demo.slide

    def write_demo_slide(path: Path) -> None:
        Image.fromarray(paint(LABELS)).save(path)

    monkeypatch.setattr(nuhtc.runtime.demo.slide, "write_demo_slide", write_demo_slide)
    monkeypatch.chdir(tmp_path)
    assert run("demo") == 0
    assert names(tmp_path / "nuhtc-demo") == sorted(["demo.tiff", *outputs("demo")])
    assert "nuhtc-demo/demo.tiff" in capsys.readouterr().out
    assert run("demo", "--out", tmp_path / "elsewhere") == 0
    assert (tmp_path / "elsewhere" / "demo.overlay.png").exists()


def test_help_and_wrong_usage_load_nothing_heavy() -> None:
    """Started afresh, as in a terminal: what makes a start slow must not be imported."""
    code = (
        "import sys\n"
        "from nuhtc.runtime.cli.run import main\n"
        "for argv in (['--help'], ['--version'], ['a.svs', '--out', 'b', '--tile', 'x']):\n"
        "    try:\n"
        "        main(argv)\n"
        "    except SystemExit as leaving:\n"
        "        print(leaving.code)\n"
        "heavy = {'numpy', 'onnxruntime', 'openslide', 'PIL', 'scipy', 'torch', 'tqdm'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert "--overlap" in done.stdout
    assert done.stdout.splitlines()[-2:] == ["2", "[]"]


def test_settings_fit_any_card() -> None:
    """A model of small tiles gets an overlap that fits it."""
    arguments = nuhtc.runtime.cli.run_options.parse(["a.svs", "--out", "b"])
    card = made_bundle(Path("x"), tile=96).card
    assert RunSettings.for_card(card, tile=arguments.tile).overlap_px == 48
    card = dataclasses.replace(card, tile=512)
    assert RunSettings.for_card(card, tile=arguments.tile).overlap_px == 64
