"""What readers demand of each format, checked on finished files; each raises when it is broken."""

import gzip
import json
import sqlite3
import uuid
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import shapely


def valid_qupath(path: Path) -> int:
    """Read a file as QuPath 0.6 to 0.8 does and return its objects.

    Gson reads the whole document. An object needs a geometry; a classification needs a name and
    a colour; an id that is no UUID is ignored; every geometry is reduced to 0.01 px and must
    then be valid, or the import throws and all is lost.
    """
    document = json.loads(gzip.decompress(path.read_bytes()))
    assert document["type"] == "FeatureCollection"
    shapes = []
    for feature in document["features"]:
        assert feature["type"] == "Feature"
        uuid.UUID(feature["id"])
        properties = feature["properties"]
        assert properties["objectType"] == "detection"
        kind = properties["classification"]
        assert kind["name"] and len(kind["color"]) == 3
        assert all(isinstance(part, int) and 0 <= part < 256 for part in kind["color"])
        for name, value in properties["measurements"].items():
            assert isinstance(name, str) and isinstance(value, int | float)
        # Whatever else stands here is lost when QuPath reads it.
        assert set(properties) == {"objectType", "classification", "measurements"}
        shapes.append(shapely.geometry.shape(feature["geometry"]))
    assert shapely.is_valid(np.array(shapes, object)).all()
    assert shapely.is_valid(shapely.set_precision(np.array(shapes, object), 0.01)).all()
    assert not shapely.is_empty(np.array(shapes, object)).any()
    return len(shapes)


def valid_dsa(path: Path) -> int:
    """Check a document's keys, ids and points and return its elements."""
    document = json.loads(path.read_bytes())
    assert set(document) == {"name", "description", "attributes", "elements"}
    ids = set()
    for element in document["elements"]:
        assert element["type"] == "polyline" and element["closed"] is True
        assert len(element["points"]) >= 4 and element["points"][0] != element["points"][-1]
        assert all(len(point) == 3 and point[2] == 0 for point in element["points"])
        assert element["label"]["value"] == element["group"]
        assert len(element["id"]) == 24 and not set(element["id"]) - set("0123456789abcdef")
        ids.add(element["id"])
    assert len(ids) == len(document["elements"])
    return len(ids)


def valid_geopackage(path: Path) -> int:
    """Check the file, its tables and its index and return its nuclei."""
    with closing(sqlite3.connect(path)) as database:
        one = lambda sql: database.execute(sql).fetchone()  # noqa: E731
        assert one("PRAGMA application_id") == (0x47504B47,)
        assert one("PRAGMA user_version") == (10300,)
        assert one("PRAGMA integrity_check") == ("ok",)
        assert one("PRAGMA foreign_key_check") is None
        assert one("SELECT rtreecheck('rtree_nuclei_geom')") == ("ok",)
        (count,) = one("SELECT count(*) FROM nuclei")
        assert one("SELECT count(*) FROM rtree_nuclei_geom") == (count,)
        assert one("SELECT count(*) FROM contour") == (count,)
        for (blob,) in database.execute("SELECT geom FROM nuclei"):
            assert blob[:4] == b"GP\x00\x03"
            assert shapely.from_wkb(blob[40:]).is_valid
    return count


def valid_coco(path: Path) -> int:
    """Check ids and references and return the annotations."""
    document = json.loads(path.read_bytes())
    if isinstance(document, list):
        for result in document:
            assert set(result) == {"image_id", "category_id", "score", "segmentation"}
            assert isinstance(result["segmentation"]["counts"], str)
        return len(document)
    assert {"info", "licenses", "images", "annotations", "categories"} <= set(document)
    images = {image["id"] for image in document["images"]}
    kinds = {kind["id"] for kind in document["categories"]}
    assert min(images | kinds, default=1) == 1
    assert [one["id"] for one in document["annotations"]] == list(
        range(1, len(document["annotations"]) + 1)
    )
    for one in document["annotations"]:
        assert one["image_id"] in images and one["category_id"] in kinds
        assert one["iscrowd"] == 0 and one["area"] > 0
        assert all(len(ring) >= 6 and len(ring) % 2 == 0 for ring in one["segmentation"])
    return len(document["annotations"])


def valid_geoparquet(path: Path) -> int:
    """Check the metadata and every geometry and return the rows."""
    table = pq.read_table(path)
    geo = json.loads(table.schema.metadata[b"geo"])
    assert geo["version"] == "1.1.0" and geo["primary_column"] == "geometry"
    column = geo["columns"]["geometry"]
    assert column["encoding"] == "WKB" and "crs" in column and column["crs"] is None
    shapes = shapely.from_wkb(table["geometry"].to_pylist())
    assert shapely.is_valid(np.array(shapes, object)).all()
    bounds = shapely.bounds(np.array(shapes, object)).reshape(-1, 4)
    for place, side in enumerate(("xmin", "ymin", "xmax", "ymax")):
        stored = table["bbox"].combine_chunks().field(side).to_numpy()
        inside = stored <= bounds[:, place] if place < 2 else stored >= bounds[:, place]
        assert inside.all()
    return table.num_rows


VALIDATORS: dict[str, Callable[[Path], int]] = {
    "qupath": valid_qupath,
    "centroids": valid_qupath,
    "dsa": valid_dsa,
    "sql": valid_geopackage,
    "coco": valid_coco,
    "geoparquet": valid_geoparquet,
}
