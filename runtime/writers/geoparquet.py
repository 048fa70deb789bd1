"""GeoParquet 1.1: WKB polygons in level-0 pixels, one row per nucleus in the order of the tiles.

Columns: `geometry`, `bbox` (a struct, for readers that want a part of the slide), `class`,
`score`, `area_um2`, `centroid_x`, `centroid_y`, `tile`, `cut`, and `probability: <class>` each.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from nuhtc.runtime.nuclei.nuclei import UNITS_PER_PX, Nuclei
from nuhtc.runtime.writers import wkb
from nuhtc.runtime.writers.target import Files, Output, Target

SUFFIX: Final = ".parquet"

ROW_GROUP: Final = 65536
"""Rows per group."""

_SIDES: Final = ("xmin", "ymin", "xmax", "ymax")
_LEVEL: Final = 1
"""zstd's level: the fastest is small enough."""


@contextmanager
def open_geoparquet(target: Target) -> Iterator[Output]:
    """Write `<stem>.parquet`.

    Parameters
    ----------
    target
        Where and of what.

    Yields
    ------
    Output
        Takes the nuclei.

    Raises
    ------
    OutputError
        When the file cannot be written.
    """
    final = target.path(SUFFIX)
    with Files() as files:
        columns = _schema(target)
        with pq.ParquetWriter(
            files.partial(final),
            columns,
            compression="zstd",
            compression_level=_LEVEL,
            use_dictionary=["class", "tile"],
            write_statistics=True,
        ) as writer:
            groups = _Groups(writer, columns, target, final)
            yield Output(groups.write, files.paths)
            groups.finish()


class _Groups:
    """Collects rows until they make a group."""

    def __init__(
        self, writer: pq.ParquetWriter, columns: pa.Schema, target: Target, final: Path
    ) -> None:
        self._writer, self._columns, self._target = writer, columns, target
        self._final = final
        self._waiting: list[pa.RecordBatch] = []
        self._count = 0

    def write(self, nuclei: Nuclei) -> None:
        start = 0
        while start < len(nuclei):
            stop = min(start + ROW_GROUP - self._count, len(nuclei))
            self._waiting.append(self._batch(nuclei.take(np.arange(start, stop))))
            self._count += stop - start
            start = stop
            if self._count == ROW_GROUP:
                self.finish()

    def finish(self) -> None:
        """Write the rows that wait, if any."""
        if self._waiting:
            self._writer.write_table(pa.Table.from_batches(self._waiting), ROW_GROUP)
        self._waiting, self._count = [], 0

    def _batch(self, nuclei: Nuclei) -> pa.RecordBatch:
        data, starts, stops = wkb.polygons(nuclei)
        offsets = np.append(starts, stops[-1:]).astype(np.int32)
        sides = (nuclei.bbox / UNITS_PER_PX).T
        # An outer bound even where single precision cannot hold the hundredth.
        low = [np.nextafter(side.astype(np.float32), np.float32(-np.inf)) for side in sides[:2]]
        high = [np.nextafter(side.astype(np.float32), np.float32(np.inf)) for side in sides[2:]]
        names = pa.array([one.name for one in self._target.classes], pa.string())
        return pa.RecordBatch.from_arrays(
            [
                pa.BinaryArray.from_buffers(
                    pa.binary(), len(nuclei), [None, pa.py_buffer(offsets), pa.py_buffer(data)]
                ),
                pa.StructArray.from_arrays(
                    [pa.array(side) for side in (*low, *high)], fields=_sides()
                ),
                pa.DictionaryArray.from_arrays(pa.array(nuclei.label.astype(np.int32)), names),
                pa.array(nuclei.score),
                pa.array((nuclei.area_px * self._target.slide.mpp**2).astype(np.float32)),
                *(pa.array(np.ascontiguousarray(axis)) for axis in nuclei.centroid.T),
                pa.array(nuclei.tile),
                pa.array(nuclei.cut),
                *(pa.array(np.ascontiguousarray(one)) for one in nuclei.probabilities.T),
            ],
            schema=self._columns,
        )


def _sides() -> list[pa.Field]:
    return [pa.field(side, pa.float32(), nullable=False) for side in _SIDES]


def _schema(target: Target) -> pa.Schema:
    covering = {side: ["bbox", side] for side in _SIDES}
    geometry = {
        "encoding": "WKB",
        "geometry_types": ["Polygon"],
        # Null says that these are no places on the Earth; a missing key would say longitude.
        "crs": None,
        "edges": "planar",
        "covering": {"bbox": covering},
    }
    geo = {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": geometry}}
    slide = {
        **vars(target.slide),
        "classes": [{"name": one.name, "color": list(one.color)} for one in target.classes],
        "run": dict(target.run),
    }
    fields = [
        pa.field("geometry", pa.binary(), nullable=False),
        pa.field("bbox", pa.struct(_sides()), nullable=False),
        pa.field("class", pa.dictionary(pa.int32(), pa.string())),
        *(pa.field(name, pa.float32()) for name in ("score", "area_um2")),
        *(pa.field(name, pa.float32()) for name in ("centroid_x", "centroid_y")),
        pa.field("tile", pa.int32()),
        pa.field("cut", pa.bool_()),
        *(pa.field(f"probability: {one.name}", pa.float32()) for one in target.classes),
    ]
    return pa.schema(fields, {"geo": orjson.dumps(geo), "nuhtc": orjson.dumps(slide)})
