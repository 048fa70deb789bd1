"""Outlines in the tables this program writes: GeoPackage and GeoParquet."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import shapely

from nuhtc.runtime.bundle.card import NucleusClass
from nuhtc.runtime.readers.outlines import UNKNOWN_COLOR, Outlines, Source
from nuhtc.runtime.slides.slide import SlideFacts

_ROWS: Final = 8192
"""Rows read at a time."""

_HEADER_BYTES: Final = 40
"""What stands before the polygon itself in this program's geometries."""


def read_geopackage(path: Path) -> Source:
    """Read a `.gpkg` of this program."""
    with closing(_connect(path)) as database:
        kinds = database.execute("SELECT id, name, color FROM category ORDER BY id").fetchall()
        slide = database.execute("SELECT path, digest, width, height, mpp FROM slide").fetchone()
    classes = tuple(
        NucleusClass(name, (int(c[1:3], 16), int(c[3:5], 16), int(c[5:7], 16)))
        for _, name, c in kinds
    )
    place = {number: label for label, (number, _, _) in enumerate(kinds)}

    def chunks() -> Iterator[Outlines]:
        with closing(_connect(path)) as database:
            cursor = database.execute("SELECT * FROM nuclei ORDER BY fid")
            while rows := cursor.fetchmany(_ROWS):
                columns = list(zip(*rows, strict=True))
                blobs = [blob[_HEADER_BYTES:] for blob in columns[1]]
                yield Outlines(
                    shapes=np.array(shapely.from_wkb(blobs), object),
                    label=np.array([place[number] for number in columns[2]], np.int64),
                    score=np.array(columns[3], np.float64),
                    probabilities=np.array(columns[8 : 8 + len(classes)], np.float64).T,
                )

    return Source(classes, SlideFacts(*slide), (slide[2], slide[3]), chunks)


def read_geoparquet(path: Path) -> Source:
    """Read a `.parquet` of this program."""
    with pq.ParquetFile(path) as file:
        description: dict[str, Any] = orjson.loads((file.schema_arrow.metadata or {})[b"nuhtc"])
    classes = tuple(
        NucleusClass(item["name"], tuple(item["color"] or UNKNOWN_COLOR))
        for item in description["classes"]
    )
    keys = ("file", "digest", "width_px", "height_px", "mpp")
    slide = SlideFacts(**{key: description[key] for key in keys})
    place = {one.name: label for label, one in enumerate(classes)}

    def chunks() -> Iterator[Outlines]:
        for batch in _batches(path):
            shares = [batch.column(f"probability: {one.name}").to_numpy() for one in classes]
            yield Outlines(
                shapes=np.array(shapely.from_wkb(batch.column("geometry").to_pylist()), object),
                label=np.array(
                    [place[name] for name in batch.column("class").to_pylist()], np.int64
                ),
                score=batch.column("score").to_numpy().astype(np.float64),
                probabilities=np.array(shares, np.float64).T,
            )

    return Source(classes, slide, (slide.width_px, slide.height_px), chunks)


def _batches(path: Path) -> Iterator[pa.RecordBatch]:
    """Give the rows of a Parquet file, some at a time."""
    with pq.ParquetFile(path) as file:
        # One reader over all groups would keep the bytes of those that it has left behind.
        for group in range(file.num_row_groups):
            yield from file.iter_batches(_ROWS, row_groups=[group])


def _connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
