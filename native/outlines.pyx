# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Outlines: from small masks in boxes straight to valid rings on pixel edges."""

from libc.stdlib cimport free, realloc
from libc.string cimport memcpy, memset
from native._paste cimport Window, paste, window_of
from native._runs cimport Run, fill_holes, find_root, scan_rows

import numpy as np

from nuhtc.native._check import checked, checked_size


cdef struct Points:
    int* xy
    Py_ssize_t count
    Py_ssize_t room


cdef void rewrite(
    unsigned char* mask, int height, int stride, Run* runs, const int* first, int root
) noexcept nogil:
    """Write foreground runs back; with a root (not -1), erase those that are not its own."""
    cdef int y, i
    cdef bint kept
    for y in range(height):
        for i in range(first[y], first[y + 1]):
            if runs[i].value == 1:
                kept = root < 0 or find_root(runs, i) == root
                memset(
                    mask + <size_t> (y + 1) * stride + 1 + runs[i].start, kept,
                    runs[i].stop - runs[i].start,
                )


cdef int keep_largest(
    unsigned char* mask, int width, int height, int stride,
    Run* runs, int* first, int* area, unsigned char* flags,
) noexcept nogil:
    """Leave the largest component of a mask with its holes filled; return its runs' number."""
    cdef int i, components = 0, best = 0
    cdef int count = scan_rows(mask + stride + 1, width, height, stride, runs, first)
    for i in range(count):
        area[i] = 0
        if runs[i].value == 1:
            components += runs[i].parent == i
            area[find_root(runs, i)] += runs[i].stop - runs[i].start
    if components == 0:
        return 0
    if components > 1:
        for i in range(count):
            if area[i] > area[best]:
                best = i
        rewrite(mask, height, stride, runs, first, best)
        count = scan_rows(mask + stride + 1, width, height, stride, runs, first)
    if fill_holes(runs, first, width, height, flags):
        rewrite(mask, height, stride, runs, first, -1)
    return count


cdef long long measure(
    const Run* runs, const int* first, Window window, float* centroid, int* bbox
) noexcept nogil:
    """Write the centroid and the bounding box of the foreground; return its area."""
    cdef int y, i
    cdef long long area = 0, length
    cdef double sum_x = 0, sum_y = 0
    bbox[0], bbox[1], bbox[2], bbox[3] = window.x1, window.y1, window.x0, window.y0
    for y in range(window.y1 - window.y0):
        for i in range(first[y], first[y + 1]):
            if runs[i].value == 1:
                length = runs[i].stop - runs[i].start
                area += length
                sum_x += 0.5 * (runs[i].start + runs[i].stop) * length
                sum_y += (y + 0.5) * length
                bbox[0] = min(bbox[0], window.x0 + runs[i].start)
                bbox[1] = min(bbox[1], window.y0 + y)
                bbox[2] = max(bbox[2], window.x0 + runs[i].stop)
                bbox[3] = window.y0 + y + 1
    centroid[0] = <float> (window.x0 + sum_x / area)
    centroid[1] = <float> (window.y0 + sum_y / area)
    return area


cdef int trace(const unsigned char* mask, int stride, Window window, int* xy) noexcept nogil:
    """Walk once around the foreground along pixel edges; return the number of corners.

    The walk begins at the top left corner of the first pixel in scan order, to the right, and
    keeps the foreground at its right hand as seen on a screen:

              ahead left       ahead right empty: turn right
        walk > +               ahead left full:   turn left
              ahead right      else:              straight on

    A filled, 4-connected component never meets itself at a corner, so the ring is simple.
    """
    cdef const unsigned char* pixel = mask + stride + 1
    while not pixel[0]:
        pixel += 1
    cdef int start_x = <int> ((pixel - mask) % stride) - 1
    cdef int start_y = <int> ((pixel - mask) / stride) - 1
    cdef int x = start_x, y = start_y, swap, count = 0
    # `pixel` is the one at the right hand of the next edge; `left` leads across that edge.
    cdef int step_x = 1, step_y = 0
    cdef Py_ssize_t forward = 1, left = -stride, turn
    while True:
        xy[2 * count] = window.x0 + x
        xy[2 * count + 1] = window.y0 + y
        count += 1
        while True:
            x += step_x
            y += step_y
            pixel += forward
            if not pixel[0]:
                # Right: what was ahead of the walk lies at its left from now on.
                pixel -= forward
                turn = forward
                forward = -left
                left = turn
                swap = step_x
                step_x = -step_y
                step_y = swap
                break
            if pixel[left]:
                pixel += left
                turn = forward
                forward = left
                left = -turn
                swap = step_x
                step_x = step_y
                step_y = -swap
                break
        if x == start_x and y == start_y:
            return count


