# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Tiles: a region through libopenslide as RGB on white, and any area at another scale."""

from libc.stdint cimport int32_t, int64_t, uint32_t, uintptr_t
from libc.string cimport memset
from native._axis cimport first_source, last_source, weigh

import numpy as np

from nuhtc.native._check import checked, checked_size, checked_writable

ctypedef void (*ReadRegion)(
    void*, uint32_t*, int64_t, int64_t, int32_t, int64_t, int64_t
) noexcept nogil
ctypedef const char* (*GetError)(void*) noexcept nogil

FARTHEST = 1 << 40


cdef void lay_on_white(const uint32_t* argb, unsigned char* rgb, Py_ssize_t count) noexcept nogil:
    """Turn premultiplied ARGB words into RGB; what a pixel lacks in cover is white."""
    cdef Py_ssize_t i
    cdef uint32_t pixel, white
    for i in range(count):
        pixel = argb[i]
        white = 255 - (pixel >> 24)
        rgb[3 * i] = <unsigned char> ((pixel >> 16) + white)
        rgb[3 * i + 1] = <unsigned char> ((pixel >> 8) + white)
        rgb[3 * i + 2] = <unsigned char> (pixel + white)


def read_region(library, slide, place, level, out, scratch):
    """See tiler.pyi."""
    read_address, error_address = library
    if not slide or not read_address or not error_address:
        raise ValueError("slide and library must be addresses, not 0")
    cdef uintptr_t read_at = read_address, error_at = error_address, slide_at = slide
    cdef ReadRegion read = <ReadRegion> read_at
    cdef GetError get_error = <GetError> error_at
    cdef int64_t x = checked_size(place[0], "place[0]", least=-FARTHEST, most=FARTHEST)
    cdef int64_t y = checked_size(place[1], "place[1]", least=-FARTHEST, most=FARTHEST)
    cdef int32_t which = checked_size(level, "level", least=0)
    cdef unsigned char[:, :, ::1] rgb = checked_writable(out, "out", np.uint8, (None, None, 3))
    cdef uint32_t[::1] argb = checked_writable(scratch, "scratch", np.uint32, (None,))
    cdef int64_t height = rgb.shape[0], width = rgb.shape[1]
    if argb.shape[0] < width * height:
        raise ValueError(f"scratch must hold {width * height} pixels, not {argb.shape[0]}")
    if width == 0 or height == 0:
        return True
    cdef bint good
    with nogil:
        read(<void*> slide_at, &argb[0], x, y, which, width, height)
        good = get_error(<void*> slide_at) == NULL
        if good:
            lay_on_white(&argb[0], &rgb[0, 0, 0], width * height)
    return good


cdef void squeeze(
    const unsigned char* source, unsigned short* row, Py_ssize_t width, int taps,
    const int* first, const int* used, const unsigned short* weights,
) noexcept nogil:
    """Resample one source row along x, to 7 binary places."""
    cdef Py_ssize_t i
    cdef int k
    cdef uint32_t w, v, r, g, b
    cdef const unsigned char* pixel
    for i in range(width):
        pixel = source + 3 * <Py_ssize_t> first[i]
        if taps == 2 and used[i] == 2:
            w, v = weights[2 * i], weights[2 * i + 1]
            r = w * pixel[0] + v * pixel[3]
            g = w * pixel[1] + v * pixel[4]
            b = w * pixel[2] + v * pixel[5]
        else:
            r, g, b = 0, 0, 0
            for k in range(used[i]):
                w = weights[i * taps + k]
                r += w * pixel[3 * k]
                g += w * pixel[3 * k + 1]
                b += w * pixel[3 * k + 2]
        row[3 * i] = <unsigned short> ((r + 128) >> 8)
        row[3 * i + 1] = <unsigned short> ((g + 128) >> 8)
        row[3 * i + 2] = <unsigned short> ((b + 128) >> 8)


cdef void blend(
    const unsigned short* above, const unsigned short* below, uint32_t w, uint32_t v,
    unsigned char* out, Py_ssize_t count,
) noexcept nogil:
    """Weigh two rows into one."""
    cdef Py_ssize_t i
    cdef unsigned short a = <unsigned short> w, b = <unsigned short> v
    for i in range(count):
        out[i] = <unsigned char> (
            (<uint32_t> a * above[i] + <uint32_t> b * below[i] + (1 << 21)) >> 22
        )


cdef void add_row(
    const unsigned short* row, unsigned short weight, uint32_t* sums, Py_ssize_t count
) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(count):
        sums[i] += <uint32_t> weight * row[i]


