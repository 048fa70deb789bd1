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

from nuhtc.runtime.candidates import Candidates
from nuhtc.runtime.errors import StoreError
from nuhtc.runtime.grid import Grid
from nuhtc.runtime.ragged import ring_areas, ring_bounds, ring_centroids

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
    steps = np.diff(candidates.coords, axis=0, prepend=candidates.coords[:1])
    place = np.arange(len(steps)) - np.repeat(first, np.diff(candidates.offsets))
    along_x = (place & 1).astype(np.bool_)
    across = np.where(along_x, steps[:, 1], steps[:, 0])
    across[first] = 0
    start = candidates.coords[first] - _origins(candidates.tile, grid)
    if across.any() or (len(start) and not 0 <= start.min() <= start.max() <= grid.tile):
        raise ValueError("an outline is not along pixel edges inside its tile")
    along = np.where(along_x, steps[:, 0], steps[:, 1])
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
                pa.array(along[inner].astype(np.int16)),
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
        _flat(batch.column("start")).reshape(-1, 2).astype(np.int32) + _origins(tile, grid),
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


def _walk(
    start: NDArray[np.int32], steps: NDArray[np.int16], offsets: NDArray[np.int64]
) -> NDArray[np.int32]:
    """Return the points (M, 2) that alternate steps lead to from each ring's first point."""
    first = offsets[:-1]
    count = int(offsets[-1])
    inner = np.ones(count, np.bool_)
    inner[first] = False
    along = np.zeros(count, np.int32)
    along[inner] = steps
    lengths = np.diff(offsets)
    place = np.arange(count) - np.repeat(first, lengths)
    coords = np.empty((count, 2), np.int32)
    for axis, mine in enumerate((along * (place & 1), along * (~place & 1))):
        total = np.cumsum(mine, dtype=np.int64)
        # A ring's first entry adds nothing, so the total there is what came before the ring.
        coords[:, axis] = total + np.repeat(start[:, axis] - total[first], lengths)
    return coords


def _origins(tile: NDArray[np.int32], grid: Grid) -> NDArray[np.int32]:
    """Return x, y of each one's tile's corner, int32 (N, 2)."""
    row, col = np.divmod(tile, np.int32(grid.cols))
    return np.stack([col, row], axis=1) * np.int32(grid.stride)


def _flat(column: pa.Array) -> NDArray[Any]:
    return np.asarray(column.flatten().to_numpy())
