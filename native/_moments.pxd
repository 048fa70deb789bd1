# cython: cdivision=True
"""Moments of weighted pixels, and what is made of them; inlined into the kernels.

Sums are taken in integers about the middle of the box, so that what is alike both ways comes out
alike to the last digit, and no digits are lost when they are moved to the centre.
"""

from libc.math cimport M_PI, atan2, fmax, hypot, pow, sqrt

cdef extern from *:
    """typedef __int128 nuhtc_wide;"""
    ctypedef long long wide "nuhtc_wide"


cdef struct Sums:
    # Of weights times y^p x^q, named by p and q; of boxes up to 4,096 pixels they fit.
    long long s00
    long long s10
    long long s01
    long long s20
    long long s11
    long long s02
    long long s30
    long long s21
    long long s12
    long long s03


cdef struct Spread:
    # The centre, from the middle the sums were about, and moments about it.
    double row
    double column
    double m20
    double m11
    double m02
    double m30
    double m21
    double m12
    double m03


cdef inline void add_row(
    const unsigned char* weights, int count, long long x, long long y, Sums* sums
) noexcept nogil:
    """Add a row of weights whose first pixel is at (x, y).

    A sum of sums counts each weight as often as there are pixels from it on, k, the next one
    k (k + 1) / 2 times and so on, which needs no multiplications: powers of x follow from it.
    """
    cdef long long once = 0, twice = 0, thrice = 0, often = 0
    cdef long long k1, k2, k3, r0, r1, r2, r3, end = x + count
    cdef int i
    for i in range(count):
        once += weights[i]
        twice += once
        thrice += twice
        often += thrice
    r0, k1, k2 = once, twice, 2 * thrice - twice
    k3 = 6 * often - 3 * k2 - 2 * k1
    r1 = end * r0 - k1
    r2 = end * (end * r0 - 2 * k1) + k2
    r3 = end * (end * (end * r0 - 3 * k1) + 3 * k2) - k3
    sums.s00 += r0
    sums.s10 += y * r0
    sums.s01 += r1
    sums.s20 += y * y * r0
    sums.s11 += y * r1
    sums.s02 += r2
    sums.s30 += y * y * y * r0
    sums.s21 += y * y * r1
    sums.s12 += y * r2
    sums.s03 += r3


cdef inline wide product(long long a, long long b) noexcept nogil:
    return <wide> a * <wide> b


cdef inline void spread_of(const Sums* sums, Spread* spread) noexcept nogil:
    """Move sums whose weights are not all 0 to the centre."""
    cdef double total = <double> sums.s00
    cdef double y = sums.s10 / total, x = sums.s01 / total
    spread.row, spread.column = y, x
    spread.m20 = <double> (product(sums.s00, sums.s20) - product(sums.s10, sums.s10)) / total
    spread.m11 = <double> (product(sums.s00, sums.s11) - product(sums.s10, sums.s01)) / total
    spread.m02 = <double> (product(sums.s00, sums.s02) - product(sums.s01, sums.s01)) / total
    spread.m30 = sums.s30 - 3 * y * sums.s20 + 2 * y * y * sums.s10
    spread.m21 = sums.s21 - 2 * y * sums.s11 - x * sums.s20 + 2 * y * y * sums.s01
    spread.m12 = sums.s12 - 2 * x * sums.s11 - y * sums.s02 + 2 * x * x * sums.s10
    spread.m03 = sums.s03 - 3 * x * sums.s02 + 2 * x * x * sums.s01


cdef inline double orientation_of(const Sums* sums) noexcept nogil:
    """Return the angle of the longer axis, from the rows' on; where no axis is longer, +-45."""
    cdef wide both = product(sums.s00, sums.s11) - product(sums.s10, sums.s01)
    cdef wide difference = (
        product(sums.s00, sums.s20) - product(sums.s10, sums.s10)
        - product(sums.s00, sums.s02) + product(sums.s01, sums.s01)
    )
    if difference == 0:
        return -M_PI / 4 if both > 0 else M_PI / 4
    return 0.5 * atan2(2 * <double> both, <double> difference)


cdef inline void axes_of(
    const Spread* spread, double area, double* major, double* minor, double* eccentricity
) noexcept nogil:
    """Find the axes of the ellipse of the same second moments."""
    cdef double down = spread.m20 / area, across = spread.m02 / area
    cdef double mean = (down + across) / 2
    cdef double half = hypot((down - across) / 2, spread.m11 / area)
    cdef double long_one = mean + half, short_one = fmax(mean - half, 0)
    major[0], minor[0] = 4 * sqrt(long_one), 4 * sqrt(short_one)
    eccentricity[0] = sqrt(1 - short_one / long_one) if long_one > 0 else 0


cdef inline void hu_moments(const Spread* spread, double total, double* hu) noexcept nogil:
    """Write Hu's seven moments of weights that are not all 0, rows as the first axis."""
    cdef double square = total * total, third = pow(total, 2.5)
    cdef double nu20 = spread.m20 / square, nu11 = spread.m11 / square, nu02 = spread.m02 / square
    cdef double nu30 = spread.m30 / third, nu21 = spread.m21 / third
    cdef double nu12 = spread.m12 / third, nu03 = spread.m03 / third
    cdef double one = nu30 + nu12, two = nu21 + nu03
    cdef double three = nu30 - 3 * nu12, four = 3 * nu21 - nu03
    cdef double difference = nu20 - nu02
    cdef double a = one * (one * one - 3 * two * two), b = two * (3 * one * one - two * two)
    hu[0] = nu20 + nu02
    hu[1] = difference * difference + 4 * nu11 * nu11
    hu[2] = three * three + four * four
    hu[3] = one * one + two * two
    hu[4] = three * a + four * b
    hu[5] = difference * (one * one - two * two) + 4 * nu11 * one * two
    hu[6] = four * a - three * b
