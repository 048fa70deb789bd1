"""The public Python API: the names it has, what they give, and that its page is true."""

import builtins
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from fakes.oracle import OracleEngine, class_probabilities, oracle_slide, paint
from made.blobs import random_ellipses
from made.made_nuclei import CLASSES, made_bundle
from made.made_store import made_slide, made_store
from places import ROOT

import nuhtc.runtime as nuhtc
from nuhtc.runtime.demo.pyramid import write_pyramid
from nuhtc.runtime.demo.slide import demo_picture
from nuhtc.runtime.nuclei.view import View

LABELS = random_ellipses(11, 300, 420, 90, (8.0, 28.0))
BUNDLE = made_bundle(Path("nowhere"))


def segmented(**how: Any) -> nuhtc.SlideNuclei:
    return nuhtc.segment(paint(LABELS), mpp=0.25, bundle=BUNDLE, engine=OracleEngine(), **how)


def test_the_public_names_are_these() -> None:
    """What is added here is kept; what is taken away breaks somebody's notebook."""
    assert nuhtc.__all__ == [
        "BundleError", "EngineError", "NucleiStore", "NuhtcError", "Outlines", "OutputError",
        "ReaderError", "ResolutionError", "SlideError", "SlideNuclei", "SlideReadError",
        "StoreError", "UsageError", "load_bundle", "open_engine", "open_slide", "open_store",
        "segment",
    ]  # fmt: skip
    assert set(nuhtc.__all__) == set(nuhtc._WHERE) <= set(dir(nuhtc))
    for name in nuhtc.__all__:
        assert getattr(nuhtc, name).__doc__, name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        nuhtc.nothing  # noqa: B018


def test_importing_it_loads_nothing_heavy() -> None:
    code = "import sys, nuhtc.runtime as n; n.segment; n.open_store; print(sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for module in ("onnxruntime", "pyarrow", "shapely", "scipy", "openslide", "torch", "PIL"):
        assert f"'{module}'" not in done.stdout, module


def test_an_array_gives_every_nucleus_once() -> None:
    found = segmented(tile=128, overlap=48)
    count = int(LABELS.max())
    assert len(found) == count == sum(found.counts.values()) > 40
    assert list(found.counts) == [cls.name for cls in CLASSES]
    assert np.array_equal(np.sort(found.areas_um2), np.sort(np.bincount(LABELS.ravel())[1:] / 16))
    number = LABELS[tuple(np.floor(found.centroids[:, ::-1]).astype(int).T)]
    inside = number > 0
    assert inside.mean() > 0.9
    expected = class_probabilities(number[inside])
    assert np.array_equal(found.labels[inside], expected.argmax(axis=1))
    assert np.allclose(found.probabilities[inside], expected)
    assert np.array_equal(found.scores, found.probabilities.max(axis=1))
    assert repr(found).startswith(f"<{count:,} nuclei of array: Other ")


def test_outlines_are_a_sequence_of_points() -> None:
    found = segmented()
    outlines = found.outlines
    assert len(outlines) == len(found) and outlines[-1].dtype == np.float64
    assert len(outlines[1:3]) == 2 and np.array_equal(outlines[1:3][1], outlines[2])
    areas = [shapely.Polygon(outline).area for outline in outlines]
    assert np.allclose(areas, found.areas_um2 * 16)
    with pytest.raises(IndexError):
        outlines[len(found)]
    assert "outlines of" in repr(outlines)


def test_a_label_image_is_the_truth_under_other_numbers() -> None:
    image = segmented().label_image()
    assert image.shape == LABELS.shape and np.array_equal(image > 0, LABELS > 0)
    pairs = np.unique(np.stack([image.ravel(), LABELS.ravel()]), axis=1)
    assert pairs.shape[1] == LABELS.max() + 1, "one number of ours for each of the truth's"
    part = segmented().label_image(region=(30, 50, 70, 20))
    assert np.array_equal(part, image[50:70, 30:100])
    for region in ((0, 0, 0, 5), (0, 0, 1 << 20, 1 << 20)):
        with pytest.raises(nuhtc.UsageError, match="give a region"):
            segmented().label_image(region)


def test_tables_hold_the_same_nuclei(monkeypatch: pytest.MonkeyPatch) -> None:
    found = segmented()
    monkeypatch.setattr("nuhtc.runtime.slide_nuclei.ROWS_AT_ONCE", 13)
    table = found.to_arrow()
    assert table.num_rows == len(found)
    shapes = shapely.from_wkb(table.column("geometry").to_pylist())
    assert np.allclose(shapely.area(shapes) / 16, found.areas_um2)
    assert table.column("class").to_pylist() == [CLASSES[label].name for label in found.labels]
    none = found.to_arrow().slice(0, 0)
    assert none.schema == segmented(min_score=1.0).to_arrow().schema


