"""SQLite's R-tree, packed as the rows come instead of balanced row by row.

The tree's nodes are rows of a shadow table, `<name>_node(nodeno, data)`: two bytes of depth (in
the root), two of how many cells, then cells of an int64 and four float32, all big-endian. Rows
come in the order of the tiles, so neighbours on the slide are neighbours in a leaf already, and
packing them in that order gives a tight tree. `rtreecheck()` tests the result.
"""

import sqlite3
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

_CELL: Final = np.dtype([("id", ">i8"), ("box", ">f4", (4,))])
_ROOT: Final = 1
_ROWID: Final = "INSERT INTO rtree_nuclei_geom_rowid VALUES (?, ?)"
_FROM_THE_FIRST: Final = np.zeros(1, np.int64)
_PARENT: Final = "INSERT INTO rtree_nuclei_geom_parent VALUES (?, ?)"


def outward(boxes: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return boxes minx, maxx, miny, maxy (N, 4) as float32 that hold the exact ones."""
    near = boxes.astype(np.float32)
    low, high = near[:, ::2], near[:, 1::2]
    np.copyto(low, np.nextafter(low, np.float32(-np.inf)), where=low > boxes[:, ::2])
    np.copyto(high, np.nextafter(high, np.float32(np.inf)), where=high < boxes[:, 1::2])
    return near


class PackedRtree:
    """Fills the empty tree `rtree_nuclei_geom`; of what is written, only leaves' boxes are kept.

    Parameters
    ----------
    database
        Where the virtual table was just made.
    """

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        (self._size,) = database.execute(
            "SELECT length(data) FROM rtree_nuclei_geom_node WHERE nodeno = 1"
        ).fetchone()
        self._most = (self._size - 4) // _CELL.itemsize
        database.execute("DELETE FROM rtree_nuclei_geom_node")
        self._waiting = np.zeros((0, 4), np.float32)
        self._leaves: list[NDArray[np.float32]] = []
        self._next_row, self._next_node = 1, _ROOT + 1

    def add(self, boxes: NDArray[np.float32]) -> None:
        """Enter the next rows, numbered from 1 on.

        Parameters
        ----------
        boxes
            float32 (N, 4): minx, maxx, miny, maxy of each row.
        """
        self._waiting = np.concatenate([self._waiting, boxes])
        # One cell always waits, for a tree of one leaf is all root.
        full = (len(self._waiting) - 1) // self._most * self._most
        if full > 0:
            self._enter_leaves(full)

    def finish(self) -> NDArray[np.float32] | None:
        """Write what is above the leaves.

        Returns
        -------
        NDArray[np.float32] | None
            (1, 4), the box around all rows: minx, maxx, miny, maxy. None where there are none.
        """
        rows = np.arange(self._next_row, self._next_row + len(self._waiting))
        if not self._leaves:
            self._write(_ROOT, np.array([0, len(rows)]), rows, self._waiting, depth=0)
            return _around(self._waiting) if len(rows) else None
        self._enter_leaves(len(rows))
        boxes, depth = np.concatenate(self._leaves), 1
        ids = np.arange(_ROOT + 1, self._next_node)
        while len(ids) > self._most:
            groups = -(-len(ids) // self._most)
            cuts = np.linspace(0, len(ids), groups + 1).astype(np.int64)
            first = self._next_node
            self._write(first, cuts, ids, boxes, depth)
            self._next_node += groups
            ids, boxes = np.arange(first, self._next_node), _around(boxes, cuts[:-1])
            depth += 1
        self._write(_ROOT, np.array([0, len(ids)]), ids, boxes, depth)
        return _around(boxes)

    def _enter_leaves(self, count: int) -> None:
        """Write so many of the waiting rows as leaves."""
        boxes, self._waiting = self._waiting[:count], self._waiting[count:]
        cuts = np.append(np.arange(0, count, self._most), count)
        rows = np.arange(self._next_row, self._next_row + count)
        self._write(self._next_node, cuts, rows, boxes, depth=0)
        self._leaves.append(_around(boxes, cuts[:-1]))
        self._next_row += count
        self._next_node += len(cuts) - 1

    def _write(
        self,
        first: int,
        cuts: NDArray[np.int64],
        ids: NDArray[np.int64],
        boxes: NDArray[np.float32],
        depth: int,
    ) -> None:
        """Write nodes, numbered from `first` on, and where each of their cells is."""
        cells = np.empty(len(ids), _CELL)
        cells["id"], cells["box"] = ids, boxes
        data, bounds = cells.tobytes(), list(pairwise(cuts.tolist()))
        numbers = range(first, first + len(bounds))
        # Only the root says how deep the tree is.
        deep = (depth if first == _ROOT else 0).to_bytes(2, "big")
        self._database.executemany(
            "INSERT INTO rtree_nuclei_geom_node VALUES (?, ?)",
            (
                (
                    number,
                    (
                        deep
                        + (high - low).to_bytes(2, "big")
                        + data[low * _CELL.itemsize : high * _CELL.itemsize]
                    ).ljust(self._size, b"\0"),
                )
                for number, (low, high) in zip(numbers, bounds, strict=True)
            ),
        )
        above = np.repeat(np.arange(first, first + len(bounds)), np.diff(cuts)).tolist()
        self._database.executemany(
            _PARENT if depth else _ROWID, zip(ids.tolist(), above, strict=True)
        )


def _around(
    boxes: NDArray[np.float32], starts: NDArray[np.int64] = _FROM_THE_FIRST
) -> NDArray[np.float32]:
    """Return the box around each group of boxes (K, 4), by where the groups start."""
    joined = np.empty((len(starts), 4), np.float32)
    joined[:, ::2] = np.minimum.reduceat(boxes[:, ::2], starts)
    joined[:, 1::2] = np.maximum.reduceat(boxes[:, 1::2], starts)
    return joined
