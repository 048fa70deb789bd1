"""Canny's edges (IEEE Trans. PAMI 8, 1986) of a smoothed picture; inlined into the kernel."""

from libc.math cimport fabs, hypot


cdef enum:
    WEAK = 1
    STRONG = 2
    EDGE = 3


cdef inline double sobel(
    const double* at, Py_ssize_t back, Py_ssize_t on, Py_ssize_t left, Py_ssize_t right
) noexcept nogil:
    """Return the slope along one axis, summed along the other, in ndimage.sobel's order.

    Back and on lead to the neighbours along the axis, left and right to those beside it; they
    are 0 where the picture ends, which is there reflected.
    """
    cdef double middle = at[on] - at[back]
    cdef double before = at[left + on] - at[left + back]
    cdef double after = at[right + on] - at[right + back]
    return 2 * middle + (before + after)


cdef inline void measure_steepness(
    const double* smooth, Py_ssize_t height, Py_ssize_t width, double* steep
) noexcept nogil:
    """Write the gradient's length at each pixel."""
    cdef Py_ssize_t x, y, up, down, left, right
    cdef const double* at = smooth
    for y in range(height):
        up = -width if y > 0 else 0
        down = width if y + 1 < height else 0
        for x in range(width):
            left = -1 if x > 0 else 0
            right = 1 if x + 1 < width else 0
            steep[0] = hypot(sobel(at, up, down, left, right), sobel(at, left, right, up, down))
            steep += 1
            at += 1


cdef inline bint is_ridge(
    const double* steep, Py_ssize_t width, double down, double across
) noexcept nogil:
    """Tell whether no neighbour along the gradient, between two pixels, is steeper."""
    cdef double rows = fabs(down), columns = fabs(across), share
    cdef bint same = (down >= 0) == (across >= 0) or down == 0 or across == 0
    cdef Py_ssize_t corner = width + 1 if same else 1 - width, near
    if rows == 0 and columns == 0:
        return False
    if rows > columns:
        share = columns / rows
        near = corner - 1
    else:
        share = rows / columns
        near = 1
    return not (
        steep[corner] * share + steep[near] * (1 - share) > steep[0]
        or steep[-corner] * share + steep[-near] * (1 - share) > steep[0]
    )


cdef inline Py_ssize_t find_ridges(
    const double* smooth, const double* steep, Py_ssize_t height, Py_ssize_t width,
    unsigned char* kind,
) noexcept nogil:
    """Mark weak and strong ridges, none at the picture's border; return how many there are.

    A ridge is steeper than 0.1, a strong one than 0.2, of Sobel's sums.
    """
    cdef Py_ssize_t x, y, i, ridges = 0
    for y in range(1, height - 1):
        for x in range(1, width - 1):
            i = y * width + x
            if steep[i] >= 0.1 and is_ridge(
                &steep[i], width, sobel(&smooth[i], -width, width, -1, 1),
                sobel(&smooth[i], -1, 1, -width, width),
            ):
                kind[i] = STRONG if steep[i] >= 0.2 else WEAK
                ridges += 1
    return ridges


cdef inline void keep_strong(
    unsigned char* kind, Py_ssize_t height, Py_ssize_t width, Py_ssize_t* stack
) noexcept nogil:
    """Leave 1 at ridges that hang together with a strong one, corners counted, and 0 elsewhere.

    A ridge is an edge from when it is put on the stack, so that it is there once. No ridge lies
    at the border: its neighbours are all in the picture.
    """
    cdef Py_ssize_t i, j, dy, dx, count = 0, pixels = height * width
    for i in range(pixels):
        if kind[i] != STRONG:
            continue
        kind[i] = EDGE
        stack[0] = i
        count = 1
        while count:
            count -= 1
            j = stack[count]
            for dy in range(-1, 2):
                for dx in range(-1, 2):
                    if kind[j + dy * width + dx] in (WEAK, STRONG):
                        kind[j + dy * width + dx] = EDGE
                        stack[count] = j + dy * width + dx
                        count += 1
    for i in range(pixels):
        kind[i] = kind[i] == EDGE
