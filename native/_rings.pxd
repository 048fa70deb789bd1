"""Rings along pixel edges, and areas from their vertical edges; inlined into the kernels."""

cdef enum:
    CHUNK = 64                # edges of a ring that are unpacked together

ctypedef unsigned long long u64


cdef struct Edge:
    # A vertical edge: dy is positive downwards. Sums of x * dy over a ring are its area.
    long long x
    long long y0
    long long y1
    long long sign


cdef struct Rings:
    const int* xy
    const long long* offsets


cdef inline bint slants(Rings rings, long long ring) noexcept nogil:
    """Tell whether a ring has an edge that is neither horizontal nor vertical."""
    cdef long long i
    cdef const int* here
    cdef const int* there
    if rings.offsets[ring] == rings.offsets[ring + 1]:
        return False
    there = rings.xy + 2 * (rings.offsets[ring + 1] - 1)
    for i in range(rings.offsets[ring], rings.offsets[ring + 1]):
        here = rings.xy + 2 * i
        if here[0] != there[0] and here[1] != there[1]:
            return True
        there = here
    return False


cdef inline Rings rings_of(const int[:, ::1] coords, const long long[::1] offsets) noexcept:
    """Point at the rings."""
    cdef Rings rings
    rings.xy = &coords[0, 0] if coords.shape[0] else NULL
    rings.offsets = &offsets[0]
    return rings


cdef inline int refuse_slanted(long long ring) except -1:
    raise ValueError(f"coords: ring {ring} has an edge that is not along a pixel's edge")


cdef inline int check_all(Rings rings, Py_ssize_t count) except -1:
    """Check that all rings run along pixel edges."""
    cdef Py_ssize_t ring
    for ring in range(count):
        if slants(rings, ring):
            refuse_slanted(ring)
    return 0


cdef inline bint unpack(
    Rings rings, long long ring, long long i, long long x, long long y, Edge* edge
) noexcept nogil:
    """Write the edge after point i of a ring, relative to (x, y); return whether it is vertical."""
    cdef const int* here = rings.xy + 2 * i
    cdef const int* there = here + 2
    if i + 1 == rings.offsets[ring + 1]:
        there = rings.xy + 2 * rings.offsets[ring]
    if here[0] != there[0] or here[1] == there[1]:
        return False
    edge.x = here[0] - x
    edge.sign = 1 if there[1] > here[1] else -1
    edge.y0 = min(here[1], there[1]) - y
    edge.y1 = max(here[1], there[1]) - y
    return True


cdef inline long long shared_area(Rings rings, long long a, long long b) noexcept nogil:
    """Return the area of the intersection of two rings.

    At height y, a ring covers x as often as its edges right of x, counted with their signs,
    say. The product of two such sums, integrated over x, leaves the smaller x of each pair of
    edges; integrated over y, times the height that both edges span:

        area = sum over edges i of a and j of b of  sign_i sign_j height_ij min(x_i, x_j)

    The sums wrap around harmlessly where terms are large: the result fits.
    """
    cdef Edge edge
    cdef Edge[CHUNK] some
    cdef u64 total = 0
    cdef long long i, j = rings.offsets[b], height, x, y
    cdef int k, count
    if rings.offsets[a] == rings.offsets[a + 1]:
        return 0
    x = rings.xy[2 * rings.offsets[a]]
    y = rings.xy[2 * rings.offsets[a] + 1]
    while j < rings.offsets[b + 1]:
        count = 0
        while j < rings.offsets[b + 1] and count < CHUNK:
            count += unpack(rings, b, j, x, y, &some[count])
            j += 1
        for i in range(rings.offsets[a], rings.offsets[a + 1]):
            if not unpack(rings, a, i, x, y, &edge):
                continue
            for k in range(count):
                height = min(edge.y1, some[k].y1) - max(edge.y0, some[k].y0)
                if height > 0:
                    total += (
                        <u64> (edge.sign * some[k].sign) * <u64> height
                        * <u64> min(edge.x, some[k].x)
                    )
    return abs(<long long> total)


cdef inline long long area_within(
    Rings rings, long long ring, long long x0, long long y0, long long x1, long long y1
) noexcept nogil:
    """Return the area of a ring inside a rectangle."""
    cdef Edge edge
    cdef long long i, height
    cdef u64 total = 0
    if x1 <= x0:
        return 0
    for i in range(rings.offsets[ring], rings.offsets[ring + 1]):
        if unpack(rings, ring, i, x0, y0, &edge):
            height = min(edge.y1, y1 - y0) - max(edge.y0, 0)
            if height > 0:
                total += <u64> edge.sign * <u64> height * <u64> min(max(edge.x, 0), x1 - x0)
    return abs(<long long> total)