def test_geopandas_is_asked_for_where_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *more: Any) -> Any:
        if name == "geopandas":
            raise ImportError(name)
        return real(name, *more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(nuhtc.UsageError, match="pip install geopandas"):
        segmented().to_geopandas()


def test_geopandas_frames_have_a_row_each() -> None:
    pytest.importorskip("geopandas", reason="geopandas is not installed")
    found = segmented()
    frame = found.to_geopandas()
    assert len(frame) == len(found)
    assert np.allclose(frame.geometry.area / 16, frame.area_um2)
    assert frame["class"].value_counts().to_dict() == {k: v for k, v in found.counts.items() if v}


def test_a_store_is_seen_with_other_thresholds(tmp_path: Path) -> None:
    folder = made_store(tmp_path / "a.nuclei").folder
    store = nuhtc.open_store(str(folder))
    slide = made_slide()
    whole = nuhtc.segment(
        slide.read(0, 0, 0, slide.width, slide.height),
        mpp=0.25, bundle=BUNDLE, engine=OracleEngine(), tile=64, overlap=32, min_score=0,
    )  # fmt: skip
    found = store.nuclei(min_area_um2=2)
    assert np.array_equal(found.outlines.coords, whole.outlines.coords)
    assert (store.path, store.slide.mpp, store.classes) == (folder, 0.25, CLASSES)
    assert store.verify() > 1000 and "candidates" in repr(store)
    sure = store.nuclei(min_score=0.8)
    assert 0 < len(sure) < len(found) and sure.scores.min() >= np.float32(0.8)
    part = store.nuclei(region=(100, 80, 200, 150))
    x, y = part.centroids.T
    assert 0 < len(part) < len(found)
    assert ((x >= 100) & (x < 300) & (y >= 80) & (y < 230)).all()
    assert part.run["settings"]["region_px"] == [100, 80, 200, 150]
    with pytest.raises(nuhtc.UsageError, match="outside the slide"):
        store.nuclei(region=(9999, 0, 5, 5))


def test_a_file_is_what_its_pixels_are(tmp_path: Path) -> None:
    from PIL import Image

    Image.fromarray(paint(LABELS)).save(tmp_path / "a.png")
    found = nuhtc.segment(tmp_path / "a.png", bundle=BUNDLE, engine=OracleEngine())
    assert np.array_equal(found.outlines.coords, segmented().outlines.coords)
    assert found.slide.file == "a.png" and found.slide.mpp == 0.25


def test_the_same_nuclei_as_a_run_with_these_options() -> None:
    from nuhtc.runtime.pipeline.segment import segment_slide
    from nuhtc.runtime.pipeline.settings import RunSettings

    settings = RunSettings.for_card(BUNDLE.card, min_score=0.7, batch=3)
    parts = segment_slide(oracle_slide(LABELS), OracleEngine(), BUNDLE, settings)
    expected = parts.nuclei(View(min_area_um2=20))
    found = segmented(min_score=0.7, min_area_um2=20, batch=3)
    assert 0 < len(found) == len(expected)
    assert np.array_equal(found.outlines.coords, expected.coords)


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({"mpp": None}, "mpp=0.25"),
        ({"mpp": -1.0}, "mpp"),
        ({"tile": 100}, "multiple of 32"),
        ({"slide": np.zeros((5, 5), np.uint8)}, "uint8"),
        ({"slide": np.zeros((5, 5, 3))}, "uint8"),
    ],
)
def test_what_makes_no_sense_is_one_clear_line(how: dict[str, Any], says: str) -> None:
    asked = {"slide": paint(LABELS), "mpp": 0.25, "bundle": BUNDLE, "engine": OracleEngine()} | how
    with pytest.raises(nuhtc.NuhtcError, match=says) as caught:
        nuhtc.segment(**asked)
    assert "\n" not in str(caught.value)


def test_what_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(nuhtc.SlideError, match="no such file"):
        nuhtc.segment(tmp_path / "a.svs", bundle=BUNDLE, engine=OracleEngine())
    with pytest.raises(nuhtc.BundleError, match="no such bundle"):
        nuhtc.segment(paint(LABELS), mpp=0.25, bundle=tmp_path / "bundle")
    with pytest.raises(nuhtc.StoreError):
        nuhtc.open_store(tmp_path)
    with pytest.raises(nuhtc.UsageError, match="no engine is called"):
        nuhtc.open_engine(nuhtc.load_bundle(), "steam")


def test_what_is_opened_closes_itself_and_prints_as_what_it_is(tmp_path: Path) -> None:
    write_pyramid(tmp_path / "a.tiff", paint(LABELS), mpp=0.25)
    with nuhtc.open_slide(tmp_path / "a.tiff") as slide:
        assert repr(slide) == "<slide a: 420 x 300 px, 0.25 um/px>"
        assert slide.read(0, 0, 0, 5, 4).shape == (4, 5, 3)
    with pytest.raises(nuhtc.SlideError, match="closed"):
        slide.read(0, 0, 0, 5, 4)
    assert repr(segmented().nuclei).startswith(f"<{LABELS.max()} Nuclei: ")
    [answer] = OracleEngine().run(paint(LABELS)[None, :128, :128])
    assert repr(answer) == f"<{len(answer)} detections of 4 classes>"
    assert repr(nuhtc.load_bundle()).endswith("Other, Inflammatory, Epithelial, Spindle>")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_page_is_true(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every example of docs/python.md, one after the other, with the model in the package."""
    from nuhtc.runtime.cli.run import main

    page = (ROOT / "docs" / "python.md").read_text("utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    assert len(blocks) >= 8
    monkeypatch.chdir(tmp_path)
    write_pyramid(Path("slide.tiff"), demo_picture(width=2048, height=1536)[0], mpp=0.25)
    assert main(["slide.tiff", "--out", "results", "--engine", "cpu"]) == 0
    space: dict[str, Any] = {}
    for block in blocks:
        if "to_geopandas" in block:
            try:
                import geopandas  # noqa: F401
            except ImportError:
                continue
        exec(compile(block, "docs/python.md", "exec"), space)  # the page's own code
    nuclei, store = space["nuclei"], space["store"]
    assert len(nuclei) == len(store.nuclei()) > 100
    assert np.array_equal(nuclei.outlines.coords, store.nuclei().outlines.coords)
    assert len(space["sure"]) < len(nuclei)
    assert len(space["found"][0]) == len(space["found"][1]) > 0
