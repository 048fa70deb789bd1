# cython: cdivision=True
"""Fourier shape: the walk along an outline and its directions' frequencies; inlined."""

from libc.math cimport M_PI, M_SQRT2, cos, rint, sin, sqrt
from native._figure cimport Figure


cdef enum:
    POINTS = 128              # directions along an outline
    HALF = POINTS // 2
    BANDS = 6                 # of frequencies, each twice as wide as the one before


cdef struct Turns:
    # cos and sin of -2 pi k / POINTS.
    double[HALF] re
    double[HALF] im


cdef inline void fill_turns(Turns* turns) noexcept nogil:
    cdef int k
    for k in range(HALF):
        turns.re[k], turns.im[k] = cos(2 * M_PI * k / POINTS), -sin(2 * M_PI * k / POINTS)


cdef inline int across(int way) noexcept nogil:
    """Return the step in x of a way: clockwise on a screen, 0 to the lower left, 1 to the left."""
    return -1 if way < 3 else (1 if 4 <= way <= 6 else 0)


cdef inline int down(int way) noexcept nogil:
    """Return the step in y of a way."""
    return -1 if 2 <= way <= 4 else (0 if way == 1 or way == 5 else 1)


cdef inline const unsigned char* find_start(const Figure* figure) noexcept nogil:
    """Return the first pixel with a neighbour to its right or below it; NULL if there is none."""
    cdef const unsigned char* pixel
    cdef Py_ssize_t stride = figure.stride
    cdef int x, y
    for y in range(figure.height):
        for x in range(figure.first[y], 1 - figure.mirrored[y]):
            pixel = figure.pixels + y * stride + x
            if pixel[0] and (
                pixel[1] or pixel[stride] or pixel[stride + 1] or pixel[1 - stride]
            ):
                return pixel
    return NULL


cdef inline Py_ssize_t walk(const Figure* figure, unsigned char* ways) noexcept nogil:
    """Walk once around by Moore's neighbours; return how many ways were taken.

    The walk is over when it is about to repeat its first step. There are fewer than five ways
    for each pixel, whatever the mask: from a pixel that was reached from one side, it goes on
    as it did before.
    """
    cdef const unsigned char* pixel = find_start(figure)
    cdef const unsigned char* start = pixel
    cdef Py_ssize_t[8] steps
    cdef Py_ssize_t count = 0, most = 4 * figure.area + 4
    cdef int k, way = 0, facing = 2
    if pixel == NULL:
        return 0
    for k in range(8):
        steps[k] = down(k) * figure.stride + across(k)
    while count < most:
        for k in range(8):
            way = (facing + k) & 7
            if pixel[steps[way]]:
                break
        if count >= 2 and pixel == start and way == ways[0]:
            break
        ways[count] = way
        count += 1
        pixel += steps[way]
        # Neighbours are tried from the one behind the left shoulder on.
        facing = 2 * ((way + 7) // 2) & 7
    return count


cdef inline void spread_points(
    const unsigned char* ways, Py_ssize_t count, double* re, double* im
) noexcept nogil:
    """Write the directions (y + i x, length 1) between points evenly spaced along an open line.

    They are entered in the order in which a Fourier transform wants them, bits reversed.
    """
    cdef Py_ssize_t i, slanted = 0, at = 0
    cdef double straight, diagonal, wanted, share, dx, dy
    cdef double x, y, last_x = 0, last_y = 0
    # The step that the next point lies on: where along the line, where from and where to.
    cdef double begin = 0, end = 0, from_x = 0, from_y = 0, step_x = 0, step_y = 0, pace = 0
    cdef int k, place
    for i in range(count):
        slanted += ~ways[i] & 1
    straight = 1 / ((count - slanted) + slanted * M_SQRT2)
    diagonal = M_SQRT2 * straight
    for k in range(1, POINTS + 1):
        wanted = k / <double> POINTS
        while at < count and end <= wanted:
            from_x, from_y = from_x + step_x, from_y + step_y
            step_x, step_y = across(ways[at]), down(ways[at])
            begin = end
            end = begin + (straight if ways[at] & 1 else diagonal)
            pace = 1 / (straight if ways[at] & 1 else diagonal)
            at += 1
        share = (wanted - begin) * pace
        x, y = from_x + step_x * share, from_y + step_y * share
        dx, dy = x - last_x, y - last_y
        last_x, last_y = x, y
        length_of(&dx, &dy)
        place = reversed_bits(k - 1)
        re[place], im[place] = dy, dx


cdef inline void length_of(double* dx, double* dy) noexcept nogil:
    """Make a step's length 1; no step at all is taken for one downwards."""
    cdef double square = dx[0] * dx[0] + dy[0] * dy[0], scale
    if square > 0:
        scale = 1 / sqrt(square)
        dx[0], dy[0] = dx[0] * scale, dy[0] * scale
    else:
        dx[0], dy[0] = 0, 1


cdef inline int reversed_bits(int k) noexcept nogil:
    """Return seven bits in the opposite order."""
    k = (k & 0x0F) << 4 | k >> 4
    k = (k & 0x33) << 2 | (k >> 2 & 0x33)
    return ((k & 0x55) << 1 | (k >> 1 & 0x55)) >> 1


cdef inline void transform(const Turns* turns, double* re, double* im) noexcept nogil:
    """Transform in place by halves (Cooley and Tukey, 1965)."""
    cdef int size = 1, block, k, stride, i, j
    cdef double part_re, part_im
    while size < POINTS:
        stride = HALF // size
        block = 0
        while block < POINTS:
            for k in range(size):
                i = block + k
                j = i + size
                part_re = re[j] * turns.re[k * stride] - im[j] * turns.im[k * stride]
                part_im = re[j] * turns.im[k * stride] + im[j] * turns.re[k * stride]
                re[j], im[j] = re[i] - part_re, im[i] - part_im
                re[i], im[i] = re[i] + part_re, im[i] + part_im
            block += 2 * size
        size *= 2


cdef inline void fourier_shape(
    const Figure* figure, const Turns* turns, unsigned char* ways, double* bands
) noexcept nogil:
    """Write the shares of energy in the bands of frequencies; 0 where there is no outline."""
    cdef double[POINTS] re
    cdef double[POINTS] im
    cdef int band, k
    cdef double energy
    # The outline ends before it closes: the last way leads back to the start.
    cdef Py_ssize_t count = walk(figure, ways) - 1
    if count < 1:
        for band in range(BANDS):
            bands[band] = 0
        return
    spread_points(ways, count, re, im)
    transform(turns, re, im)
    for band in range(BANDS):
        energy = 0
        for k in range((1 << band) - 1, 2 << band):
            energy += re[k] * re[k] + im[k] * im[k]
        # All energy together is POINTS^2, as every direction's length is 1 (Parseval).
        bands[band] = rint(energy / (POINTS * POINTS) * 1e7) / 1e7
