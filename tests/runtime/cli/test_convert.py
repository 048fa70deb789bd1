"""`nuhtc-convert` as people type it, on stores that the oracle filled."""

import gzip
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made.made_store import SETTINGS, bytes_of, empty_slide, made_slide, made_store
from reference.validators import VALIDATORS

from nuhtc.runtime.cli.convert import main
from nuhtc.runtime.store.ledger import LEDGER
from nuhtc.runtime.store.manifest import MANIFEST


def run(*argv: object) -> int:
    try:
        return main([str(one) for one in argv])
    except SystemExit as leaving:
        return int(str(leaving.code))


def features(path: Path) -> list[dict]:
    return json.loads(gzip.decompress(path.read_bytes()))["features"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_store(tmp_path_factory.mktemp("stores") / "a.nuclei").folder


def test_every_format_comes_out_valid(folder: Path, tmp_path: Path) -> None:
    before = bytes_of(folder)
    assert run(folder, "--format", "all", "--out", tmp_path, "--centroids") == 0
    assert bytes_of(folder) == before
    count = len(features(tmp_path / "a.geojson.gz"))
    assert count > 60
    assert VALIDATORS["qupath"](tmp_path / "a.geojson.gz") == count
    assert VALIDATORS["qupath"](tmp_path / "a.centroids.geojson.gz") == count
    assert VALIDATORS["sql"](tmp_path / "a.gpkg") == count
    assert VALIDATORS["geoparquet"](tmp_path / "a.parquet") == count
    assert VALIDATORS["coco"](tmp_path / "a.coco" / "instances.json") == count
    assert VALIDATORS["coco"](tmp_path / "a.coco" / "results.json") == count
    assert sum(map(VALIDATORS["dsa"], (tmp_path / "a.dsa").iterdir())) == count


def test_a_higher_score_equals_a_run_with_it(folder: Path, tmp_path: Path) -> None:
    sure = made_store(tmp_path / "b.nuclei", settings=replace(SETTINGS, min_score=0.75)).folder
    assert run(folder, "--min-score", 0.75, "--out", tmp_path, "--to", "qupath") == 0
    assert run(sure, "--out", tmp_path, "--to", "qupath") == 0
    here, there = (features(tmp_path / f"{stem}.geojson.gz") for stem in "ab")
    assert here == there
    assert 0 < len(here) < 150
    assert min(one["properties"]["measurements"]["Score"] for one in here) >= 0.75
    assert run(sure, "--min-score", 0.5, "--out", tmp_path) == 2


def test_area_and_region_choose_nuclei(folder: Path, tmp_path: Path) -> None:
    assert run(folder, "--to", "qupath", "--out", tmp_path / "all", "--min-area-um2", 0) == 0
    everything = features(tmp_path / "all" / "a.geojson.gz")
    options = ("--region", "100,50,200.5,150", "--min-area-um2", 12)
    assert run(folder, "--to", "qupath", "--out", tmp_path, *options) == 0
    some = {one["id"] for one in features(tmp_path / "a.geojson.gz")}
    expected = set()
    for one in everything:
        ring = np.array(one["geometry"]["coordinates"][0])
        cross = ring[:-1, 0] * ring[1:, 1] - ring[1:, 0] * ring[:-1, 1]
        middle = ((ring[:-1] + ring[1:]) * cross[:, None]).sum(axis=0) / (3 * cross.sum())
        inside = (middle >= [100, 50]).all() and (middle < [300.5, 200]).all()
        if inside and one["properties"]["measurements"]["Area um2"] >= 12:
            expected.add(one["id"])
    assert some == expected
    assert 0 < len(some) < len(everything)


def test_classes_are_renamed_merged_and_dropped(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "map.json").write_text(
        json.dumps(
            {
                "Other": None,
                "Inflammatory": "Immune",
                "Epithelial": {"name": "Immune", "color": [1, 2, 3]},
            }
        )
    )
    assert run(folder, "--to", "qupath", "--out", tmp_path / "all") == 0
    assert run(folder, "--to", "qupath", "--out", tmp_path, "--classes", tmp_path / "map.json") == 0
    before = features(tmp_path / "all" / "a.geojson.gz")
    after = features(tmp_path / "a.geojson.gz")
    kept = [one for one in before if one["properties"]["classification"]["name"] != "Other"]
    assert [one["id"] for one in after] == [one["id"] for one in kept]
    for old, new in zip(kept, after, strict=True):
        name = old["properties"]["classification"]["name"]
        wanted = "Immune" if name in {"Inflammatory", "Epithelial"} else name
        assert new["properties"]["classification"]["name"] == wanted
        shares = old["properties"]["measurements"]
        merged = shares["Probability: Inflammatory"] + shares["Probability: Epithelial"]
        found = new["properties"]["measurements"]["Probability: Immune"]
        assert found == pytest.approx(min(merged, 1), abs=2e-4)


def test_simpler_outlines_have_fewer_points_and_stay_valid(folder: Path, tmp_path: Path) -> None:
    assert run(folder, "--to", "qupath", "--out", tmp_path / "all") == 0
    assert run(folder, "--to", "qupath", "--out", tmp_path, "--simplify", 1.5) == 0
    VALIDATORS["qupath"](tmp_path / "a.geojson.gz")
    before, after = (
        sum(len(one["geometry"]["coordinates"][0]) for one in features(path / "a.geojson.gz"))
        for path in (tmp_path / "all", tmp_path)
    )
    assert after < 0.7 * before


def test_overlaps_are_divided_in_a_store_and_not_in_a_file(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(folder, "--to", "qupath", "--out", tmp_path / "kept") == 0
    assert run(folder, "--to", "qupath", "--out", tmp_path, "--overlaps", "divide") == 0
    kept, divided = tmp_path / "kept" / "a.geojson.gz", tmp_path / "a.geojson.gz"
    assert features(divided) == features(kept), "none of these nuclei overlap"
    capsys.readouterr()
    assert run(kept, "--out", tmp_path / "again", "--overlaps", "divide") == 2
    assert "taken as they are" in capsys.readouterr().err


def test_info_and_verify(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(folder, "--info", "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["tiles"]["run"] > 100
    assert facts["classes"][0] == "Other"
    assert run(folder, "--info") == 0
    assert "candidates" in capsys.readouterr().out
    assert run(folder, "--verify") == 0
    assert "all whole" in capsys.readouterr().out


@pytest.mark.parametrize(("flips", "told"), [(1, False), (4, True)])
def test_info_tells_how_often_tiles_were_looked_at(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flips: int, told: bool
) -> None:
    folder = made_store(tmp_path / "a.nuclei", settings=replace(SETTINGS, flips=flips)).folder
    assert run(folder, "--info") == 0
    assert ("looked at 4 times" in capsys.readouterr().out) == told


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--region 5000,0,10,10", "outside the slide"),
        ("--region 0,0,0,10", "no width"),
        ("--region 1,2,3", "x,y,width,height"),
        ("--region a,b,c,d", "x,y,width,height"),
        ("--mpp 0.25", "a store knows"),
        ("--json", "--info"),
        ("--coco-images a.svs", "--format coco"),
        ("--min-score 2", "--min-score"),
        ("--format paper", "there is qupath"),
        ("--classes missing.json", "no such file"),
    ],
)
def test_wrong_usage(folder, tmp_path, capsys, options: str, said: str) -> None:
    assert run(folder, "--out", tmp_path / "out", *options.split()) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"Tumour": "x"}', "'Tumour'; there is Other, Inflammatory"),
        ("[1]", "object"),
        ("{", "no JSON"),
        ('{"Other": 3}', "'Other' must become"),
        ('{"Other": {"name": "x", "color": [1, 2]}}', "'Other' must become"),
    ],
)
def test_class_maps_that_are_none(folder, tmp_path, capsys, text: str, said: str) -> None:
    (tmp_path / "map.json").write_text(text)
    assert run(folder, "--out", tmp_path / "out", "--classes", tmp_path / "map.json") == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("what", ["newer", "truncated", "unfinished", "missing"])
