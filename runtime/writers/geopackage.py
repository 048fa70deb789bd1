"""SQL: a GeoPackage, which is a plain SQLite file, read by QGIS, GDAL, R, geopandas and sqlite3.

Tables: `nuclei` (outlines in level-0 pixels, class, score, area in square level-0 pixels,
centroid, tile, `probability_<category id>`), `category`, `slide`, `run`, and the index
`rtree_nuclei_geom`. The view `contour` serves queries written for NuHTC's own table.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np
import orjson
from numpy.typing import NDArray

from nuhtc.runtime.ground.errors import OutputError
from nuhtc.runtime.ground.versions import printable
from nuhtc.runtime.nuclei.nuclei import UNITS_PER_PX, Nuclei
from nuhtc.runtime.writers import columns, gpkg_schema, wkb
from nuhtc.runtime.writers.rtree import PackedRtree, outward
from nuhtc.runtime.writers.target import Files, Output, Target

SUFFIX: Final = ".gpkg"

_HEADER: Final = np.dtype(
    [("magic", "S2"), ("version", "u1"), ("flags", "u1"), ("srs", "<i4"), ("box", "<f8", (4,))]
)
_FLAGS: Final = 0b011
"""Little-endian, with a box of minx, maxx, miny, maxy."""

_SRS: Final = -1
_PRAGMAS: Final = (
    "PRAGMA page_size = 16384",
    # Nobody reads the file before it has its final name, so a crash leaves nothing to roll back.
    "PRAGMA journal_mode = OFF",
    "PRAGMA synchronous = OFF",
    "PRAGMA locking_mode = EXCLUSIVE",
    "PRAGMA cache_size = -32768",
    "PRAGMA application_id = 1196444487",
    "PRAGMA user_version = 10300",
)


@contextmanager
def open_geopackage(target: Target) -> Iterator[Output]:
    """Write `<stem>.gpkg`.

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
        partial = files.partial(final)
        partial.unlink(missing_ok=True)
        with (
            _refusals(final),
            closing(_connect(partial)) as database,
            ThreadPoolExecutor(1, thread_name_prefix="nuhtc-sql") as thread,
        ):
            table = _Table(database, thread, target, final)
            yield Output(table.write, files.paths)
            table.finish()


class _Table:
    """The table of nuclei and what is known once it is full."""

    _pending: Future[None] | None

    def __init__(
        self,
        database: sqlite3.Connection,
        thread: ThreadPoolExecutor,
        target: Target,
        final: Path,
    ) -> None:
        self._database, self._target, self._final = database, target, final
        self._count = 0
        self._thread, self._pending = thread, None
        classes = len(target.classes)
        self._insert = f"INSERT INTO nuclei VALUES ({','.join('?' * (8 + classes))})"
        database.execute("BEGIN")
        for statement in (*gpkg_schema.TABLES, gpkg_schema.NUCLEI, gpkg_schema.RTREE):
            database.execute(statement)
        self._tree = PackedRtree(database)
        for category in range(1, classes + 1):
            database.execute(f"ALTER TABLE nuclei ADD COLUMN probability_{category} DOUBLE")
        _describe(database, target)

    def write(self, nuclei: Nuclei) -> None:
        if not len(nuclei):
            return
        first = self._count + 1
        self._count += len(nuclei)
        box = nuclei.bbox[:, [0, 2, 1, 3]] / UNITS_PER_PX
        # 0.9 as a double, not as the nearest single: what people filter by.
        shares = nuclei.probabilities.astype(np.float64).round(6).T.tolist()
        rows = zip(
            range(first, self._count + 1),
            _blobs(nuclei, box),
            (nuclei.label.astype(np.int64) + 1).tolist(),
            nuclei.score.astype(np.float64).round(6).tolist(),
            nuclei.area_px.tolist(),
            *nuclei.centroid.astype(np.float64).round(2).T.tolist(),
            nuclei.tile.tolist(),
            *shares,
            strict=True,
        )
        # SQLite enters these rows while the next ones are made.
        self._settle()
        self._pending = self._thread.submit(self._enter, rows, outward(box))

    def _enter(self, rows: Iterable[tuple[object, ...]], boxes: NDArray[np.float32]) -> None:
        self._database.executemany(self._insert, rows)
        self._tree.add(boxes)

    def _settle(self) -> None:
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def finish(self) -> None:
        self._settle()
        database, around = self._database, self._tree.finish()
        for trigger in gpkg_schema.TRIGGERS:
            database.execute(trigger)
        database.execute(gpkg_schema.CONTOUR)
        if around is not None:
            ((low_x, high_x, low_y, high_y),) = around.tolist()
            database.execute(
                "UPDATE gpkg_contents SET min_x = ?, min_y = ?, max_x = ?, max_y = ? "
                "WHERE table_name = 'nuclei'",
                (low_x, low_y, high_x, high_y),
            )
        database.execute("COMMIT")


def _describe(database: sqlite3.Connection, target: Target) -> None:
    """Fill every table but that of nuclei."""
    put, slide = database.executemany, target.slide
    put("INSERT INTO gpkg_spatial_ref_sys VALUES (?,?,?,?,?,?)", gpkg_schema.REFERENCE_SYSTEMS)
    put(
        "INSERT INTO gpkg_contents (table_name, data_type, identifier, description, srs_id, "
        "last_change) VALUES (?,?,?,?,?,?)",
        [(*row, gpkg_schema.EPOCH) for row in gpkg_schema.CONTENTS],
    )
    put(
        "INSERT INTO gpkg_geometry_columns VALUES (?,?,?,?,?,?)",
        [("nuclei", "geom", "POLYGON", _SRS, 0, 0)],
    )
    put("INSERT INTO gpkg_extensions VALUES (?,?,?,?,?)", [gpkg_schema.RTREE_EXTENSION])
    put(
        "INSERT INTO category VALUES (?,?,?)",
        [
            (number, cls.name, "#{:02x}{:02x}{:02x}".format(*cls.color))
            for number, cls in enumerate(target.classes, start=1)
        ],
    )
    put(
        "INSERT INTO slide VALUES (1,?,?,?,?,?)",
        [(printable(slide.file), slide.digest, slide.width_px, slide.height_px, slide.mpp)],
    )
    run = dict(target.run)
    model, versions = run.get("model"), run.pop("versions", {})
    digest = model.get("digest") if isinstance(model, dict) else None
    texts = [orjson.dumps(one, option=orjson.OPT_SORT_KEYS).decode() for one in (run, versions)]
    put("INSERT INTO run VALUES (1,?,?,?)", [(digest, *texts)])


def _blobs(nuclei: Nuclei, box: NDArray[np.float64]) -> Sequence[bytes]:
    """Return every outline as the geometry blob of the specification."""
    header = np.zeros(len(nuclei), _HEADER)
    header["magic"], header["flags"], header["srs"], header["box"] = b"GP", _FLAGS, _SRS, box
    data, starts, stops = wkb.polygons(nuclei, columns.rows(header))
    raw = data.tobytes()
    return [raw[low:high] for low, high in pairwise([*starts.tolist(), int(stops[-1])])]


def _connect(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    for pragma in _PRAGMAS:
        database.execute(pragma)
    return database


@contextmanager
def _refusals(final: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as refused:
        raise OutputError(
            f"{final}: cannot be written: {refused}; free some space or choose another --out"
        ) from refused
