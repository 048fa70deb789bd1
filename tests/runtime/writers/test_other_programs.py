"""The real readers open what the writers write."""

import json
from pathlib import Path

import numpy as np
import pytest
from made.made_nuclei import CLASSES, made_nuclei, made_target

from nuhtc.runtime.nuclei.nuclei import Nuclei
from nuhtc.runtime.writers.open import open_output


def write(name: str, folder: Path, nuclei: Nuclei) -> list[Path]:
    with open_output(name, made_target(folder)) as output:
        output.write(nuclei)
    return output.paths


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_pycocotools_gives_perfect_scores_for_our_results_against_our_instances(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    nuclei = made_nuclei(seed=4)
    instances, results = write("coco", tmp_path, nuclei)
    truth = COCO(str(instances))
    found = truth.loadRes(str(results))
    assert len(found.anns) == len(nuclei)
    for number, annotation in truth.anns.items():
        mask = truth.annToMask(annotation)
        assert mask.sum() == annotation["area"] == nuclei.area_px[number - 1]
        assert np.array_equal(mask, found.annToMask(found.anns[number]))
    measured = COCOeval(truth, found, "segm")
    measured.evaluate()
    measured.accumulate()
    measured.summarize()
    assert measured.stats[0] == pytest.approx(1)


@pytest.mark.conformance
@pytest.mark.filterwarnings("ignore")
def test_geopandas_reads_the_geopackage_through_gdal(tmp_path: Path) -> None:
    geopandas = pytest.importorskip("geopandas")
    pytest.importorskip("pyogrio")
    nuclei = made_nuclei(seed=4, scale=0.25 / 0.499)
    (path,) = write("sql", tmp_path, nuclei)
    table = geopandas.read_file(path, layer="nuclei")
    assert len(table) == len(nuclei)
    assert np.allclose(table.area, nuclei.area_px)
    assert table.is_valid.all()
    inside = geopandas.read_file(path, layer="nuclei", bbox=(0, 0, 60, 60))
    low, high = nuclei.bbox[:, :2] / 100, nuclei.bbox[:, 2:] / 100
    assert len(inside) == ((low <= 60).all(axis=1) & (high >= 0).all(axis=1)).sum() > 0
    names = geopandas.read_file(path, layer="category")["name"]
    assert list(names) == [one.name for one in CLASSES]


@pytest.mark.conformance
@pytest.mark.filterwarnings("ignore")
def test_geopandas_reads_geoparquet_and_a_part_of_it(tmp_path: Path) -> None:
    geopandas = pytest.importorskip("geopandas")
    nuclei = made_nuclei(seed=4)
    (path,) = write("geoparquet", tmp_path, nuclei)
    table = geopandas.read_parquet(path)
    assert table.crs is None
    assert np.allclose(table.area, nuclei.area_px)
    assert list(table["class"]) == [CLASSES[label].name for label in nuclei.label]
    inside = geopandas.read_parquet(path, bbox=(100, 100, 300, 260))
    low, high = nuclei.bbox[:, :2] / 100, nuclei.bbox[:, 2:] / 100
    touching = (low <= [300, 260]).all(axis=1) & (high >= [100, 100]).all(axis=1)
    assert 0 < touching.sum() == len(inside) < len(table)


@pytest.mark.conformance
@pytest.mark.filterwarnings("ignore")
def test_the_digital_slide_archives_own_schema_accepts_every_document(tmp_path: Path) -> None:
    annotation = pytest.importorskip("girder_large_image_annotation.models.annotation")
    jsonschema = pytest.importorskip("jsonschema")
    validator = jsonschema.Draft6Validator(annotation.AnnotationSchema.annotationSchema)
    for path in write("dsa", tmp_path, made_nuclei(seed=4)):
        problems = [error.message for error in validator.iter_errors(json.loads(path.read_bytes()))]
        assert not problems


def test_contour_serves_a_query_written_for_nuhtc(tmp_path: Path) -> None:
    import sqlite3
    from contextlib import closing

    nuclei = made_nuclei(seed=4, scale=0.25 / 0.499)
    (path,) = write("sql", tmp_path, nuclei)
    query = (
        'SELECT elementidx, "group", xmin, ymin, xmax, ymax, score, bbox_area FROM contour '
        "WHERE keep = 1 AND type = 'polyline' ORDER BY elementidx"
    )
    with closing(sqlite3.connect(path)) as database:
        rows = database.execute(query).fetchall()
    assert len(rows) == len(nuclei)
    for index, (element, group, *box, score, area) in enumerate(rows):
        assert element == index + 1
        assert group == CLASSES[nuclei.label[index]].name
        assert box == pytest.approx((nuclei.bbox[index] / 100).tolist(), abs=1e-4)
        assert score == pytest.approx(float(nuclei.score[index]), abs=1e-6)
        assert area == pytest.approx((box[2] - box[0]) * (box[3] - box[1]))


@pytest.mark.conformance
@pytest.mark.parametrize("count", [0, 1, 50])
def test_the_geoparquet_validator_finds_nothing(tmp_path: Path, count: int) -> None:
    validator = pytest.importorskip("geoparquet_validator")
    (path,) = write("geoparquet", tmp_path, made_nuclei(seed=4).take(np.arange(count)))
    report = validator.check(str(path))
    assert not validator.failed(report)
    passed = {one["id"] for one in report["outcomes"] if one["status"] == "pass"}
    assert "/conf/core/wkb" in passed
