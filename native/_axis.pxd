"""One axis of a resampling: which source pixels an output pixel takes, and how much of each.

Output pixel i covers the source from i * ratio to (i + 1) * ratio. Where that is a pixel or
more, every source pixel counts by the length it shares with it (area); where it is less, the
two source pixels whose centres surround its own are interpolated (bilinear). Everything is
computed from i itself, never from where a block begins: so a pixel is the same in any block.
"""

from libc.math cimport ceil, floor

cdef enum:
    ONE = 32768  # the sum of an output pixel's weights


cdef inline long long first_source(long long i, double ratio) noexcept nogil:
    """Return the first source pixel that output pixel i takes."""
    return <long long> floor(i * ratio if ratio >= 1 else (i + 0.5) * ratio - 0.5)


cdef inline long long last_source(long long i, double ratio) noexcept nogil:
    """Return the last source pixel that output pixel i takes."""
    cdef long long first = first_source(i, ratio)
    if ratio < 1:
        return first + 1
    return max(first, <long long> ceil((i + 1) * ratio) - 1)


cdef inline void weigh(
    long long start, Py_ssize_t count, double ratio, long long origin, int taps,
    int* first, int* used, unsigned short* weights,
) noexcept nogil:
    """Write each output pixel's first source pixel from `origin`, its number, and its weights.

    Areas are rounded as running sums, so that they add up to exactly ONE and no source pixel
    is off by more than a unit.
    """
    cdef Py_ssize_t n
    cdef int k, before, after
    cdef long long i, low
    cdef double left
    for n in range(count):
        i = start + n
        low = first_source(i, ratio)
        first[n] = <int> (low - origin)
        used[n] = <int> (last_source(i, ratio) - low) + 1
        if ratio < 1:
            after = <int> floor(ONE * ((i + 0.5) * ratio - 0.5 - low) + 0.5)
            weights[n * taps], weights[n * taps + 1] = ONE - after, after
            continue
        left, before = i * ratio, 0
        for k in range(used[n]):
            after = ONE
            if k < used[n] - 1:
                after = <int> floor(ONE * ((low + k + 1 - left) / ratio) + 0.5)
            weights[n * taps + k] = after - before
            before = after