def test_stores_that_cannot_be_used(tmp_path: Path, capsys, what: str) -> None:
    folder = made_store(tmp_path / "a.nuclei").folder
    if what == "newer":
        (folder / MANIFEST).write_text('{"format": "nuhtc-store", "version": 99}')
    elif what == "truncated":
        part = folder / "000001.arrow"
        part.write_bytes(part.read_bytes()[:-7])
    elif what == "unfinished":
        (folder / LEDGER).write_bytes(b"")
    before = bytes_of(folder)
    source = tmp_path / "none.nuclei" if what == "missing" else folder
    assert run(source, "--out", tmp_path / "out", "--format", "all") == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"nuhtc-convert: {source}")
    assert bytes_of(folder) == before
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]


def test_an_empty_slide(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = made_store(tmp_path / "a.nuclei", empty_slide()).folder
    assert run(folder, "--out", tmp_path / "out", "--format", "all") == 0
    assert features(tmp_path / "out" / "a.geojson.gz") == []
    assert "empty results.json" in capsys.readouterr().err


@pytest.mark.parametrize("suffix", ["geojson.gz", "gpkg", "parquet"])
@pytest.mark.parametrize("mpp", [0.25, 0.3])
def test_what_was_written_can_be_imported(tmp_path: Path, suffix: str, mpp: float) -> None:
    folder = made_store(tmp_path / "a.nuclei", made_slide(mpp=mpp)).folder
    assert run(folder, "--out", tmp_path / "one", "--format", "all") == 0
    source = tmp_path / "one" / f"a.{suffix}"
    assert run(source, "--mpp", mpp, "--to", "all", "--out", tmp_path / "two") == 0
    before, after = (features(tmp_path / one / "a.geojson.gz") for one in ("one", "two"))
    assert len(before) == len(after)
    for old, new in zip(before, after, strict=True):
        assert old["geometry"] == new["geometry"], "to the last digit"
        assert old["properties"]["classification"] == new["properties"]["classification"]
        there = new["properties"]["measurements"]
        for name, value in old["properties"]["measurements"].items():
            assert there[name] == pytest.approx(value, abs=2e-4 if "um2" not in name else 0.02)


BOWTIE = [[0, 0], [10, 10], [10, 0], [0, 8], [0, 0]]
SQUARE = [[20, 20], [30, 20], [30, 30], [20, 30], [20, 20]]


def test_nuhtcs_geojson_is_repaired_and_counted(tmp_path: Path, capsys) -> None:
    """A bare list of annotations with `score` and `label`, as its infer_wsi.py saves."""
    kind = {"name": "Neoplastic", "color": [255, 0, 0]}
    listed = [
        {
            "type": "Feature",
            "geometry": {"type": "Polygon", "coordinates": [ring]},
            "properties": {
                **{"objectType": "annotation", "label": 0, "score": 0.75},
                **{"classification": kind, "isLocked": False},
            },
        }
        for ring in (BOWTIE, SQUARE, [[1, 1], [2, 2], [1, 1]])
    ]
    (tmp_path / "old.geojson").write_text(json.dumps(listed))
    assert run(tmp_path / "old.geojson", "--to", "all", "--out", tmp_path / "out") == 1
    assert "--mpp" in capsys.readouterr().err
    assert run(tmp_path / "old.geojson", "--mpp", 0.25, "--to", "all", "--out", tmp_path / "o") == 0
    said = capsys.readouterr().out
    assert "1 invalid outlines repaired, 1 entries without area" in said
    assert VALIDATORS["qupath"](tmp_path / "o" / "old.geojson.gz") == 2
    first = features(tmp_path / "o" / "old.geojson.gz")[0]["properties"]
    assert first["classification"] == kind
    assert first["measurements"]["Score"] == 0.75


def test_nuhtcs_dsa_file_is_imported(tmp_path: Path) -> None:
    elements = [
        {
            **{"type": "polyline", "closed": True, "lineWidth": 2},
            **{"fillColor": "rgba(0, 255, 0, 0.2)", "lineColor": "rgb(0, 255, 0)"},
            "points": [[x, y, 0] for x, y in SQUARE],
            "label": {"value": "Dead"},
        }
    ]
    (tmp_path / "old_dsa.json").write_text(
        json.dumps({"description": "x", "elements": elements, "name": "NuHTC"})
    )
    assert run(tmp_path / "old_dsa.json", "--mpp", 0.5, "--out", tmp_path / "out") == 0
    (one,) = features(tmp_path / "out" / "old_dsa.geojson.gz")
    assert one["properties"]["classification"] == {"name": "Dead", "color": [0, 255, 0]}
    assert one["properties"]["measurements"]["Area um2"] == 25


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.geojson", b"{"),
        ("a.geojson", b'{"type": "FeatureCollection"}'),
        ("a.geojson", b'[{"geometry": {"type": "Polygon", "coordinates": [[["x"]]]}}]'),
        ("a.geojson.gz", b"no gzip"),
        ("a.gpkg", b"no database"),
        ("a.parquet", b"no parquet"),
        ("a.txt", b"anything"),
        ("missing.gpkg", None),
    ],
)
def test_files_that_cannot_be_imported(tmp_path: Path, capsys, name: str, data) -> None:
    if data is not None:
        (tmp_path / name).write_bytes(data)
    assert run(tmp_path / name, "--mpp", 0.25, "--out", tmp_path / "out") == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"nuhtc-convert: {tmp_path / name}")
    assert not (tmp_path / "out").exists()