cdef int trace_all(
    const float[:, :, ::1] masks, const float[:, ::1] boxes, int width, int height,
    float threshold, int* index, float* part, float* lines, unsigned char* pasted,
    Run* runs, int* first, int* sizes, unsigned char* flags, Points* points,
    long long[::1] offsets, int[::1] area, float[:, ::1] centroid, int[:, ::1] bbox,
) noexcept nogil:
    """Trace every mask; return 0, or -1 when there is no memory for the points."""
    cdef Py_ssize_t i, room
    cdef int size = masks.shape[1], count, wide, high
    cdef Window window
    cdef int* grown
    for i in range(masks.shape[0]):
        offsets[i + 1] = points.count
        window = window_of(&boxes[i, 0], size, width, height)
        wide, high = window.x1 - window.x0, window.y1 - window.y0
        if wide <= 0 or high <= 0:
            continue
        paste(
            &masks[i, 0, 0], size, &boxes[i, 0], window, threshold,
            index, part, lines, pasted, wide + 2,
        )
        count = keep_largest(pasted, wide, high, wide + 2, runs, first, sizes, flags)
        if count == 0:
            continue
        # A run of foreground has two ends, and each of them at most two corners.
        room = points.count + 4 * <Py_ssize_t> count
        if room > points.room:
            room *= 2
            grown = <int*> realloc(points.xy, room * 2 * sizeof(int))
            if grown == NULL:
                return -1
            points.xy, points.room = grown, room
        area[i] = <int> measure(runs, first, window, &centroid[i, 0], &bbox[i, 0])
        points.count += trace(pasted, wide + 2, window, points.xy + 2 * points.count)
        offsets[i + 1] = points.count
    return 0


def trace_masks(masks, boxes, width, height, threshold=0.5):
    """See outlines.pyi."""
    cdef const float[:, :, ::1] mask = checked(masks, "masks", np.float32, (None, None, None))
    cdef int size = mask.shape[1]
    cdef Py_ssize_t count = mask.shape[0]
    if mask.shape[2] != size or (count and not 1 <= size <= 1024):
        raise ValueError(f"masks must be square, of 1 to 1024 cells, not {masks.shape}")
    cdef const float[:, ::1] box = checked(boxes, "boxes", np.float32, (count, 4))
    cdef int limit_x = checked_size(width, "width")
    cdef int limit_y = checked_size(height, "height")
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold must be above 0 and at most 1, not {threshold}")
    cdef float cut = threshold
    offsets = np.zeros(count + 1, np.int64)
    area = np.zeros(count, np.int32)
    centroid = np.zeros((count, 2), np.float32)
    bbox = np.zeros((count, 4), np.int32)

    cdef Py_ssize_t i, wide = 1, high = 1, pixels = 1
    cdef Window window
    for i in range(count):
        window = window_of(&box[i, 0], size, limit_x, limit_y)
        wide = max(wide, window.x1 - window.x0 + 2)
        high = max(high, window.y1 - window.y0 + 2)
        pixels = max(pixels, <Py_ssize_t> (window.x1 - window.x0 + 2) * (window.y1 - window.y0 + 2))
    cdef int[::1] index = np.empty(max(wide, high), np.int32)
    cdef float[::1] part = np.empty(max(wide, high), np.float32)
    cdef float[::1] lines = np.empty((size + 2) * (wide + 1), np.float32)
    cdef unsigned char[::1] pasted = np.empty(pixels, np.uint8)
    cdef unsigned char[::1] run_bytes = np.empty(pixels * sizeof(Run), np.uint8)
    cdef int[::1] first = np.empty(high + 1, np.int32)
    cdef int[::1] sizes = np.empty(pixels, np.int32)
    cdef unsigned char[::1] flags = np.empty(pixels, np.uint8)
    cdef long long[::1] offset_view = offsets
    cdef int[::1] area_view = area
    cdef float[:, ::1] centroid_view = centroid
    cdef int[:, ::1] bbox_view = bbox
    cdef int[:, ::1] coord_view
    cdef Points points
    points.xy = NULL
    points.count = points.room = 0
    cdef int failed
    try:
        with nogil:
            failed = trace_all(
                mask, box, limit_x, limit_y, cut, &index[0], &part[0], &lines[0], &pasted[0],
                <Run*> &run_bytes[0], &first[0], &sizes[0], &flags[0], &points,
                offset_view, area_view, centroid_view, bbox_view,
            )
        if failed:
            raise MemoryError("no memory for the outlines' points")
        coords = np.empty((points.count, 2), np.int32)
        if points.count:
            coord_view = coords
            memcpy(&coord_view[0, 0], points.xy, points.count * 2 * sizeof(int))
    finally:
        free(points.xy)
    return coords, offsets, area, centroid, bbox
