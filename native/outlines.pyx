# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Outlines: from small masks in boxes straight to valid rings on pixel edges."""

from libc.stdlib cimport free
from libc.string cimport memcpy
from native._paste cimport MOST_CELLS, Window, paste, window_of
from native._runs cimport Run
from native._solid cimport Outline, Points, Scratch, add_outline

import numpy as np

from nuhtc.native._check import checked, checked_size


cdef int trace_all(
    const float[:, :, ::1] masks, const float[:, ::1] boxes, int width, int height,
    float threshold, int* index, float* part, float* lines, unsigned char* pasted,
    Scratch scratch, Points* points,
    long long[::1] offsets, int[::1] area, float[:, ::1] centroid, int[:, ::1] bbox,
) noexcept nogil:
    """Trace every mask; return 0, or -1 when there is no memory for the points."""
    cdef Py_ssize_t i
    cdef int size = masks.shape[1], wide, k
    cdef Window window
    cdef Outline outline
    for i in range(masks.shape[0]):
        offsets[i + 1] = points.count
        window = window_of(&boxes[i, 0], size, width, height)
        wide = window.x1 - window.x0
        if wide <= 0 or window.y1 <= window.y0:
            continue
        paste(
            &masks[i, 0, 0], size, &boxes[i, 0], window, threshold,
            index, part, lines, pasted, wide + 2,
        )
        if add_outline(pasted, window, scratch, points, &outline) < 0:
            return -1
        offsets[i + 1] = points.count
        area[i] = <int> outline.area
        centroid[i, 0] = <float> outline.centroid[0]
        centroid[i, 1] = <float> outline.centroid[1]
        for k in range(4):
            bbox[i, k] = outline.bbox[k]
    return 0


def trace_masks(masks, boxes, width, height, threshold=0.5):
    """See outlines.pyi."""
    cdef const float[:, :, ::1] mask = checked(masks, "masks", np.float32, (None, None, None))
    cdef int size = mask.shape[1]
    cdef Py_ssize_t count = mask.shape[0]
    if mask.shape[2] != size or (count and not 1 <= size <= MOST_CELLS):
        raise ValueError(f"masks must be square, of 1 to {MOST_CELLS} cells, not {masks.shape}")
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
    cdef float[::1] lines = np.empty((size + 5) * (wide + 1), np.float32)
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
    cdef Scratch scratch
    scratch.runs, scratch.first = <Run*> &run_bytes[0], &first[0]
    scratch.sizes, scratch.flags = &sizes[0], &flags[0]
    cdef Points points
    points.xy = NULL
    points.count = points.room = 0
    cdef int failed
    try:
        with nogil:
            failed = trace_all(
                mask, box, limit_x, limit_y, cut, &index[0], &part[0], &lines[0], &pasted[0],
                scratch, &points, offset_view, area_view, centroid_view, bbox_view,
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
