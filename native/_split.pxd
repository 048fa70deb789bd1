"""Touching shapes taken apart by a watershed of the distance to the background; inlined.

Pixels are taken from the deepest to the shallowest, equal ones in scan order. One without a
neighbour taken before starts a basin; any other joins the basin of its deepest neighbour. Where
basins meet, all but the one with the deepest peak end if they rise less than `rise` above the
meeting point:

    peak 9  .  .            the left one goes on; the right one rises by 6 - 5 = 1
          .      .   .  peak 6         above the meeting point
        .          .   .
      .          5       .

So there are as many parts as maxima of the distance whose dynamics reach `rise`.
"""

from libc.math cimport sqrt


cdef enum:
    DEEPEST = 255             # what is deeper counts as this deep
    LEVELS = DEEPEST * DEEPEST + 1


cdef inline void measure_columns(
    const unsigned char* mask, int width, int height, int stride, int* depth
) noexcept nogil:
    """Write how far above or below each pixel its column's nearest background is."""
    cdef int x, y, far = width + height
    cdef int* here
    for x in range(width):
        depth[x] = far if mask[x] else 0
    for y in range(1, height):
        here = depth + <size_t> y * stride
        for x in range(width):
            here[x] = min((here - stride)[x] + 1, far) * mask[<size_t> y * stride + x]
    for y in range(height - 2, -1, -1):
        here = depth + <size_t> y * stride
        for x in range(width):
            here[x] = min(here[x], (here + stride)[x] + 1)


cdef inline void square_run(
    int* depth, int start, int stop, int* column, int* foot, double* reach
) noexcept nogil:
    """Turn column distances in [start, stop) of a row into squared distances to the background.

    A column's background lies at (x - column)**2 + foot**2 from x: a parabola. Those of the
    lower envelope are stacked, `reach` being where each becomes the lowest.
    """
    cdef int x, k = 0
    cdef long long rise, square
    cdef double cross
    column[0], foot[0], reach[0] = start, depth[start], -1e30
    for x in range(start + 1, stop):
        rise = <long long> depth[x] * depth[x] + <long long> x * x
        while True:
            square = <long long> foot[k] * foot[k] + <long long> column[k] * column[k]
            cross = (<double> (rise - square)) / (2 * (x - column[k]))
            if cross > reach[k]:
                break
            k -= 1
        k += 1
        column[k], foot[k], reach[k] = x, depth[x], cross
    reach[k + 1] = 1e30
    k = 0
    for x in range(start, stop):
        while reach[k + 1] < x:
            k += 1
        square = <long long> foot[k] * foot[k] + <long long> (x - column[k]) * (x - column[k])
        depth[x] = <int> min(square, LEVELS - 1)


cdef inline int sort_by_depth(
    const int* depth, int width, int height, int stride, int* start, int* order
) noexcept nogil:
    """List the pixels inside, the deepest first, equal ones in scan order; return how many.

    `start` is scratch for LEVELS numbers.
    """
    cdef int x, y, level, swap, total = 0
    cdef const int* here
    for level in range(LEVELS):
        start[level] = 0
    for y in range(height):
        here = depth + <size_t> y * stride
        for x in range(width):
            start[here[x]] += 1
    for level in range(LEVELS - 1, 0, -1):
        swap = start[level]
        start[level] = total
        total += swap
    for y in range(height):
        here = depth + <size_t> y * stride
        for x in range(width):
            if here[x]:
                order[start[here[x]]] = y * stride + x
                start[here[x]] += 1
    return total


cdef inline int basin_of(int* parent, int i) noexcept nogil:
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i


cdef inline void flood(
    const int* depth, int* label, int stride, const int* order, int count, double rise,
    int* parent, int* peak,
) noexcept nogil:
    """Label the pixels of `order` by basin; those with one `parent` are one part.

    `label` is -1 everywhere, also in a border of one pixel around the picture.
    """
    cdef int i, k, p, q, deepest, basin, top, basins = 0
    cdef int[4] step
    cdef int[4] met
    step[0], step[1], step[2], step[3] = -stride, -1, 1, stride
    for i in range(count):
        p = order[i]
        deepest = top = -1
        for k in range(4):
            q = p + step[k]
            met[k] = -1
            if label[q] >= 0:
                met[k] = basin = basin_of(parent, label[q])
                if deepest < 0 or depth[q] > depth[deepest]:
                    deepest = q
                if top < 0 or peak[basin] > peak[top] or (peak[basin] == peak[top] and basin < top):
                    top = basin
        if deepest < 0:
            parent[basins], peak[basins] = basins, depth[p]
            label[p] = basins
            basins += 1
            continue
        label[p] = label[deepest]
        for k in range(4):
            basin = met[k]
            if basin >= 0 and basin != top:
                if sqrt(<double> peak[basin]) - sqrt(<double> depth[p]) < rise:
                    parent[basin] = top
