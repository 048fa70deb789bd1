"""GeoParquet 1.1: WKB polygons in level-0 pixels, one row per nucleus in the order of the tiles.

Columns: `geometry`, `bbox` (a struct, for readers that want a part of the slide), `class`,
`score`, `area_um2`, `centroid_x`, `centroid_y`, `tile`, `cut`, and `probability: <class>` each.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from nuhtc.runtime.nuclei.nuclei import Nuclei
from nuhtc.runtime.writers.arrow import arrow_batch, arrow_schema
from nuhtc.runtime.writers.target import Files, Output, Target

SUFFIX: Final = ".parquet"

ROW_GROUP: Final = 65536
"""Rows per group."""

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
        columns = arrow_schema(target.slide, target.classes, target.run)
        with pq.ParquetWriter(
            files.partial(final),
            columns,
            compression="zstd",
            compression_level=_LEVEL,
            use_dictionary=["class", "tile"],
            write_statistics=True,
        ) as writer:
            groups = _Groups(writer, columns, target)
            yield Output(groups.write, files.paths)
            groups.finish()


class _Groups:
    """Collects rows until they make a group."""

    def __init__(self, writer: pq.ParquetWriter, columns: pa.Schema, target: Target) -> None:
        self._writer, self._columns, self._target = writer, columns, target
        self._waiting: list[pa.RecordBatch] = []
        self._count = 0

    def write(self, nuclei: Nuclei) -> None:
        start = 0
        while start < len(nuclei):
            stop = min(start + ROW_GROUP - self._count, len(nuclei))
            some = nuclei.take(np.arange(start, stop))
            classes, mpp = self._target.classes, self._target.slide.mpp
            self._waiting.append(arrow_batch(some, classes, mpp, self._columns))
            self._count += stop - start
            start = stop
            if self._count == ROW_GROUP:
                self.finish()

    def finish(self) -> None:
        """Write the rows that wait, if any."""
        if self._waiting:
            self._writer.write_table(pa.Table.from_batches(self._waiting), ROW_GROUP)
        self._waiting, self._count = [], 0
