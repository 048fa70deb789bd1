"""``nuhtc-prepare``: what it counts, what it finds wrong, and sets that stay the same."""

import contextlib
import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from made.made_sets import (
    MemorySet,
    made_truths,
    same_nuclei,
    write_coco,
    write_conic,
    write_every_layout,
    write_folder,
    write_pannuke,
    write_pannuke_nuhtc,
)
from PIL import Image
from places import SHARED

from nuhtc.runtime.bundle.card import NucleusClass
from nuhtc.runtime.ground.errors import DataError, OutputError
from nuhtc.training.cli import prepare as prepare_cli
from nuhtc.training.cli.prepare import main
from nuhtc.training.data import write
from nuhtc.training.data.classes import PANNUKE
from nuhtc.training.data.examine import examine
from nuhtc.training.data.images import AnnotatedImage
from nuhtc.training.data.numbering import renumber
from nuhtc.training.data.open import open_set
from nuhtc.training.data.write import FORMATS, write_set

DATA = SHARED / "data" / "consep"


@st.composite
def memory_sets(draw: st.DrawFn) -> MemorySet:
    kinds = draw(st.integers(0, 4))
    mpp = draw(st.sampled_from([0.25, 0.5, 0.2527]))
    images = []
    for number in range(draw(st.integers(1, 3))):
        shape = draw(hnp.array_shapes(min_dims=2, max_dims=2, max_side=9))
        raw = draw(hnp.arrays(np.int64, shape, elements=st.integers(0, 5)))
        instances, numbers = renumber(raw)
        types = None
        if kinds:
            types = draw(hnp.arrays(np.int64, len(numbers), elements=st.integers(0, kinds - 1)))
        rgb = draw(hnp.arrays(np.uint8, (*shape, 3)))
        tissue = draw(st.sampled_from([None, "Colon", "Head & Neck"]))
        name = draw(st.sampled_from(["a b", "ü", "x.y", "n"]))
        images.append(AnnotatedImage(f"{name}{number}", rgb, instances, types, mpp, tissue))
    classes = tuple(NucleusClass(f"class {i}", (i, 0, 255)) for i in range(kinds))
    return MemorySet(sorted(images, key=lambda image: image.name), classes or None, mpp)


@settings(max_examples=40)
@given(memory_sets(), st.sampled_from(["folder", "coco"]))
def test_there_and_back(
    tmp_path_factory: pytest.TempPathFactory, source: MemorySet, layout: write.Format
) -> None:
    out = tmp_path_factory.mktemp("out") / "set"
    write_set(source, out, layout)
    found = open_set(out)
    assert (found.name, found.mpp, found.info) == (source.name, source.mpp, source.info)
    assert found.classes == source.classes
    assert list(found.names()) == source.names()
    for index, truth in enumerate(source.images):
        same_nuclei(found[index], truth)
        # Hidden nuclei there are none, so even the numbers stay.
        assert np.array_equal(found[index].instances, truth.instances)
        assert found[index].tissue == truth.tissue


@pytest.mark.parametrize("layout", FORMATS)
def test_every_set_into_every_layout(tmp_path: Path, layout: write.Format) -> None:
    for name, (path, _) in write_every_layout(tmp_path / "in").items():
        source = open_set(path)
        write_set(source, tmp_path / "out" / name, layout)
        found = open_set(tmp_path / "out" / name)
        assert (found.name, found.mpp, found.info) == (source.name, source.mpp, source.info)
        assert found.classes == source.classes and found.names() == source.names()
        for index in range(len(source)):
            same_nuclei(found[index], source[index])
            assert found[index].tissue == source[index].tissue


@pytest.mark.skipif(not DATA.is_dir(), reason="data set absent: ../shared/data/consep")
def test_a_real_picture_through_every_layout(tmp_path: Path) -> None:
    real = open_set(DATA)
    whole = real[0]
    assert whole.types is not None
    instances, numbers = renumber(whole.instances[300:600, 200:520].astype(np.int64))
    rgb = np.ascontiguousarray(whole.rgb[300:600, 200:520])
    part = AnnotatedImage("part", rgb, instances, whole.types[numbers])
    assert len(part) > 20
    for layout in FORMATS:
        write_set(MemorySet([part], real.classes), tmp_path / layout, layout)
        same_nuclei(open_set(tmp_path / layout)[0], part)


