# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Stitching: shared areas of outlines, and which of several answers for a nucleus stays."""

from libc.stdlib cimport free
from libc.string cimport memcpy
from native._rings cimport Rings, check_all, refuse_slanted, rings_of, shared_area
from native._rivals cimport (
    MANY_CELLS, Entry, Pairs, Raster, Scene, compare, compare_and_enter,
)

import numpy as np

from nuhtc.native._check import checked, checked_offsets, checked_size


def overlap_areas(coords, offsets, pairs):
    """See stitch.pyi."""
    cdef const int[:, ::1] points = checked(coords, "coords", np.int32, (None, 2))
    cdef const long long[::1] cuts = checked_offsets(offsets, "offsets", points.shape[0])
    cdef const long long[:, ::1] pair = checked(pairs, "pairs", np.int64, (None, 2))
    cdef Rings rings = rings_of(points, cuts)
    check_all(rings, cuts.shape[0] - 1)
    cdef Py_ssize_t i, count = pair.shape[0], last = cuts.shape[0] - 2
    if count and not 0 <= np.min(pair) <= np.max(pair) <= last:
        raise ValueError(f"pairs must name rings from 0 to {last}")
    areas = np.zeros(count, np.int64)
    cdef long long[::1] area = areas
    with nogil:
        for i in range(count):
            area[i] = shared_area(rings, pair[i, 0], pair[i, 1])
    return areas


cdef int find_pairs(
    Scene* scene, Raster* raster, Pairs* pairs, const unsigned char[::1] wide
) noexcept nogil:
    """Find all pairs that are the same nucleus; return -1 if there is no memory.

    The few boxes that are too wide for the raster are compared with all others one by one.
    """
    cdef Py_ssize_t a, b
    for a in range(wide.shape[0]):
        if not wide[a]:
            if compare_and_enter(scene, raster, pairs, a) < 0:
                return -1
            continue
        for b in range(wide.shape[0]):
            if (b < a or not wide[b]) and compare(scene, pairs, a, b) < 0:
                return -1
    return 0


cdef long long count_cells(
    const int[:, ::1] box, int shift, unsigned char[::1] wide
) noexcept nogil:
    """Mark the boxes in too many cells of the raster; return how many the others touch."""
    cdef Py_ssize_t i
    cdef long long columns, rows, total = 0
    for i in range(box.shape[0]):
        columns = ((<long long> box[i, 2] - 1) >> shift) - (box[i, 0] >> shift) + 1
        rows = ((<long long> box[i, 3] - 1) >> shift) - (box[i, 1] >> shift) + 1
        columns, rows = max(columns, 0), max(rows, 0)
        wide[i] = columns > MANY_CELLS or rows > MANY_CELLS or columns * rows > MANY_CELLS
        if not wide[i]:
            total += columns * rows
    return total


cdef void write_keys(
    const int[::1] tile, const unsigned char[::1] owned, const unsigned char[::1] cut,
    const float[::1] score, unsigned long long[::1] key,
) noexcept nogil:
    """Write one number for each candidate, the smallest for the one to prefer.

    From the highest bit down: cut, not owned, the score inverted, the tile. Equal numbers
    belong to one tile, whose candidates never compete: their order does not matter.
    """
    cdef Py_ssize_t i
    cdef float value
    cdef unsigned int bits
    for i in range(tile.shape[0]):
        value = score[i] + <float> 0  # -0 becomes 0
        memcpy(&bits, &value, sizeof(float))
        bits = bits if bits >> 31 else ~(bits | <unsigned int> 0x80000000)
        key[i] = (
            (<unsigned long long> cut[i] << 63) | (<unsigned long long> (not owned[i]) << 62)
            | (<unsigned long long> bits << 30) | <unsigned long long> tile[i]
        )


def drop_worse(pairs, count):
    """See stitch.pyi."""
    cdef const int[:, ::1] pair = checked(pairs, "pairs", np.int32, (None, 2))
    cdef Py_ssize_t i, most = checked_size(count, "count", least=0, most=(1 << 31) - 1)
    if pair.shape[0] and not 0 <= np.min(pair) <= np.max(pair) < most:
        raise ValueError(f"pairs must name candidates from 0 to {most - 1}")
    keep = np.ones(most, np.bool_)
    cdef unsigned char[::1] stays = keep.view(np.uint8)
    with nogil:
        for i in range(pair.shape[0]):
            # It is worse only in earlier pairs, so whether the better one stays is settled.
            if stays[pair[i, 1]]:
                stays[pair[i, 0]] = 0
    return keep


