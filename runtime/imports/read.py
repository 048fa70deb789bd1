"""Read a file of outlines, by its suffix and what is in it."""

import gzip
import hashlib
import sqlite3
import zlib
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import shapely

from nuhtc.runtime.bundle import NucleusClass
from nuhtc.runtime.errors import ImportedError
from nuhtc.runtime.imports.json_outlines import read_dsa, read_features
from nuhtc.runtime.imports.outlines import UNKNOWN_COLOR, Imported, Outlines, to_imported
from nuhtc.runtime.resolution import check_mpp
from nuhtc.runtime.summary import SlideFacts, printable

SUFFIXES = (".geojson", ".geojson.gz", ".json", ".json.gz", ".gpkg", ".parquet")
"""What can be imported."""


def import_file(path: Path, mpp: float | None) -> Imported:
    """Read outlines that this program or NuHTC wrote.

    Parameters
    ----------
    path
        `.geojson` or `.json`, gzipped or not (QuPath's, NuHTC's, the Digital Slide Archive's),
        `.gpkg` or `.parquet`.
    mpp
        um per level-0 pixel, where the file does not say it.

    Raises
    ------
    ImportedError
        When the file is missing, damaged, of another kind, or has no um/px and `mpp` is None.
    """
    readers: dict[str, Callable[[Path], Outlines]] = {".gpkg": _geopackage, ".parquet": _parquet}
    if mpp is not None:
        check_mpp(mpp)
    if not path.name.lower().endswith(SUFFIXES):
        raise ImportedError(
            f"{path}: is no store and none of {', '.join(SUFFIXES)}, which can be imported"
        )
    try:
        with path.open("rb") as file:
            digest = "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()
        found = readers.get(path.suffix.lower(), _json)(path)
    except OSError as error:
        raise ImportedError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (
        ValueError,
        KeyError,
        TypeError,
        IndexError,
        AttributeError,
        sqlite3.Error,
        shapely.errors.ShapelyError,
        pa.ArrowException,
        EOFError,
        zlib.error,
    ) as error:
        raise ImportedError(
            f"{path}: is damaged, or holds no outlines that this program or NuHTC wrote ({error})"
        ) from error
    if found.slide is None and mpp is None:
        raise ImportedError(f"{path}: does not say um/px; give the slide's, such as --mpp 0.25")
    return to_imported(found, digest, printable(path.name), mpp or 0.0)


def _json(path: Path) -> Outlines:
    data = path.read_bytes()
    document = orjson.loads(gzip.decompress(data) if path.suffix.lower() == ".gz" else data)
    if isinstance(document, dict) and "elements" in document:
        return read_dsa(document)
    # A collection as this program writes it, or a bare list of features as NuHTC did.
    features = document["features"] if isinstance(document, dict) else document
    return read_features(features)


def _geopackage(path: Path) -> Outlines:
    with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as database:
        kinds = database.execute("SELECT id, name, color FROM category ORDER BY id").fetchall()
        classes = tuple(
            NucleusClass(name, (int(c[1:3], 16), int(c[3:5], 16), int(c[5:7], 16)))
            for _, name, c in kinds
        )
        slide = database.execute("SELECT path, digest, width, height, mpp FROM slide").fetchone()
        rows = database.execute("SELECT * FROM nuclei ORDER BY fid").fetchall()
    columns = list(zip(*rows, strict=True)) or [()] * (8 + len(classes))
    names = {number: name for number, name, _ in kinds}
    return Outlines(
        # Forty bytes of header stand before the polygon itself.
        shapes=np.array(shapely.from_wkb([blob[40:] for blob in columns[1]]), object),
        names=[names[number] for number in columns[2]],
        scores=np.array(columns[3], np.float64),
        probabilities={
            one.name: np.array(columns[8 + i], np.float64) for i, one in enumerate(classes)
        },
        classes=classes,
        slide=SlideFacts(*slide),
    )


def _parquet(path: Path) -> Outlines:
    table = pq.read_table(path)
    said: dict[str, Any] = orjson.loads((table.schema.metadata or {})[b"nuhtc"])
    classes = tuple(
        NucleusClass(one["name"], tuple(one["color"] or UNKNOWN_COLOR)) for one in said["classes"]
    )
    keys = ("file", "digest", "width_px", "height_px", "mpp")
    return Outlines(
        shapes=np.array(shapely.from_wkb(table["geometry"].to_pylist()), object),
        names=table["class"].to_pylist(),
        scores=table["score"].to_numpy().astype(np.float64),
        probabilities={
            one.name: table[f"probability: {one.name}"].to_numpy().astype(np.float64)
            for one in classes
        },
        classes=classes,
        slide=SlideFacts(**{key: said[key] for key in keys}),
    )
