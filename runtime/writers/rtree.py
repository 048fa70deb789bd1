"""SQLite's R-tree, filled at once instead of row by row.

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
_PARENT: Final = "INSERT INTO rtree_nuclei_geom_parent VALUES (?, ?)"

_BLOCK: Final = 512
"""Nodes written at a time, to keep the memory small."""


def outward(boxes: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return boxes minx, maxx, miny, maxy (N, 4) as float32 that hold the exact ones."""
    near = boxes.astype(np.float32)
    low, high = near[:, ::2], near[:, 1::2]
    np.copyto(low, np.nextafter(low, np.float32(-np.inf)), where=low > boxes[:, ::2])
    np.copyto(high, np.nextafter(high, np.float32(np.inf)), where=high < boxes[:, 1::2])
    return near


def fill_rtree(database: sqlite3.Connection, boxes: NDArray[np.float32]) -> None:
    """Fill the empty tree `rtree_nuclei_geom` with rows 1 to N.

    Parameters
    ----------
    database
        Where the virtual table was just made.
    boxes
        float32 (N, 4): minx, maxx, miny, maxy of each row.
    """
    (size,) = database.execute(
        "SELECT length(data) FROM rtree_nuclei_geom_node WHERE nodeno = 1"
    ).fetchone()
    most = (size - 4) // _CELL.itemsize
    ids, next_node, depth = np.arange(1, len(boxes) + 1), _ROOT + 1, 0
    database.execute("DELETE FROM rtree_nuclei_geom_node")
    while True:
        groups = max(1, -(-len(ids) // most))
        cuts = np.linspace(0, len(ids), groups + 1).astype(np.int64)
        top = groups == 1
        nodes = np.array([_ROOT]) if top else np.arange(next_node, next_node + groups)
        next_node += groups
        for first in range(0, groups, _BLOCK):
            some = slice(first, min(first + _BLOCK, groups))
            edges = cuts[first : some.stop + 1]
            here = slice(int(edges[0]), int(edges[-1]))
            _write_nodes(
                *(database, nodes[some], edges - edges[0], ids[here], boxes[here]),
                *(size, depth if top else 0),
            )
            above = np.repeat(nodes[some], np.diff(edges)).tolist()
            database.executemany(
                _ROWID if depth == 0 else _PARENT, zip(ids[here].tolist(), above, strict=True)
            )
        if top:
            return
        joined = np.empty((groups, 4), np.float32)
        joined[:, ::2] = np.minimum.reduceat(boxes[:, ::2], cuts[:-1])
        joined[:, 1::2] = np.maximum.reduceat(boxes[:, 1::2], cuts[:-1])
        ids, boxes, depth = nodes, joined, depth + 1


def _write_nodes(
    database: sqlite3.Connection,
    nodes: NDArray[np.int64],
    cuts: NDArray[np.int64],
    ids: NDArray[np.int64],
    boxes: NDArray[np.float32],
    size: int,
    depth: int,
) -> None:
    cells = np.empty(len(ids), _CELL)
    cells["id"], cells["box"] = ids, boxes
    data = cells.tobytes()

    def node(low: int, high: int) -> bytes:
        head = depth.to_bytes(2, "big") + (high - low).to_bytes(2, "big")
        return (head + data[low * _CELL.itemsize : high * _CELL.itemsize]).ljust(size, b"\0")

    database.executemany(
        "INSERT INTO rtree_nuclei_geom_node VALUES (?, ?)",
        (
            (number, node(low, high))
            for number, (low, high) in zip(nodes.tolist(), pairwise(cuts.tolist()), strict=True)
        ),
    )