def find_rivals(
    coords, offsets, bbox, area, tile, owned, cut, score, *,
    probe=None, windows=None, share=0.5,
):
    """See stitch.pyi."""
    cdef const int[:, ::1] points = checked(coords, "coords", np.int32, (None, 2))
    cdef const long long[::1] cuts = checked_offsets(offsets, "offsets", points.shape[0])
    cdef int count = cuts.shape[0] - 1
    bbox = checked(bbox, "bbox", np.int32, (count, 4))
    tile = checked(tile, "tile", np.int32, (count,))
    score = checked(score, "score", np.float32, (count,))
    owned = checked(owned, "owned", np.bool_, (count,)).view(np.uint8)
    cut = checked(cut, "cut", np.bool_, (count,)).view(np.uint8)
    probe = np.ones(count, np.bool_) if probe is None else probe
    cdef const int[:, ::1] box = bbox
    cdef const long long[::1] areas = checked(area, "area", np.int64, (count,))
    cdef const int[::1] tiles = tile
    cdef const unsigned char[::1] cut_view = cut
    cdef const unsigned char[::1] probe_view = (
        checked(probe, "probe", np.bool_, (count,)).view(np.uint8)
    )
    cdef const int[:, ::1] window
    if np.isnan(score).any():
        raise ValueError("score must not be NaN")
    if not 0 < share < 1:
        raise ValueError(f"share must be between 0 and 1, not {share}")
    if count == 0:
        return np.empty((0, 2), np.int32)
    if tile.min() < 0 or tile.max() >= 1 << 30:
        raise ValueError("tile must be from 0 to 2**30 - 1")

    keys = np.empty(count, np.uint64)
    cdef unsigned long long[::1] key = keys
    cdef Scene scene
    cdef Raster raster
    cdef Pairs pairs
    write_keys(tiles, owned, cut_view, score, key)
    scene.rings, scene.slanted = rings_of(points, cuts), -1
    scene.box, scene.area, scene.tile = &box[0, 0], &areas[0], &tiles[0]
    scene.cut, scene.probe, scene.window = &cut_view[0], &probe_view[0], NULL
    scene.key, scene.share = &key[0], share
    if windows is not None:
        window = checked(windows, "windows", np.int32, (count, 4))
        scene.window = &window[0, 0]
    # Cells of about twice the usual box: most boxes touch one, two or four.
    some = bbox[:: max(count // 4096, 1)].astype(np.int64)
    raster.shift = min(int(np.median(some[:, 2] - some[:, 0]).clip(1)).bit_length() + 1, 31)
    cdef unsigned char[::1] wide = np.empty(count, np.uint8)
    cdef long long entries = count_cells(box, raster.shift, wide)
    if entries >= 1 << 31:
        raise ValueError("coords: too many outlines at once; give them in parts")
    cdef int[::1] head = np.full(1 << int(entries).bit_length(), -1, np.int32)
    cdef unsigned char[::1] entry_bytes = np.empty((entries + 1) * sizeof(Entry), np.uint8)
    raster.head, raster.entry = &head[0], <Entry*> &entry_bytes[0]
    raster.mask, raster.entries = <unsigned int> (head.shape[0] - 1), 0
    pairs.ends, pairs.count, pairs.room = NULL, 0, 0
    cdef int failed
    cdef int[:, ::1] found
    try:
        with nogil:
            failed = find_pairs(&scene, &raster, &pairs, wide)
        if failed:
            raise MemoryError("no memory for the pairs of outlines that are the same nucleus")
        if scene.slanted >= 0:
            refuse_slanted(scene.slanted)
        ends = np.empty((pairs.count, 2), np.int32)
        if pairs.count:
            found = ends
            memcpy(&found[0, 0], pairs.ends, 2 * pairs.count * sizeof(int))
    finally:
        free(pairs.ends)
    return ends[np.argsort(keys[ends[:, 0]])]


def resolve_borders(
    coords, offsets, bbox, area, tile, owned, cut, score, *,
    probe=None, windows=None, share=0.5,
):
    """See stitch.pyi."""
    pairs = find_rivals(
        coords, offsets, bbox, area, tile, owned, cut, score,
        probe=probe, windows=windows, share=share,
    )
    return drop_worse(pairs, len(tile))