cdef void finish(const uint32_t* sums, unsigned char* out, Py_ssize_t count) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(count):
        out[i] = <unsigned char> ((sums[i] + (1 << 21)) >> 22)


def source_span(start, stop, ratio):
    """See tiler.pyi."""
    checked_size(start, "start", least=-FARTHEST, most=FARTHEST)
    checked_size(stop, "stop", least=start + 1, most=FARTHEST)
    ratio = checked_ratio(ratio, "ratio")
    return first_source(start, ratio), last_source(stop - 1, ratio) + 1


def checked_ratio(value, name):
    """Return a ratio after checking that it is one."""
    value = float(value)
    if not 1e-4 <= value <= 1e6:
        raise ValueError(f"{name} must be from 0.0001 to 1000000, not {value}")
    return value


def resample(source, source_origin, ratio, origin, size):
    """See tiler.pyi."""
    cdef const unsigned char[:, :, ::1] pixels = checked(
        source, "source", np.uint8, (None, None, 3)
    )
    cdef Py_ssize_t width = checked_size(size[0], "size[0]", least=0, most=1 << 24)
    cdef Py_ssize_t height = checked_size(size[1], "size[1]", least=0, most=1 << 24)
    out = np.empty((height, width, 3), np.uint8)
    if width == 0 or height == 0:
        return out
    tables = []
    for axis, side in ((0, "x"), (1, "y")):
        step = checked_ratio(ratio[axis], f"ratio[{axis}]")
        start = checked_size(origin[axis], f"origin[{axis}]", least=-FARTHEST, most=FARTHEST)
        low = checked_size(
            source_origin[axis], f"source_origin[{axis}]", least=-FARTHEST, most=FARTHEST
        )
        need = source_span(start, start + size[axis], step)
        have = low, low + source.shape[1 - axis]
        if need[0] < have[0] or need[1] > have[1]:
            raise ValueError(f"source must reach from {need[0]} to {need[1]} in {side}, not {have}")
        tables.append(axis_table(start, size[axis], step, low))
    cdef int[::1] first_x, used_x, first_y, used_y
    cdef unsigned short[:, ::1] weights_x, weights_y
    first_x, used_x, weights_x = tables[0]
    first_y, used_y, weights_y = tables[1]
    cdef int taps = weights_x.shape[1], keep = weights_y.shape[1]
    cdef unsigned short[:, ::1] rows = np.empty((keep, 3 * width), np.uint16)
    cdef uint32_t[::1] sums = np.empty(3 * width, np.uint32)
    cdef unsigned char[:, :, ::1] target = out
    cdef Py_ssize_t y, count = 3 * width
    cdef int k, row, done
    with nogil:
        done = first_y[0]
        for y in range(height):
            # Rows resampled along x wait in a ring that holds what one output row can need.
            done = max(done, first_y[y])
            while done < first_y[y] + used_y[y]:
                squeeze(
                    &pixels[done, 0, 0], &rows[done % keep, 0], width, taps,
                    &first_x[0], &used_x[0], &weights_x[0, 0],
                )
                done += 1
            row = first_y[y]
            if used_y[y] == 2:
                blend(
                    &rows[row % keep, 0], &rows[(row + 1) % keep, 0],
                    weights_y[y, 0], weights_y[y, 1], &target[y, 0, 0], count,
                )
                continue
            memset(&sums[0], 0, count * sizeof(uint32_t))
            for k in range(used_y[y]):
                add_row(&rows[(row + k) % keep, 0], weights_y[y, k], &sums[0], count)
            finish(&sums[0], &target[y, 0, 0], count)
    return out


cdef tuple axis_table(long long start, Py_ssize_t count, double ratio, long long origin):
    """Return first int32 (n,), used int32 (n,) and weights uint16 (n, taps) of one axis."""
    cdef int taps = 2
    cdef Py_ssize_t n
    if ratio >= 1:
        for n in range(count):
            taps = max(
                taps, <int> (last_source(start + n, ratio) - first_source(start + n, ratio)) + 1
            )
    first, used = np.empty(count, np.int32), np.empty(count, np.int32)
    weights = np.zeros((count, taps), np.uint16)
    cdef int[::1] firsts = first, uses = used
    cdef unsigned short[:, ::1] table = weights
    weigh(start, count, ratio, origin, taps, &firsts[0], &uses[0], &table[0, 0])
    return first, used, weights
