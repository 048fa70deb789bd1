"""Which candidates are the same nucleus, and a raster to find them by; inlined into the kernels."""

from libc.stdlib cimport realloc
from native._rings cimport Rings, area_within, shared_area, slants


cdef enum:
    MANY_CELLS = 64           # a box in more cells than this is not entered into the raster

ctypedef unsigned int u32


cdef struct Scene:
    # One entry for each candidate; `window` is NULL when pieces are compared as wholes are.
    Rings rings
    const int* box
    const int* window
    const long long* area
    const int* tile
    const unsigned char* cut
    const unsigned char* probe
    const unsigned long long* key          # the smaller, the better
    double share
    long long slanted         # a compared ring that is not along pixel edges, or -1


cdef struct Entry:
    int item                  # the candidate
    int after                 # the chain's next entry, or -1


cdef struct Raster:
    # Candidates by the square cells, 2 ** shift wide, that their boxes touch: chains of
    # entries, one chain for all cells of equal hash.
    int shift
    u32 mask
    int* head                 # first entry of each chain, or -1
    Entry* entry
    int entries


cdef struct Pairs:
    # Pairs that are the same nucleus, the worse one of each first.
    int* ends
    Py_ssize_t count
    Py_ssize_t room


cdef inline u32 chain_of(const Raster* raster, long long x, long long y) noexcept nogil:
    """Return a cell's chain; those of neighbours in a row lie side by side in memory."""
    return (<u32> x + <u32> y * 0x85EBCA77u) & raster.mask


cdef inline bint same_nucleus(Scene* scene, long long a, long long b) noexcept nogil:
    """Tell whether two candidates share more than `share` of the smaller one's area."""
    cdef double share = scene.share
    cdef const int* p = scene.box + 4 * a
    cdef const int* q = scene.box + 4 * b
    cdef long long x0 = max(p[0], q[0]), y0 = max(p[1], q[1])
    cdef long long x1 = min(p[2], q[2]), y1 = min(p[3], q[3])
    if x0 >= x1 or y0 >= y1 or scene.tile[a] == scene.tile[b]:
        return False
    if not (scene.probe[a] or scene.probe[b]):
        return False
    cdef long long smaller = min(scene.area[a], scene.area[b])
    cdef double meet = <double> (x1 - x0) * (y1 - y0)
    cdef bint pieces = scene.window != NULL and scene.cut[a] and scene.cut[b]
    if not pieces and meet <= share * smaller:
        return False
    # What the boxes leave empty is all that can be missing where they meet.
    if (
        scene.area[a] - (<double> p[2] - p[0]) * (<double> p[3] - p[1])
        + scene.area[b] - (<double> q[2] - q[0]) * (<double> q[3] - q[1]) + meet > share * smaller
    ):
        return True
    if slants(scene.rings, a) or slants(scene.rings, b):
        scene.slanted = a if slants(scene.rings, a) else b
        return False
    if pieces:
        p = scene.window + 4 * a
        q = scene.window + 4 * b
        x0, y0 = max(p[0], q[0]), max(p[1], q[1])
        x1, y1 = min(p[2], q[2]), min(p[3], q[3])
        smaller = min(
            area_within(scene.rings, a, x0, y0, x1, y1),
            area_within(scene.rings, b, x0, y0, x1, y1),
        )
    return shared_area(scene.rings, a, b) > share * smaller


cdef inline int compare(Scene* scene, Pairs* pairs, long long a, long long b) noexcept nogil:
    """Note two candidates if they are the same nucleus; return -1 if there is no memory."""
    cdef Py_ssize_t room
    cdef int* grown
    if not same_nucleus(scene, a, b):
        return 0
    if pairs.count == pairs.room:
        room = 2 * pairs.room + 1024
        grown = <int*> realloc(pairs.ends, 2 * room * sizeof(int))
        if grown == NULL:
            return -1
        pairs.ends, pairs.room = grown, room
    if scene.key[a] < scene.key[b]:
        a, b = b, a
    pairs.ends[2 * pairs.count] = <int> a
    pairs.ends[2 * pairs.count + 1] = <int> b
    pairs.count += 1
    return 0


cdef inline int compare_and_enter(
    Scene* scene, Raster* raster, Pairs* pairs, long long a
) noexcept nogil:
    """Compare a candidate with those in the cells that its box touches, and put it there too."""
    cdef const int* box = scene.box + 4 * a
    cdef const int* other
    cdef int shift = raster.shift, entry
    cdef Entry* found
    cdef long long x, y
    cdef u32 chain
    for y in range(box[1] >> shift, ((<long long> box[3] - 1) >> shift) + 1):
        for x in range(box[0] >> shift, ((<long long> box[2] - 1) >> shift) + 1):
            chain = chain_of(raster, x, y)
            entry = raster.head[chain]
            while entry >= 0:
                found = raster.entry + entry
                other = scene.box + 4 * <long long> found.item
                # Two boxes may meet in several cells: the first of them is the one that counts.
                if max(box[0], other[0]) >> shift == x and max(box[1], other[1]) >> shift == y:
                    if compare(scene, pairs, a, found.item) < 0:
                        return -1
                entry = found.after
            raster.entry[raster.entries].item = <int> a
            raster.entry[raster.entries].after = raster.head[chain]
            raster.head[chain] = raster.entries
            raster.entries += 1
    return 0
