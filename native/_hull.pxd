# cython: cdivision=True
"""Borders of a mask: its hull, its perimeter and how rough it is; inlined into the kernels."""

from libc.math cimport M_SQRT2, log
from libc.string cimport memset
from native._figure cimport NOWHERE, Figure


cdef inline void find_reach(const int* first, int height, int* chain, int* reach) noexcept nogil:
    """Write the first column that the hull's left side covers, row by row.

    The hull is that of the midpoints of the pixels' edges. In halves of pixels a row's pixel x
    reaches out to 2 x - 1, and both of its corners' rows to 2 x: everything is an integer.
    The chain holds x and row of the points that stay, one more than two for each row.
    """
    cdef int y, x, above = NOWHERE, count = 0, row, at = 0, slope, rise, top
    for y in range(height + 1):
        row = first[y] if y < height else NOWHERE
        x = min(above, row)
        if x != NOWHERE:
            count = add_point(chain, count, 2 * x, 2 * y - 1)
        if row != NOWHERE:
            count = add_point(chain, count, 2 * row - 1, 2 * y)
        above = row
    for y in range(height):
        while chain[2 * at + 3] < 2 * y:
            at += 1
        slope, rise = chain[2 * at + 2] - chain[2 * at], chain[2 * at + 3] - chain[2 * at + 1]
        # The hull's side is at top / (2 rise) pixels; the next whole pixel is covered.
        top = chain[2 * at] * rise + slope * (2 * y - chain[2 * at + 1])
        reach[y] = (top + 2 * rise - 1) // (2 * rise) if top > 0 else top // (2 * rise)


cdef inline int add_point(int* chain, int count, int x, int y) noexcept nogil:
    """Add a point to a chain that bends to the right only; return the new number of points."""
    cdef int x0, y0, x1, y1
    while count >= 2:
        x0, y0 = chain[2 * count - 4], chain[2 * count - 3]
        x1, y1 = chain[2 * count - 2], chain[2 * count - 1]
        if (x1 - x0) * (y - y0) < (x - x0) * (y1 - y0):
            break
        count -= 1
    chain[2 * count], chain[2 * count + 1] = x, y
    return count + 1


cdef inline long long hull_area(const Figure* figure, int* chain, int* reach) noexcept nogil:
    """Count the pixel centres within the hull, its border included."""
    cdef int y
    cdef long long covered = 0
    cdef int* far = reach + figure.height
    find_reach(figure.first, figure.height, chain, reach)
    find_reach(figure.mirrored, figure.height, chain, far)
    for y in range(figure.height):
        covered += max(0, 1 - far[y] - reach[y])
    return covered


cdef inline double perimeter(const Figure* figure, unsigned char* border) noexcept nogil:
    """Return the length of the line through the centres of the border's pixels.

    Every pixel of the border stands for a piece by its neighbours on the border: 1, 2 for one
    beside it, 10 for one at a corner.
    """
    cdef const unsigned char* mask = figure.mask
    cdef Py_ssize_t stride = figure.stride, i
    cdef Py_ssize_t start = stride, stop = (figure.height + 1) * stride
    cdef long long straight = 0, slanted = 0, mixed = 0
    cdef int kind
    # Bits by kind: tests of single ones would be guessed wrong half of the time.
    cdef long long one = 1, straight_kinds, slanted_kinds, mixed_kinds
    straight_kinds = one << 5 | one << 7 | one << 15 | one << 17 | one << 25 | one << 27
    slanted_kinds = one << 21 | one << 33
    mixed_kinds = one << 13 | one << 23
    memset(border, 0, stride)
    memset(border + stop, 0, stride)
    for i in range(start, stop):
        border[i] = mask[i] & ~(
            mask[i - 1] & mask[i + 1] & mask[i - stride] & mask[i + stride]
        )
    for i in range(start, stop):
        if border[i]:
            kind = 1 + 2 * (
                border[i - 1] + border[i + 1] + border[i - stride] + border[i + stride]
            ) + 10 * (
                border[i - stride - 1] + border[i - stride + 1]
                + border[i + stride - 1] + border[i + stride + 1]
            )
            straight += straight_kinds >> kind & 1
            slanted += slanted_kinds >> kind & 1
            mixed += mixed_kinds >> kind & 1
    return straight + slanted * M_SQRT2 + mixed * (1 + M_SQRT2) / 2


cdef inline double fractal_dimension(const Figure* figure, int* held) noexcept nogil:
    """Return minus the slope of mixed boxes over box sizes, both as logarithms.

    Boxes are 4 pixels wide and then twice as large each time, up to the mask's shorter side.
    """
    cdef int size = 4, shorter = min(figure.width, figure.height), sizes = 0
    cdef int rows = (figure.height + 3) // 4, columns = (figure.width + 3) // 4, wide, x, y
    cdef const unsigned char* four
    cdef long long mixed
    cdef double at, much, sum_x = 0, sum_y = 0, sum_xx = 0, sum_xy = 0
    if shorter < size:
        return 0
    memset(held, 0, <size_t> rows * columns * sizeof(int))
    for y in range(figure.height):
        four = figure.pixels + y * figure.stride
        for x in range(columns):
            held[y // 4 * columns + x] += four[0] + four[1] + four[2] + four[3]
            four += 4
    while True:
        mixed = 0
        for x in range(rows * columns):
            mixed += held[x] > 0 and held[x] < size * size
        if mixed == 0:
            return 0
        at, much = log(size), log(<double> mixed)
        sizes += 1
        sum_x += at
        sum_y += much
        sum_xx += at * at
        sum_xy += at * much
        size *= 2
        if size > shorter:
            break
        # Four boxes become one, in place: it lies before all that are still to be read.
        wide = (columns + 1) // 2
        for y in range((rows + 1) // 2):
            for x in range(wide):
                held[y * wide + x] = held_by_four(held, rows, columns, 2 * y, 2 * x)
        rows, columns = (rows + 1) // 2, wide
    if sizes == 1:
        # Of all lines through one point, the one that a least-squares fit gives: the shortest.
        return -sum_y / (2 * sum_x)
    return -(sizes * sum_xy - sum_x * sum_y) / (sizes * sum_xx - sum_x * sum_x)


cdef inline int held_by_four(
    const int* held, int rows, int columns, int y, int x
) noexcept nogil:
    cdef const int* box = held + y * columns + x
    cdef bint right = x + 1 < columns
    cdef int total = box[0]
    if right:
        total += box[1]
    if y + 1 < rows:
        total += box[columns]
        if right:
            total += box[columns + 1]
    return total
