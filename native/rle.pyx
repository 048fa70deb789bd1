# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Outlines as run-length encoded masks, in COCO's text."""

from libc.math cimport ceil
from libc.stdlib cimport free, malloc, realloc

import numpy as np

from nuhtc.native._check import checked, checked_offsets

cdef enum:
    UNIT = 100
    MOST_CHARACTERS = 32


cdef struct Text:
    unsigned char* at
    Py_ssize_t size
    Py_ssize_t room


cdef struct Runs:
    long long counts[3]
    int number


cdef inline int make_room(Text* text) noexcept nogil:
    cdef unsigned char* larger
    if text.size + MOST_CHARACTERS > text.room:
        larger = <unsigned char*> realloc(text.at, 2 * text.room + MOST_CHARACTERS)
        if larger == NULL:
            return -1
        text.at = larger
        text.room = 2 * text.room + MOST_CHARACTERS
    return 0


cdef int put_count(Text* text, Runs* runs, long long count) noexcept nogil:
    """Write a run's length: its difference to the one before the last, five bits at a time."""
    cdef long long rest = count
    cdef int bits
    cdef bint more = True
    if make_room(text) < 0:
        return -1
    if runs.number > 2:
        rest -= runs.counts[(runs.number - 2) % 3]
    runs.counts[runs.number % 3] = count
    runs.number += 1
    while more:
        bits = rest & 0x1F
        rest >>= 5
        more = rest != -1 if bits & 0x10 else rest != 0
        if more:
            bits |= 0x20
        text.at[text.size] = <unsigned char> (bits + 48)
        text.size += 1
        if bits + 48 == c"\\":
            text.at[text.size] = c"\\"
            text.size += 1
    return 0


cdef Py_ssize_t crossings(
    const int* ring, Py_ssize_t count, double x, double* found
) noexcept nogil:
    """Find where a ring crosses the vertical line at x, from top to bottom."""
    cdef Py_ssize_t i, after, number = 0, place
    cdef double y, share
    for i in range(count):
        after = i + 1 if i + 1 < count else 0
        if (ring[2 * i] <= x) == (ring[2 * after] <= x):
            continue
        share = (x - ring[2 * i]) / (<double> ring[2 * after] - ring[2 * i])
        y = ring[2 * i + 1] + share * (<double> ring[2 * after + 1] - ring[2 * i + 1])
        place = number
        while place > 0 and found[place - 1] > y:
            found[place] = found[place - 1]
            place -= 1
        found[place] = y
        number += 1
    return number


cdef inline long long pixel(double place, long long most) noexcept nogil:
    """Return the first pixel whose centre is at or after a place, from 0 to `most`."""
    cdef double first = ceil((place - UNIT / 2) / UNIT)
    if first < 0:
        return 0
    return most if first > most else <long long> first


cdef long long encode(
    Text* text,
    const int* ring,
    Py_ssize_t count,
    long long width,
    long long height,
    double* found,
) noexcept nogil:
    """Write one ring's mask; return its pixels, or -1 if there is no memory."""
    cdef Runs runs
    cdef Py_ssize_t i, k, number
    cdef long long left = width * UNIT, right = 0, col, area = 0
    cdef long long low, high, start = 0, stop = 0, done = 0
    cdef bint open_run = False
    runs.number = 0
    for i in range(count):
        left = min(left, ring[2 * i])
        right = max(right, ring[2 * i])
    for col in range(pixel(left, width), pixel(right, width)):
        number = crossings(ring, count, <double> col * UNIT + UNIT / 2, found)
        for k in range(0, number - 1, 2):
            low = col * height + pixel(found[k], height)
            high = col * height + pixel(found[k + 1], height)
            if low == high:
                continue
            area += high - low
            if open_run and low == stop:
                stop = high
                continue
            if open_run:
                if put_count(text, &runs, start - done) or put_count(text, &runs, stop - start):
                    return -1
                done = stop
            open_run, start, stop = True, low, high
    if open_run:
        if put_count(text, &runs, start - done) or put_count(text, &runs, stop - start):
            return -1
        done = stop
    if done < width * height and put_count(text, &runs, width * height - done):
        return -1
    return area


def rle_texts(coords, offsets, sizes):
    """See rle.pyi."""
    cdef const int[:, ::1] points = checked(coords, "coords", np.int32, (None, 2))
    cdef const long long[::1] cuts = checked_offsets(offsets, "offsets", points.shape[0])
    cdef Py_ssize_t rings = cuts.shape[0] - 1, ring, longest = 0
    cdef const long long[:, ::1] size = checked(sizes, "sizes", np.int64, (rings, 2))
    if rings and (np.min(sizes) < 1 or np.max(np.prod(sizes, axis=1)) >= 1 << 32):
        raise ValueError("sizes must be from 1 pixel to less than 2**32 pixels")
    ends = np.zeros(rings + 1, np.int64)
    areas = np.zeros(rings, np.int64)
    if not rings:
        return np.zeros(0, np.uint8), ends, areas
    cdef long long[::1] end = ends, area = areas
    cdef Text text
    cdef double* found
    cdef const int* nothing = NULL
    longest = np.max(np.diff(offsets))
    text.size, text.room = 0, 64 * rings
    text.at = <unsigned char*> malloc(text.room)
    found = <double*> malloc((longest + 1) * sizeof(double))
    try:
        if text.at == NULL or found == NULL:
            raise MemoryError
        with nogil:
            for ring in range(rings):
                area[ring] = encode(
                    &text,
                    &points[cuts[ring], 0] if cuts[ring + 1] > cuts[ring] else nothing,
                    cuts[ring + 1] - cuts[ring],
                    size[ring, 0],
                    size[ring, 1],
                    found,
                )
                end[ring + 1] = text.size
                if area[ring] < 0:
                    break
        if np.min(areas) < 0:
            raise MemoryError
        return np.asarray(<unsigned char[:text.size]> text.at).copy(), ends, areas
    finally:
        free(text.at)
        free(found)
