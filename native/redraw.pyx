# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Outlines from outlines: some united, others taken away from them."""

from libc.stdlib cimport free
from libc.string cimport memcpy, memset
from native._paste cimport Window
from native._rings cimport Rings, check_all, rings_of
from native._runs cimport Run
from native._solid cimport Outline, Points, Scratch, add_outline

import numpy as np

from nuhtc.native._check import checked, checked_offsets

WIDEST = 1 << 14


cdef void draw(
    Rings rings, long long ring, Window window, bint take, unsigned char* sides,
    unsigned char* mask,
) noexcept nogil:
    """Set the pixels inside a ring to 1, or to 0 where it takes them, as far as in the window.

    `sides` is scratch of the window's size. A pixel is inside if an odd number of the ring's
    vertical edges is at its left.
    """
    cdef int width = window.x1 - window.x0, height = window.y1 - window.y0, x, y, low, high
    cdef long long i
    cdef const int* here
    cdef const int* there
    cdef unsigned char inside, full = not take
    cdef unsigned char* row
    memset(sides, 0, <size_t> width * height)
    for i in range(rings.offsets[ring], rings.offsets[ring + 1]):
        here = rings.xy + 2 * i
        there = here + 2
        if i + 1 == rings.offsets[ring + 1]:
            there = rings.xy + 2 * rings.offsets[ring]
        if here[0] == there[0] and here[0] < window.x1:
            x = max(here[0], window.x0) - window.x0
            low = max(min(here[1], there[1]), window.y0) - window.y0
            high = min(max(here[1], there[1]), window.y1) - window.y0
            for y in range(low, high):
                sides[<size_t> y * width + x] ^= 1
    for y in range(height):
        row = mask + <size_t> (y + 1) * (width + 2) + 1
        inside = 0
        for x in range(width):
            inside ^= sides[<size_t> y * width + x]
            if inside:
                row[x] = full


cdef Window span_of(
    Rings rings, const long long[::1] ring, const unsigned char[::1] takes,
    Py_ssize_t start, Py_ssize_t stop,
) noexcept nogil:
    """Return the box around the rings that are not taken away; an empty one if there is none."""
    cdef Window span
    cdef Py_ssize_t k, p
    span.x0 = span.y0 = 0x7FFFFFFF
    span.x1 = span.y1 = -0x7FFFFFFF - 1
    for k in range(start, stop):
        if not takes[k]:
            for p in range(rings.offsets[ring[k]], rings.offsets[ring[k] + 1]):
                span.x0 = min(span.x0, rings.xy[2 * p])
                span.y0 = min(span.y0, rings.xy[2 * p + 1])
                span.x1 = max(span.x1, rings.xy[2 * p])
                span.y1 = max(span.y1, rings.xy[2 * p + 1])
    if span.x0 >= span.x1 or span.y0 >= span.y1:
        span.x0 = span.x1 = span.y0 = span.y1 = 0
    return span


cdef int redraw_all(
    Rings rings, const long long[::1] ring, const unsigned char[::1] takes,
    const long long[::1] ends, unsigned char* sides, unsigned char* mask, Scratch scratch,
    Points* points, long long[::1] offsets, long long[::1] area, double[:, ::1] centroid,
    int[:, ::1] bbox,
) noexcept nogil:
    """Draw every new outline; return 0, or -1 when there is no memory for the points."""
    cdef Py_ssize_t i, k
    cdef Window window
    cdef Outline outline
    for i in range(area.shape[0]):
        offsets[i + 1] = points.count
        window = span_of(rings, ring, takes, ends[i], ends[i + 1])
        if window.x0 == window.x1:
            continue
        memset(mask, 0, <size_t> (window.x1 - window.x0 + 2) * (window.y1 - window.y0 + 2))
        for k in range(ends[i], ends[i + 1]):
            draw(rings, ring[k], window, takes[k], sides, mask)
        if add_outline(mask, window, scratch, points, &outline) < 0:
            return -1
        offsets[i + 1] = points.count
        area[i] = outline.area
        for k in range(2):
            centroid[i, k] = outline.centroid[k]
        for k in range(4):
            bbox[i, k] = outline.bbox[k]
    return 0


def redraw_rings(coords, offsets, rings, takes, ends):
    """See redraw.pyi."""
    cdef const int[:, ::1] points = checked(coords, "coords", np.int32, (None, 2))
    cdef const long long[::1] cuts = checked_offsets(offsets, "offsets", points.shape[0])
    cdef const long long[::1] ring = checked(rings, "rings", np.int64, (None,))
    cdef Py_ssize_t drawn = ring.shape[0], last = cuts.shape[0] - 2
    cdef const unsigned char[::1] take = checked(takes, "takes", np.bool_, (drawn,)).view(np.uint8)
    cdef const long long[::1] end = checked_offsets(ends, "ends", drawn)
    cdef Py_ssize_t count = end.shape[0] - 1, i
    if drawn and not 0 <= np.min(rings) <= np.max(rings) <= last:
        raise ValueError(f"rings must name rings from 0 to {last}")
    cdef Rings given = rings_of(points, cuts)
    check_all(given, last + 1)
    cdef Window span
    cdef long long wide, high, rows = 1, pixels = 1
    for i in range(count):
        span = span_of(given, ring, take, end[i], end[i + 1])
        wide, high = <long long> span.x1 - span.x0 + 2, <long long> span.y1 - span.y0 + 2
        if max(wide, high) > WIDEST:
            raise ValueError(f"coords: outline {i} would span more than {WIDEST} pixels")
        rows, pixels = max(rows, high), max(pixels, wide * high)
    made = np.zeros(count + 1, np.int64)
    area, bbox = np.zeros(count, np.int64), np.zeros((count, 4), np.int32)
    centroid = np.zeros((count, 2), np.float64)
    cdef unsigned char[::1] sides = np.empty(pixels, np.uint8), mask = np.empty(pixels, np.uint8)
    cdef unsigned char[::1] run_bytes = np.empty(pixels * sizeof(Run), np.uint8)
    cdef int[::1] first = np.empty(rows + 1, np.int32), sizes = np.empty(pixels, np.int32)
    cdef unsigned char[::1] flags = np.empty(pixels, np.uint8)
    cdef Scratch scratch
    scratch.runs, scratch.first = <Run*> &run_bytes[0], &first[0]
    scratch.sizes, scratch.flags = &sizes[0], &flags[0]
    cdef long long[::1] made_view = made, area_view = area
    cdef double[:, ::1] centroid_view = centroid
    cdef int[:, ::1] bbox_view = bbox, drawn_view
    cdef Points found
    found.xy = NULL
    found.count = found.room = 0
    cdef int failed
    try:
        with nogil:
            failed = redraw_all(
                given, ring, take, end, &sides[0], &mask[0], scratch, &found,
                made_view, area_view, centroid_view, bbox_view,
            )
        if failed:
            raise MemoryError("no memory for the outlines' points")
        outlines = np.empty((found.count, 2), np.int32)
        if found.count:
            drawn_view = outlines
            memcpy(&drawn_view[0, 0], found.xy, found.count * 2 * sizeof(int))
    finally:
        free(found.xy)
    return outlines, made, area, centroid, bbox
