"""The plain way to write each format: one object per nucleus, with the usual libraries."""

import gzip
import json
import sqlite3
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import shapely
from many_nuclei import CLASSES, TILE

from nuhtc.runtime.nuclei.nuclei import Nuclei


def polygons(nuclei: Nuclei) -> list[shapely.Polygon]:
    """Return shapely polygons in pixels."""
    points = nuclei.coords / 100
    return [shapely.Polygon(points[low:high]) for low, high in pairwise(nuclei.offsets.tolist())]


def plain_store(folder: Path, nuclei: Nuclei) -> None:
    """Write arrays as they are."""
    np.savez_compressed(folder / "made.npz", **vars(nuclei))


def plain_qupath(folder: Path, nuclei: Nuclei) -> None:
    """Write features made of dictionaries."""
    features = [
        {
            "type": "Feature",
            "geometry": shapely.geometry.mapping(shape),
            "properties": {
                "objectType": "detection",
                "classification": {"name": CLASSES[label].name, "color": CLASSES[label].color},
                "measurements": {"Score": score, **dict(zip("abcde", shares, strict=True))},
            },
        }
        for shape, label, score, shares in rows(nuclei)
    ]
    with gzip.open(folder / "made.geojson.gz", "wt", compresslevel=1) as file:
        json.dump({"type": "FeatureCollection", "features": features}, file)


def plain_dsa(folder: Path, nuclei: Nuclei) -> None:
    """Write elements made of dictionaries."""
    elements = [
        {
            "type": "polyline",
            "points": [[x, y, 0] for x, y in shape.exterior.coords[:-1]],
            "closed": True,
            "label": {"value": CLASSES[label].name},
            "group": CLASSES[label].name,
            "user": {"score": score, "probabilities": shares},
        }
        for shape, label, score, shares in rows(nuclei)
    ]
    (folder / "made.json").write_text(json.dumps({"name": "made", "elements": elements}))


def plain_coco(folder: Path, nuclei: Nuclei) -> None:
    """Write annotations made of dictionaries."""
    from pycocotools import mask as coco_mask

    instances, results = [], []
    for number, (shape, label, score, _) in enumerate(rows(nuclei), start=1):
        x0, y0 = (int(side) - 30 for side in shape.bounds[:2])
        flat = [part for x, y in shape.exterior.coords for part in (x - x0, y - y0)]
        one = {"id": number, "image_id": 1, "category_id": label, "segmentation": [flat]}
        instances.append({**one, "area": shape.area, "bbox": list(shape.bounds), "iscrowd": 0})
        mask = coco_mask.merge(coco_mask.frPyObjects([flat], TILE, TILE))
        mask["counts"] = mask["counts"].decode()
        results.append({**one, "score": score, "segmentation": mask})
    (folder / "instances.json").write_text(json.dumps({"annotations": instances}))
    (folder / "results.json").write_text(json.dumps(results))


def plain_sql(folder: Path, nuclei: Nuclei) -> None:
    """Insert row by row, the index too."""
    database = sqlite3.connect(folder / "made.db")
    database.execute("CREATE TABLE n (id INTEGER PRIMARY KEY, g BLOB, l, s, a, b, c, d, e)")
    database.execute("CREATE VIRTUAL TABLE r USING rtree(id, x0, x1, y0, y1)")
    for number, (shape, label, score, shares) in enumerate(rows(nuclei), start=1):
        database.execute(
            "INSERT INTO n VALUES (?,?,?,?,?,?,?,?,?)", (number, shape.wkb, label, score, *shares)
        )
        x0, y0, x1, y1 = shape.bounds
        database.execute("INSERT INTO r VALUES (?,?,?,?,?)", (number, x0, x1, y0, y1))
    database.commit()
    database.close()


def plain_geoparquet(folder: Path, nuclei: Nuclei) -> None:
    """Write WKB made one by one."""
    table = pa.table(
        {
            "geometry": [shape.wkb for shape in polygons(nuclei)],
            "class": [CLASSES[label].name for label in nuclei.label.tolist()],
            "score": nuclei.score,
            **{one.name: nuclei.probabilities[:, i] for i, one in enumerate(CLASSES)},
        }
    )
    pq.write_table(table, folder / "made.parquet")


def rows(nuclei: Nuclei) -> Iterator[tuple[shapely.Polygon, int, float, list[float]]]:
    """Give polygon, label, score and probabilities of each nucleus."""
    yield from zip(
        polygons(nuclei),
        nuclei.label.tolist(),
        nuclei.score.tolist(),
        nuclei.probabilities.tolist(),
        strict=True,
    )


PLAIN: dict[str, tuple[str, Callable[[Path, Nuclei], None]]] = {
    "store": ("numpy.savez_compressed", plain_store),
    "qupath": ("shapely, json, gzip", plain_qupath),
    "dsa": ("shapely, json", plain_dsa),
    "sql": ("shapely, sqlite3 row by row", plain_sql),
    "coco": ("shapely, pycocotools, json", plain_coco),
    "geoparquet": ("shapely, pyarrow", plain_geoparquet),
}
"""By writer: what it is made of, and what writes."""
