"""From a foreground map to an opened binary picture; inlined into the kernels."""

from libc.math cimport exp


cdef inline int mirrored(int i, int size) noexcept nogil:
    """Fold an index into [0, size), the edge pixels' centres being the mirrors."""
    if size == 1:
        return 0
    while i < 0 or i >= size:
        i = -i if i < 0 else 2 * (size - 1) - i
    return i


cdef inline void place_samples(int size, int wanted, int* index, float* part) noexcept nogil:
    """Find the pixel left of each of `wanted` samples, and the share of the one after it."""
    cdef int i
    cdef double step = (<double> (size - 1)) / (wanted - 1) if wanted > 1 else 0.0
    for i in range(wanted):
        index[i] = min(<int> (i * step), size - 2) if size > 1 else 0
        part[i] = <float> (i * step - index[i])


cdef inline void threshold_blurred(
    const float* logits, int w, int h, int width, int height, double sigma,
    float* tall, float* row, int* column, float* part, unsigned char* out, int stride,
) noexcept nogil:
    """Write 1 where the enlarged, blurred map is positive.

    Enlarging and blurring are linear and separable: everything vertical is done first,
    while rows are still as short as the map's.
    """
    cdef float taps[5]
    cdef float one = 1, below, value
    cdef double total = 0
    cdef int x, y, k, source
    cdef int next_row = w if h > 1 else 0
    cdef int next_column = 1 if w > 1 else 0
    cdef const float* top
    cdef float* line
    cdef float* wide = row + w
    for k in range(5):
        total += exp(-0.5 * ((k - 2) / sigma) * ((k - 2) / sigma))
    for k in range(5):
        taps[k] = <float> (exp(-0.5 * ((k - 2) / sigma) * ((k - 2) / sigma)) / total)

    place_samples(h, height, column, part)
    for y in range(height):
        top = logits + <size_t> column[y] * w
        line = tall + <size_t> y * w
        below = part[y]
        for x in range(w):
            line[x] = top[x] * (one - below) + top[x + next_row] * below

    place_samples(w, width, column, part)
    for y in range(height):
        for x in range(w):
            row[x] = 0
        for k in range(5):
            line = tall + <size_t> mirrored(y + k - 2, height) * w
            for x in range(w):
                row[x] += taps[k] * line[x]
        for x in range(width):
            source = column[x]
            wide[x + 2] = row[source] * (one - part[x]) + row[source + next_column] * part[x]
        for k in range(2):
            wide[k] = wide[2 + mirrored(k - 2, width)]
            wide[width + 2 + k] = wide[2 + mirrored(width + k, width)]
        for x in range(width):
            value = (
                taps[0] * wide[x] + taps[1] * wide[x + 1] + taps[2] * wide[x + 2]
                + taps[3] * wide[x + 3] + taps[4] * wide[x + 4]
            )
            out[<size_t> y * stride + x] = value > 0


cdef inline void sweep(
    const unsigned char* src, unsigned char* dst, int width, int height, int stride, int step,
    bint erode,
) noexcept nogil:
    """Erode or dilate by five pixels along one axis: `step` is 1 (x) or `stride` (y).

    Two pixels of zeros surround the picture: they erode its border and dilate nothing.
    """
    cdef Py_ssize_t x, y
    cdef const unsigned char* a0
    cdef const unsigned char* a1
    cdef const unsigned char* a2
    cdef const unsigned char* a3
    cdef const unsigned char* a4
    cdef unsigned char* b
    for y in range(height):
        a2 = src + y * stride
        a0, a1, a3, a4 = a2 - 2 * step, a2 - step, a2 + step, a2 + 2 * step
        b = dst + y * stride
        if erode:
            for x in range(width):
                b[x] = a0[x] & a1[x] & a2[x] & a3[x] & a4[x]
        else:
            for x in range(width):
                b[x] = a0[x] | a1[x] | a2[x] | a3[x] | a4[x]
