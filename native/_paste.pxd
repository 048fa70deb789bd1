"""Small masks put where their boxes say, bilinearly; inlined into the kernels."""

from libc.math cimport ceil, floor, isfinite
from libc.string cimport memcpy, memset


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
    cdef int i
    cdef float u, cell
    for i in range(count):
        u = (start + i + <float> 0.5 - low) / (high - low) * size - <float> 0.5
        if not (-1 < u < size):
            index[i] = 0
            part[i] = 0
            continue
        cell = floor(u)
        index[i] = <int> cell + 1
        part[i] = u - cell


cdef inline void paste(
    const float* mask, int size, const float* box, Window window, float threshold,
    int* index, float* part, float* lines, unsigned char* out, int stride,
) noexcept nogil:
    """Write 1 where the interpolated mask reaches the threshold, inside a border of zeros.

    The mask's few rows are stretched to the window's width first; what then remains for each
    pixel is one blend of two rows.
    """
    cdef int x, y, row, width = window.x1 - window.x0, height = window.y1 - window.y0
    cdef float one = 1, blend, over
    cdef const float* cells
    cdef float* line
    cdef float* above
    cdef float* below
    cdef unsigned char* target
    cdef float* padded = lines + <size_t> (size + 2) * width
    place(box[0], box[2], size, window.x0, width, index, part)
    memset(lines, 0, width * sizeof(float))
    memset(lines + <size_t> (size + 1) * width, 0, width * sizeof(float))
    padded[0] = padded[size + 1] = 0
    for row in range(size):
        memcpy(padded + 1, mask + <size_t> row * size, size * sizeof(float))
        line = lines + <size_t> (row + 1) * width
        for x in range(width):
            cells = padded + index[x]
            line[x] = cells[0] * (one - part[x]) + cells[1] * part[x]
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
