# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Numbers and outlines as text, many at a time, into one buffer."""

from libc.string cimport memcpy

import numpy as np

from nuhtc.native._check import checked, checked_offsets

cdef enum:
    MOST_DIGITS = 24


cdef inline Py_ssize_t put_decimal(
    unsigned char* out, long long value, int places
) noexcept nogil:
    """Write value / 10**places without trailing zeros; return the bytes written."""
    cdef unsigned char digits[MOST_DIGITS]
    cdef Py_ssize_t length = 0, count = 0, least, i
    cdef unsigned long long rest
    if value < 0:
        out[0] = c"-"
        length = 1
        rest = <unsigned long long> (-(value + 1)) + 1
    else:
        rest = <unsigned long long> value
    while places > 0 and rest % 10 == 0:
        rest //= 10
        places -= 1
    # At least one digit stands before the point.
    least = places + 2 if places > 0 else 1
    while rest > 0 or count < least:
        if count == places and places > 0:
            digits[count] = c"."
            count += 1
        digits[count] = <unsigned char> (c"0" + rest % 10)
        rest //= 10
        count += 1
    for i in range(count):
        out[length + i] = digits[count - 1 - i]
    return length + count


cdef inline Py_ssize_t put(unsigned char* out, const unsigned char[::1] text) noexcept nogil:
    if text.shape[0]:
        memcpy(out, &text[0], text.shape[0])
    return text.shape[0]


def ring_texts(coords, offsets, places, opening, between, closing, *, closed):
    """See text.pyi."""
    cdef const int[:, ::1] points = checked(coords, "coords", np.int32, (None, 2))
    cdef const long long[::1] cuts = checked_offsets(offsets, "offsets", points.shape[0])
    if not 0 <= places <= 9:
        raise ValueError(f"places must be from 0 to 9, not {places}")
    cdef const unsigned char[::1] before = bytearray(opening)
    cdef const unsigned char[::1] middle = bytearray(between)
    cdef const unsigned char[::1] after = bytearray(closing)
    cdef Py_ssize_t rings = cuts.shape[0] - 1, ring, i, first, count, at = 0
    cdef int decimals = places
    cdef bint again = closed
    most = 2 * MOST_DIGITS + 1 + len(opening) + len(between) + len(closing)
    text = np.empty((points.shape[0] + rings) * most, np.uint8)
    ends = np.zeros(rings + 1, np.int64)
    if not len(text):
        return text, ends
    cdef unsigned char[::1] out = text
    cdef long long[::1] end = ends
    with nogil:
        for ring in range(rings):
            first = cuts[ring]
            count = cuts[ring + 1] - first
            for i in range(count + 1 if again and count else count):
                if i:
                    out[at] = c","
                    at += 1
                at += put(&out[at], before)
                at += put_decimal(&out[at], points[first + i % count, 0], decimals)
                at += put(&out[at], middle)
                at += put_decimal(&out[at], points[first + i % count, 1], decimals)
                at += put(&out[at], after)
            end[ring + 1] = at
    return text[:at], ends


def decimal_texts(values, places):
    """See text.pyi."""
    cdef const long long[::1] numbers = checked(values, "values", np.int64, (None,))
    if not 0 <= places <= 18:
        raise ValueError(f"places must be from 0 to 18, not {places}")
    text = np.empty(numbers.shape[0] * MOST_DIGITS, np.uint8)
    ends = np.zeros(numbers.shape[0] + 1, np.int64)
    if not len(text):
        return text, ends
    cdef unsigned char[::1] out = text
    cdef long long[::1] end = ends
    cdef Py_ssize_t i, at = 0
    cdef int decimals = places
    with nogil:
        for i in range(numbers.shape[0]):
            at += put_decimal(&out[at], numbers[i], decimals)
            end[i + 1] = at
    return text[:at], ends


cdef int copy_column(
    unsigned char[::1] out,
    long long[::1] at,
    const unsigned char[::1] source,
    const long long[::1] start,
    const long long[::1] stop,
) noexcept nogil:
    """Copy one piece per row to where the row's text has come to; return -1 out of bounds."""
    cdef Py_ssize_t row
    cdef long long length
    for row in range(at.shape[0]):
        length = stop[row] - start[row]
        if length < 0 or start[row] < 0 or stop[row] > source.shape[0]:
            return -1
        if length:
            memcpy(&out[at[row]], &source[start[row]], length)
            at[row] += length
    return 0


def weave(columns):
    """See text.pyi."""
    count = len(columns[0][1])
    pieces = [
        (
            checked(source, "a column's bytes", np.uint8, (None,)),
            checked(start, "a column's starts", np.int64, (count,)),
            checked(stop, "a column's stops", np.int64, (count,)),
        )
        for source, start, stop in columns
    ]
    lengths = np.zeros(count, np.int64)
    for source, start, stop in pieces:
        if count and (np.min(stop - start) < 0 or np.min(start) < 0 or np.max(stop) > len(source)):
            raise ValueError("a column's pieces lie outside its bytes")
        lengths += stop - start
    cuts = np.zeros(count + 1, np.int64)
    np.cumsum(lengths, out=cuts[1:])
    woven = np.empty(cuts[count], np.uint8)
    if not len(woven):
        return woven, cuts
    places = cuts[:count].copy()
    cdef unsigned char[::1] out = woven
    cdef long long[::1] at = places
    cdef const unsigned char[::1] data
    cdef const long long[::1] low, high
    cdef int wrong = 0
    for source, start, stop in pieces:
        data, low, high = source, start, stop
        with nogil:
            wrong |= copy_column(out, at, data, low, high)
    if wrong:
        raise ValueError("a column's pieces lie outside its bytes")
    return woven, cuts
