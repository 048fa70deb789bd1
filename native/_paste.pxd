"""Small masks put where their boxes say, bilinearly; inlined into the kernels."""

from libc.math cimport ceil, floor, isfinite
from libc.string cimport memcpy, memset


cdef enum:
    MOST_CELLS = 1024         # along a side of a mask
    ROW_CELLS = MOST_CELLS + 2


cdef struct Window:
    # The pixels a mask can reach, clipped to the tile: columns [x0, x1), rows [y0, y1).
    int x0
    int y0
    int x1
    int y1


cdef inline void reach(
    float low, float high, int size, int limit, int* start, int* stop
) noexcept nogil:
    """Find the pixels whose centres lie within half a mask cell of [low, high]."""
    cdef double margin = 0.5 * (<double> high - low) / size
    start[0] = <int> min(max(floor(low - margin), 0.0), <double> limit)
    stop[0] = <int> min(max(ceil(high + margin), 0.0), <double> limit)


cdef inline Window window_of(const float* box, int size, int width, int height) noexcept nogil:
    """Return the window of a box; an empty one if the box is not finite or has no area."""
    cdef Window window
    window.x0 = window.y0 = window.x1 = window.y1 = 0
    if (
        isfinite(box[0]) and isfinite(box[1]) and isfinite(box[2]) and isfinite(box[3])
        and box[2] > box[0] and box[3] > box[1]
    ):
        reach(box[0], box[2], size, width, &window.x0, &window.x1)
        reach(box[1], box[3], size, height, &window.y0, &window.y1)
    return window


cdef inline void place(
    float low, float high, int size, int start, int count, int* index, float* part
) noexcept nogil:
    """Find, for pixels from `start` on, the mask cell before each and the share of the next.

    Cells are counted in a mask with one more cell of zeros on every side. A centre beyond
    those is put where both cells are zero.
    """
    cdef int i, cell
    cdef float u
    for i in range(count):
        u = (start + i + <float> 0.5 - low) / (high - low) * size - <float> 0.5
        u = u if -1 < u < size else -1
        cell = <int> u
        cell -= u < cell
        index[i] = cell + 1
        part[i] = u - cell


cdef inline void stretch(
    const float* mask, int size, const int* index, const float* part, int width, float* lines
) noexcept nogil:
    """Stretch a mask's rows to the window's width, between two rows of zeros.

    Four rows at a time, which need the places and shares once. The last four may reach beyond
    the mask; `lines` has room for that.
    """
    cdef int x, row, k, i
    cdef float share, rest
    cdef float one = 1
    cdef float[4][ROW_CELLS] padded
    cdef float* line
    for k in range(4):
        padded[k][0] = padded[k][size + 1] = 0
    memset(lines, 0, width * sizeof(float))
    for row in range(0, size, 4):
        for k in range(min(4, size - row)):
            memcpy(&padded[k][1], mask + <size_t> (row + k) * size, size * sizeof(float))
        line = lines + <size_t> (row + 1) * width
        for x in range(width):
            i = index[x]
            share = part[x]
            rest = one - share
            line[x] = padded[0][i] * rest + padded[0][i + 1] * share
            line[width + x] = padded[1][i] * rest + padded[1][i + 1] * share
            line[2 * width + x] = padded[2][i] * rest + padded[2][i + 1] * share
            line[3 * width + x] = padded[3][i] * rest + padded[3][i + 1] * share
    memset(lines + <size_t> (size + 1) * width, 0, width * sizeof(float))


cdef inline void paste(
    const float* mask, int size, const float* box, Window window, float threshold,
    int* index, float* part, float* lines, unsigned char* out, int stride,
) noexcept nogil:
    """Write 1 where the interpolated mask reaches the threshold, inside a border of zeros.

    The mask's few rows are stretched to the window's width first; what then remains for each
    pixel is one blend of two rows.
    """
    cdef int x, y, width = window.x1 - window.x0, height = window.y1 - window.y0
    cdef float one = 1, blend, over
    cdef float* above
    cdef float* below
    cdef unsigned char* target
    place(box[0], box[2], size, window.x0, width, index, part)
    stretch(mask, size, index, part, width, lines)
    place(box[1], box[3], size, window.y0, height, index, part)
    memset(out, 0, width + 2)
    memset(out + <size_t> (height + 1) * stride, 0, width + 2)
    for y in range(height):
        above = lines + <size_t> index[y] * width
        below = above + width
        blend = part[y]
        over = one - blend
        target = out + <size_t> (y + 1) * stride + 1
        (target - 1)[0] = target[width] = 0
        for x in range(width):
            target[x] = above[x] * over + below[x] * blend >= threshold