def test_what_nuhtc_reads(tmp_path: Path) -> None:
    truths = made_truths(5)
    for fold in (1, 2):
        write_pannuke_nuhtc(tmp_path / "in", fold, truths)
    assert main([str(tmp_path / "in"), "--out", str(tmp_path / "out"), "--format", "nuhtc"]) == 0
    out = tmp_path / "out"
    files = {str(path.relative_to(out)) for path in out.rglob("*.*")}
    assert files == {
        *(f"{d}/fold{f}_{i}.png" for d in ("rgb", "rgb_seg") for f in (1, 2) for i in (1, 2, 3)),
        *(f"coco/PanNuke/PanNuke_annt_RLE_fold{fold}.json" for fold in (1, 2)),
    }
    nuclei = np.asarray(Image.open(out / "rgb_seg" / "fold1_1.png"))
    assert np.array_equal(nuclei, truths[0].instances > 0)
    for fold in (1, 2):
        file = out / "coco" / "PanNuke" / f"PanNuke_annt_RLE_fold{fold}.json"
        content = json.loads(file.read_text("utf-8"))
        assert [one["name"] for one in content["categories"]] == [
            "Neoplastic cells",
            "Inflammatory",
            "Connective/Soft tissue cells",
            "Dead Cells",
            "Epithelial",
        ]
        found = open_set(file)
        assert (found.name, found.classes) == (f"pannuke-fold{fold}", PANNUKE)
        assert found.names() == [f"fold{fold}_{i}" for i in (1, 2, 3)]


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_coco_files_that_pycocotools_takes(tmp_path: Path) -> None:
    from pycocotools.coco import COCO

    truths = made_truths(5)
    write_set(open_set(write_pannuke(tmp_path / "fold1", truths)), tmp_path / "out", "coco")
    with contextlib.redirect_stdout(None):
        coco = COCO(tmp_path / "out" / "annotations.json")
    assert sorted(coco.imgs) == [1, 2, 3] and min(coco.anns) == 1
    assert len(coco.anns) == sum(int(truth.instances.max()) for truth in truths)
    for one in coco.anns.values():
        inside = coco.annToMask(one)
        y, x = np.nonzero(inside)
        left, top, width, height = one["bbox"]
        assert one["area"] == inside.sum()
        assert (left, top) == (x.min(), y.min())
        assert (width, height) == (x.max() + 1 - left, y.max() + 1 - top)


def test_the_count(tmp_path: Path) -> None:
    truths = made_truths(5)
    report = examine(open_set(write_pannuke(tmp_path / "fold1", truths)))
    counts = [t.instances.max() for t in truths]
    assert (report.pictures, report.read, report.empty) == (3, 3, 1)
    assert report.nuclei == sum(counts) == report.classes.total()
    assert list(report.classes) == [one.name for one in PANNUKE]
    for index, one in enumerate(PANNUKE):
        assert report.classes[one.name] == sum((t.types[1:] == index).sum() for t in truths)
    assert report.sizes == {"48x40": 3}
    assert report.tissue_nuclei == {t.tissue: n for t, n in zip(truths, counts, strict=True)}
    text = report.as_text()
    assert "PanNuke (CC BY-NC-SA 4.0)" in text and "problems: none" in text


def test_every_problem_is_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_folder(tmp_path / "mine", made_truths(4, 5))
    (root / "labels" / "p_2.npz").unlink()
    (root / "images" / "p_4.png").write_text("no picture")
    argv = [str(root), "--out", str(tmp_path / "out")]
    assert main([*argv, "--json"]) == 1
    printed = capsys.readouterr()
    report = json.loads(printed.out)
    assert [problem.split(": ")[0] for problem in report["problems"]] == [
        str(root / "labels" / "p_2.npz"),
        str(root / "images" / "p_4.png"),
    ]
    assert (report["pictures"], report["pictures_read"], report["written"]) == (5, 3, None)
    assert "not written" in printed.err and not (tmp_path / "out").exists()
    assert main(argv) == 1
    assert "problems: 2" in capsys.readouterr().out


