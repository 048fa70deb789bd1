"""`nuhtc-run` as people type it, with the oracle in the network's place."""

import dataclasses
import gzip
import io
import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from reference.blobs import random_ellipses
from reference.made_nuclei import made_bundle
from reference.oracle import OracleEngine, paint

import nuhtc.runtime.arguments
import nuhtc.runtime.bundle
import nuhtc.runtime.engines.open
from nuhtc.runtime.cli import main
from nuhtc.runtime.detections import Detections
from nuhtc.runtime.errors import SlideReadError

DATA = Path(__file__).parents[2].parent / "shared" / "data" / "wsi"
LABELS = random_ellipses(21, 200, 240, 40, (8.0, 28.0))


@pytest.fixture
def oracle(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> OracleEngine:
    """Put the oracle where the network's engine is opened."""
    engine = OracleEngine()
    monkeypatch.setattr(nuhtc.runtime.bundle, "load_bundle", lambda folder: made_bundle(folder))
    monkeypatch.setattr(nuhtc.runtime.engines.open, "open_engine", lambda *args: engine)
    return engine


@pytest.fixture
def picture(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that saves a picture of known nuclei."""

    def save(name: str = "in/a.png", labels: NDArray[np.int32] = LABELS) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(paint(labels)).save(path)
        return path

    return save


def run(*argv: object) -> int:
    return main([str(one) for one in argv])


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def outputs(*stems: str) -> list[str]:
    ends = (".geojson.gz", ".gpkg", ".nuclei", ".overlay.png", ".summary.json")
    return sorted(stem + end for stem in stems for end in ends)


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
    }


def test_the_least_score_reaches_the_engine_too(picture, tmp_path, monkeypatch) -> None:
    opened = []

    def open_engine(bundle, name, precision, threads):
        opened.append((bundle.card.detection.score, name, precision, threads))
        return OracleEngine()

    monkeypatch.setattr(nuhtc.runtime.bundle, "load_bundle", lambda folder: made_bundle(folder))
    monkeypatch.setattr(nuhtc.runtime.engines.open, "open_engine", open_engine)
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
    from nuhtc.runtime.picture import ArraySlide

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

    monkeypatch.setattr(nuhtc.runtime.engines.open, "open_engine", lambda *args: Interrupted())
    assert run(picture(), "--out", tmp_path / "out") == 130
    assert names(tmp_path / "out") == ["a.nuclei"], "what the same command continues from"
    said = [line for line in capsys.readouterr().err.splitlines() if "um/px" not in line]
    assert len(said) == 1
    assert said[0].startswith("nuhtc-run: stopped")


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
    from nuhtc.runtime.convert_cli import main as convert

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


def test_running_out_of_memory_is_said(oracle, picture, tmp_path, monkeypatch, capsys) -> None:
    class Greedy(OracleEngine):
        def run(self, tiles: NDArray[np.uint8]) -> list[Detections]:
            raise MemoryError

    monkeypatch.setattr(nuhtc.runtime.engines.open, "open_engine", lambda *args: Greedy())
    assert run(picture(), "--out", tmp_path / "out") == 1
    assert "not enough memory" in capsys.readouterr().err


def test_verbose_says_more_and_leaves_logging_as_it_was(oracle, picture, tmp_path, capsys) -> None:
    log = logging.getLogger("nuhtc")
    before = (log.level, list(log.handlers))
    assert run(picture(), "--out", tmp_path / "out", "--verbose") == 0
    assert "tiles hold tissue" in capsys.readouterr().err
    assert (log.level, log.handlers) == before


def test_the_demo_needs_no_arguments(tmp_path, monkeypatch, capsys, oracle) -> None:
    import nuhtc.runtime.demo_slide

    def write_demo_slide(path: Path) -> None:
        Image.fromarray(paint(LABELS)).save(path)

    monkeypatch.setattr(nuhtc.runtime.demo_slide, "write_demo_slide", write_demo_slide)
    monkeypatch.chdir(tmp_path)
    assert run("demo") == 0
    assert names(tmp_path / "nuhtc-demo") == sorted(["demo.tiff", *outputs("demo")])
    assert "nuhtc-demo/demo.tiff" in capsys.readouterr().out
    assert run("demo", "--out", tmp_path / "elsewhere") == 0
    assert (tmp_path / "elsewhere" / "demo.overlay.png").exists()


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


def test_help_and_wrong_usage_load_nothing_heavy() -> None:
    """Started afresh, as in a terminal: what makes a start slow must not be imported."""
    code = (
        "import sys\n"
        "from nuhtc.runtime.cli import main\n"
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
    arguments = nuhtc.runtime.arguments.parse(["a.svs", "--out", "b"])
    card = made_bundle(Path("x"), tile=96).card
    assert nuhtc.runtime.arguments.settings_for(arguments, card).overlap_px == 48
    card = dataclasses.replace(card, tile=512)
    assert nuhtc.runtime.arguments.settings_for(arguments, card).overlap_px == 64
