"""One part as Arrow: what each candidate keeps, and what follows from it.

========================= =========================================================================
`tile`                    int32: the tile that answered, row * columns + column
`label`                   uint8: the class it was found as
`cut`                     bool: the outline ends at its tile's edge
`probabilities`           float32, one per class
`start`                   uint16 x, y of the outline's first point, in its tile
`steps`                   int16 per further point: alternately along x and along y, as outlines on
                          pixel edges go (see `nuhtc.native.outlines`)
========================= =========================================================================

Score, area, centroid and box follow from these exactly and are not stored.
"""

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from nuhtc.runtime.ground.errors import StoreError
from nuhtc.runtime.nuclei.candidates import Candidates
from nuhtc.runtime.nuclei.ragged import ring_areas, ring_bounds, ring_centroids
from nuhtc.runtime.tiles.grid import Grid

_COMPRESSION = pa.ipc.IpcWriteOptions(compression=pa.Codec("zstd", compression_level=1))


def schema(classes: int) -> pa.Schema:
    """Return the columns of a part for so many classes."""
    return pa.schema(
        [
            pa.field("tile", pa.int32(), nullable=False),
            pa.field("label", pa.uint8(), nullable=False),
            pa.field("cut", pa.bool_(), nullable=False),
            pa.field("probabilities", pa.list_(pa.float32(), classes), nullable=False),
            pa.field("start", pa.list_(pa.uint16(), 2), nullable=False),
            pa.field("steps", pa.list_(pa.int16()), nullable=False),
        ]
    )


def encode(candidates: Candidates, grid: Grid) -> pa.Buffer:
    """Return a part's file, the same bytes for the same candidates.

    Raises
    ------
    ValueError
        When an outline does not alternate between steps along x and along y, or leaves its tile.
    """
    first = candidates.offsets[:-1]
    along, turns = _steps(candidates.coords, first)
    start = candidates.coords[first] - grid.corners(candidates.tile).astype(np.int32)
    inside = not len(start) or 0 <= start.min() <= start.max() <= grid.tile
    if not (turns and inside) or (first & 1).any():
        raise ValueError("an outline is not along pixel edges inside its tile")
    inner = np.ones(len(along), np.bool_)
    inner[first] = False
    offsets = candidates.offsets - np.arange(len(candidates.offsets))
    columns = schema(candidates.probabilities.shape[1])
    batch = pa.RecordBatch.from_arrays(
        [
            pa.array(candidates.tile),
            pa.array(candidates.label),
            pa.array(candidates.cut),
            pa.FixedSizeListArray.from_arrays(
                pa.array(candidates.probabilities.ravel()), type=columns.field(3).type
            ),
            pa.FixedSizeListArray.from_arrays(
                pa.array(start.astype(np.uint16).ravel()), type=columns.field(4).type
            ),
            pa.ListArray.from_arrays(
                pa.array(offsets.astype(np.int32)),
                pa.array(along[inner]),
                type=columns.field(5).type,
            ),
        ],
        schema=columns,
    )
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, columns, options=_COMPRESSION) as writer:
        writer.write_batch(batch)
    return sink.getvalue()


def decode(data: bytes | pa.Buffer, grid: Grid, classes: int) -> Candidates:
    """Return the candidates of a part's file.

    Raises
    ------
    StoreError
        When it is no part of this many classes.
    """
    try:
        with pa.ipc.open_file(pa.BufferReader(data)) as reader:
            if reader.schema != schema(classes) or reader.num_record_batches != 1:
                raise StoreError("has other columns than a part has")
            batch = reader.get_batch(0)
    except pa.ArrowException as error:
        raise StoreError("is no Arrow file") from error
    tile = batch.column("tile").to_numpy()
    label = batch.column("label").to_numpy()
    probabilities = _flat(batch.column("probabilities")).reshape(-1, classes)
    steps = batch.column("steps")
    offsets = steps.offsets.to_numpy().astype(np.int64) + np.arange(len(steps) + 1)
    coords = _walk(
        _flat(batch.column("start")).reshape(-1, 2).astype(np.int32)
        + grid.corners(tile).astype(np.int32),
        _flat(steps),
        offsets,
    )
    return Candidates(
        coords=coords,
        offsets=offsets,
        area=ring_areas(coords, offsets) // 2,
        centroid=ring_centroids(coords, offsets),
        bbox=ring_bounds(coords, offsets),
        label=label,
        score=probabilities[np.arange(len(label)), label],
        probabilities=probabilities,
        tile=tile,
        cut=batch.column("cut").to_numpy(zero_copy_only=False),
    )


def _steps(coords: NDArray[np.int32], first: NDArray[np.int64]) -> tuple[NDArray[np.int16], bool]:
    """Return each point's step from the one before, and whether x and y take turns.

    A ring that turns at every point has an even number of them, so that in the points of all
    rings, one ring after the other, every odd step is along x and every even one along y.
    """
    if len(coords) & 1:
        return np.zeros(len(coords), np.int16), False
    pairs = coords.reshape(-1, 2, 2)
    along = np.zeros((len(pairs), 2), np.int16)
    np.subtract(pairs[:, 1, 0], pairs[:, 0, 0], out=along[:, 1], casting="unsafe")
    np.subtract(pairs[1:, 0, 1], pairs[:-1, 1, 1], out=along[1:, 0], casting="unsafe")
    kept_x = pairs[1:, 0, 0] == pairs[:-1, 1, 0]
    # Between rings nothing is kept, nor need it be.
    kept_x[first[1:] // 2 - 1] = True
    turns = bool(kept_x.all() and (pairs[:, 1, 1] == pairs[:, 0, 1]).all())
    return along.reshape(-1), turns


def _walk(
    start: NDArray[np.int32], steps: NDArray[np.int16], offsets: NDArray[np.int64]
) -> NDArray[np.int32]:
    """Return the points (M, 2) that alternate steps lead to from each ring's first point.

    Raises
    ------
    StoreError
        When a ring has an odd number of points.
    """
    first = offsets[:-1]
    if (offsets & 1).any():
        raise StoreError("has an outline that does not turn at every point")
    inner = np.ones(int(offsets[-1]), np.bool_)
    inner[first] = False
    along = np.zeros(len(inner), np.int16)
    along[inner] = steps
    pairs = along.reshape(-1, 2)
    coords = np.empty((len(pairs), 2, 2), np.int32)
    lengths = np.diff(offsets) // 2
    for axis, moves in enumerate((pairs[:, 1], pairs[:, 0])):
        total = np.cumsum(moves, dtype=np.int32)
        # A ring's place in the running total is what the rings before it left there.
        before = total[first // 2] - moves[first // 2]
        place = total + np.repeat(start[:, axis] - before, lengths)
        coords[:, 1, axis] = place
        # Along x the first of two points stands where the pair before ended, along y both agree.
        coords[:, 0, axis] = place - moves if axis == 0 else place
    return coords.reshape(-1, 2)


def _flat(column: pa.Array) -> NDArray[Any]:
    return np.asarray(column.flatten().to_numpy())