def test_the_table_and_the_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_conic(tmp_path / "in", made_truths(6))
    assert main([str(source), "--out", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr()
    assert "conic: CoNIC" in printed.out and "3 pictures written" in printed.out
    assert printed.err == ""
    assert open_set(tmp_path / "out").mpp == 0.5
    assert main([str(tmp_path / "out"), "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["mpp"] == 0.5 and again["name"] == "conic"


def failure(capsys: pytest.CaptureFixture[str], argv: list[str], code: int = 1) -> str:
    """Run, expect the code and one line on stderr; return the line."""
    assert main(argv) == code
    printed = capsys.readouterr()
    assert printed.err.startswith("nuhtc-prepare: ") and printed.err.count("\n") == 1
    return printed.err


def test_a_set_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no such file" in failure(capsys, [str(tmp_path / "none")])
    (tmp_path / "masks.npy").touch()
    assert "images.npy: missing" in failure(capsys, [str(tmp_path)])


def test_pictures_elsewhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write_coco(tmp_path / "a" / "b" / "my.json", tmp_path / "c", made_truths(4))
    assert "--images" in failure(capsys, [str(file)])
    assert main([str(file), "--images", str(tmp_path / "c")]) == 0


def test_wrong_use(tmp_path: Path) -> None:
    for argv in ([], [str(tmp_path), "--format", "coco"], [str(tmp_path), "--format", "png"]):
        with pytest.raises(SystemExit) as caught:
            main(argv)
        assert caught.value.code == 2


@pytest.fixture
def source(tmp_path: Path) -> str:
    return str(write_folder(tmp_path / "mine", made_truths(4)))


def test_folders_in_use(tmp_path: Path, source: str, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    out.mkdir()
    assert main([source, "--out", str(out)]) == 0, "an empty folder will do"
    capsys.readouterr()
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    assert "not empty" in failure(capsys, [source, "--out", str(out)])
    assert "not empty" in failure(capsys, [source, "--out", source])
    assert before == {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    (tmp_path / "two.partial").mkdir()
    (tmp_path / "two.partial" / "theirs").touch()
    assert "in the way" in failure(capsys, [source, "--out", str(tmp_path / "two")])
    assert (tmp_path / "two.partial" / "theirs").exists()
    (tmp_path / "file").touch()
    failure(capsys, [source, "--out", str(tmp_path / "file")])
    failure(capsys, [source, "--out", str(tmp_path / "file" / "below")])
    assert "/proc/none" in failure(capsys, [source, "--out", "/proc/none"])
    failure(capsys, [source, "--out", str(tmp_path / ("x" * 300))])
    failure(capsys, [str(tmp_path / ("x" * 300))])


def test_a_reader_that_has_seen_enough(source: str) -> None:
    command = [sys.executable, "-m", "nuhtc.training.cli.prepare", source]
    read, write_end = os.pipe()
    os.close(read)
    done = subprocess.run(command, stdout=write_end, stderr=subprocess.PIPE, check=False)
    os.close(write_end)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("layout", FORMATS)
@pytest.mark.parametrize("fault", [OSError(errno.ENOSPC, "the disk is full"), KeyboardInterrupt()])
def test_all_or_nothing(
    tmp_path: Path,
    source: str,
    layout: str,
    fault: BaseException,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    real = write._write_png

    def fail(path: Path, *rest: Any) -> None:
        if path.stem == "p_2":
            raise fault
        real(path, *rest)

    monkeypatch.setattr(write, "_write_png", fail)
    interrupted = isinstance(fault, KeyboardInterrupt)
    argv = [source, "--out", str(tmp_path / "new" / "out"), "--format", layout]
    message = failure(capsys, argv, 130 if interrupted else 1)
    assert ("stopped" if interrupted else "the disk is full") in message
    assert list((tmp_path / "new").iterdir()) == []


def test_names_that_are_no_file_names(tmp_path: Path) -> None:
    image = AnnotatedImage("a", np.zeros((2, 2, 3), np.uint8), np.zeros((2, 2), np.int32), None)
    for names in (["../a"], [""], [".."], ["a", "a"]):
        made = MemorySet(
            [AnnotatedImage(name, image.rgb, image.instances, None) for name in names], None
        )
        with pytest.raises(DataError, match="name"):
            write_set(made, tmp_path / "out", "folder")
        assert not (tmp_path / "out").exists()
    made = MemorySet([image, image], None)
    assert examine(made).problems == ["memory: 2 pictures are called a"]
    with pytest.raises(OutputError, match="not empty"):
        write_set(MemorySet([image], None), tmp_path.parent, "folder")


def test_formats_are_those_that_can_be_written() -> None:
    assert prepare_cli.FORMATS == FORMATS
