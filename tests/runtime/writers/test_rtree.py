"""The packed R-tree answers as SQLite's own, and SQLite finds nothing wrong with it."""

import sqlite3
from contextlib import closing

import numpy as np
import pytest
from numpy.typing import NDArray

from nuhtc.runtime.writers.gpkg_schema import RTREE
from nuhtc.runtime.writers.rtree import PackedRtree, outward


def made_boxes(count: int, seed: int = 1) -> NDArray[np.float64]:
    dice = np.random.default_rng(seed)
    low = dice.uniform(0, 90_000, (count, 2)).round(2)
    high = low + dice.uniform(0, 300, (count, 2)).round(2)
    return np.stack([low[:, 0], high[:, 0], low[:, 1], high[:, 1]], axis=1)


def filled(database: sqlite3.Connection, boxes: NDArray[np.float64], step: int) -> object:
    database.execute(RTREE)
    tree = PackedRtree(database)
    for first in range(0, len(boxes), step):
        tree.add(outward(boxes[first : first + step]))
    return tree.finish()


@pytest.mark.parametrize("count", [0, 1, 2, 50, 51, 52, 102, 103, 2601, 2602, 2653, 20_000])
def test_it_is_sound_and_finds_what_it_should(count: int) -> None:
    boxes = made_boxes(count)
    with closing(sqlite3.connect(":memory:")) as database:
        around = filled(database, boxes, 777)
        assert database.execute("SELECT rtreecheck('rtree_nuclei_geom')").fetchone() == ("ok",)
        rows = database.execute("SELECT * FROM rtree_nuclei_geom ORDER BY id").fetchall()
        assert [row[0] for row in rows] == list(range(1, count + 1))
        stored = np.array([row[1:] for row in rows], np.float64).reshape(-1, 4)
        assert (stored[:, ::2] <= boxes[:, ::2]).all() and (stored[:, 1::2] >= boxes[:, 1::2]).all()
        assert np.allclose(stored, boxes, rtol=2**-22)
        if around is None:
            assert count == 0
        else:
            low, high = stored.min(axis=0), stored.max(axis=0)
            assert np.array_equal(around, [[low[0], high[1], low[2], high[3]]])
        for corner in ((0, 0), (40_000, 40_000), (80_000, 10_000)):
            (x, y), side = corner, 9_000
            found = database.execute(
                "SELECT id FROM rtree_nuclei_geom "
                "WHERE maxx >= ? AND minx <= ? AND maxy >= ? AND miny <= ? ORDER BY id",
                (x, x + side, y, y + side),
            ).fetchall()
            meets = (stored[:, 1] >= x) & (stored[:, 0] <= x + side)
            meets &= (stored[:, 3] >= y) & (stored[:, 2] <= y + side)
            assert [row[0] for row in found] == (np.flatnonzero(meets) + 1).tolist()


def test_it_is_the_same_in_any_steps() -> None:
    boxes, dumps = made_boxes(3000, seed=2), []
    for step in (1, 50, 51, 1000, 3000):
        with closing(sqlite3.connect(":memory:")) as database:
            filled(database, boxes, step)
            tables = ("node", "rowid", "parent")
            dumps.append(
                [
                    database.execute(
                        f"SELECT * FROM rtree_nuclei_geom_{name} ORDER BY 1"
                    ).fetchall()
                    for name in tables
                ]
            )
    assert all(dump == dumps[0] for dump in dumps)


def test_rows_can_be_added_and_removed_afterwards() -> None:
    """The tree is an ordinary one: SQLite may change it."""
    boxes = made_boxes(1000, seed=3)
    with closing(sqlite3.connect(":memory:")) as database:
        filled(database, boxes, 100)
        database.execute("DELETE FROM rtree_nuclei_geom WHERE id % 3 = 0")
        database.executemany(
            "INSERT INTO rtree_nuclei_geom VALUES (?,?,?,?,?)",
            [(2000 + i, *box) for i, box in enumerate(boxes[:400].tolist())],
        )
        assert database.execute("SELECT rtreecheck('rtree_nuclei_geom')").fetchone() == ("ok",)
        (count,) = database.execute("SELECT count(*) FROM rtree_nuclei_geom").fetchone()
        assert count == 1000 - 333 + 400
