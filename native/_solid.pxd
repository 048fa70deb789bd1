"""From the pixels of a mask to the ring around its largest part; inlined into the kernels."""

from libc.stdlib cimport realloc
from libc.string cimport memset
from native._paste cimport Window
from native._runs cimport Run, cut_rows, fill_holes, find_root, link_all


cdef struct Scratch:
    # For a mask of so many pixels: runs, sizes and flags one each, first one more than rows.
    Run* runs
    int* first
    int* sizes
    unsigned char* flags


cdef struct Points:
    int* xy
    Py_ssize_t count
    Py_ssize_t room


cdef struct Outline:
    # What is known of a ring beside its points; all 0 where nothing is left of a mask.
    long long area
    double[2] centroid
    int[4] bbox


cdef inline const Run* run_in(const Run* runs, const int* first, int y) noexcept nogil:
    """Return the run of foreground of a row that has just one."""
    return runs + first[y] + 1 - runs[first[y]].value


cdef inline void rewrite(
    unsigned char* mask, int height, int stride, Run* runs, const int* first, int root
) noexcept nogil:
    """Write foreground runs back; with a root (not -1), erase those that are not its own."""
    cdef int y, i
    cdef bint kept
    for y in range(height):
        for i in range(first[y], first[y + 1]):
            if runs[i].value == 1:
                kept = root < 0 or find_root(runs, i) == root
                memset(
                    mask + <size_t> (y + 1) * stride + 1 + runs[i].start, kept,
                    runs[i].stop - runs[i].start,
                )


cdef inline bint is_plain(Run* runs, const int* first, int height) noexcept nogil:
    """Tell whether each row holds one run of foreground at most, touching the one above it.

    Most nuclei are such: one component without holes, as every row shows by itself.
    """
    cdef int y, i, above = -1
    cdef bint ended = False
    for y in range(height):
        i = first[y] + 1 - runs[first[y]].value
        if i == first[y + 1]:
            ended = above >= 0
            continue
        if ended or first[y + 1] - i > 2:
            return False
        if above >= 0 and (
            runs[i].start >= runs[above].stop or runs[i].stop <= runs[above].start
        ):
            return False
        above = i
    return above >= 0


cdef inline int keep_largest(
    unsigned char* mask, int width, int height, int stride, Scratch scratch, bint* plain
) noexcept nogil:
    """Leave the largest component of a mask with its holes filled; return its runs' number."""
    cdef Run* runs = scratch.runs
    cdef int* first = scratch.first
    cdef int* area = scratch.sizes
    cdef int i, components = 0, best = 0
    cdef int count = cut_rows(mask + stride + 1, width, height, stride, runs, first)
    plain[0] = is_plain(runs, first, height)
    if plain[0]:
        return count
    link_all(runs, first, height)
    for i in range(count):
        area[i] = 0
        if runs[i].value == 1:
            components += runs[i].parent == i
            area[find_root(runs, i)] += runs[i].stop - runs[i].start
    if components == 0:
        return 0
    if components > 1:
        for i in range(count):
            if area[i] > area[best]:
                best = i
        rewrite(mask, height, stride, runs, first, best)
        count = cut_rows(mask + stride + 1, width, height, stride, runs, first)
        link_all(runs, first, height)
    if fill_holes(runs, first, width, height, scratch.flags):
        rewrite(mask, height, stride, runs, first, -1)
    return count


cdef inline void measure(
    const Run* runs, const int* first, Window window, Outline* outline
) noexcept nogil:
    """Measure the foreground, of which there is some."""
    cdef int y, i
    cdef int x0 = window.x1, y0 = window.y1, x1 = window.x0, y1 = window.y0
    cdef long long area = 0, length
    cdef double sum_x = 0, sum_y = 0
    for y in range(window.y1 - window.y0):
        for i in range(first[y], first[y + 1]):
            if runs[i].value == 1:
                length = runs[i].stop - runs[i].start
                area += length
                sum_x += 0.5 * (runs[i].start + runs[i].stop) * length
                sum_y += (y + 0.5) * length
                x0 = min(x0, window.x0 + runs[i].start)
                x1 = max(x1, window.x0 + runs[i].stop)
                y0 = min(y0, window.y0 + y)
                y1 = window.y0 + y + 1
    outline.area = area
    outline.centroid[0] = window.x0 + sum_x / area
    outline.centroid[1] = window.y0 + sum_y / area
    outline.bbox[0], outline.bbox[1], outline.bbox[2], outline.bbox[3] = x0, y0, x1, y1


cdef inline int trace(const unsigned char* mask, int stride, Window window, int* xy) noexcept nogil:
    """Walk once around the foreground along pixel edges; return the number of corners.

    The walk begins at the top left corner of the first pixel in scan order, to the right, and
    keeps the foreground at its right hand as seen on a screen:

              ahead left       ahead right empty: turn right
        walk > +               ahead left full:   turn left
              ahead right      else:              straight on

    A filled, 4-connected component never meets itself at a corner, so the ring is simple.
    """
    cdef const unsigned char* pixel = mask + stride + 1
    while not pixel[0]:
        pixel += 1
    cdef int start_x = <int> ((pixel - mask) % stride) - 1
    cdef int start_y = <int> ((pixel - mask) / stride) - 1
    cdef int x = start_x, y = start_y, swap, count = 0
    # `pixel` is the one at the right hand of the next edge; `left` leads across that edge.
    cdef int step_x = 1, step_y = 0
    cdef Py_ssize_t forward = 1, left = -stride, turn
    while True:
        xy[2 * count] = window.x0 + x
        xy[2 * count + 1] = window.y0 + y
        count += 1
        while True:
            x += step_x
            y += step_y
            pixel += forward
            if not pixel[0]:
                # Right: what was ahead of the walk lies at its left from now on.
                pixel -= forward
                turn = forward
                forward = -left
                left = turn
                swap = step_x
                step_x = -step_y
                step_y = swap
                break
            if pixel[left]:
                pixel += left
                turn = forward
                forward = left
                left = -turn
                swap = step_x
                step_x = step_y
                step_y = -swap
                break
        if x == start_x and y == start_y:
            return count


cdef inline int trace_plain(
    const Run* runs, const int* first, int top, int bottom, Window window, int* xy
) noexcept nogil:
    """Write what `trace` does for a foreground that is plain: down its right side, up its left.

    A corner is always written, but counted only where the side steps in or out.
    """
    cdef int y, before, after, count = 2
    cdef const Run* run = run_in(runs, first, top)
    before = run.stop + window.x0
    xy[0], xy[1], xy[2], xy[3] = run.start + window.x0, top + window.y0, before, top + window.y0
    for y in range(top + 1, bottom):
        after = run_in(runs, first, y).stop + window.x0
        xy[2 * count], xy[2 * count + 1] = before, y + window.y0
        xy[2 * count + 2], xy[2 * count + 3] = after, y + window.y0
        count += 2 * (before != after)
        before = after
    xy[2 * count], xy[2 * count + 1] = before, bottom + window.y0
    before = run_in(runs, first, bottom - 1).start + window.x0
    xy[2 * count + 2], xy[2 * count + 3] = before, bottom + window.y0
    count += 2
    for y in range(bottom - 1, top, -1):
        after = run_in(runs, first, y - 1).start + window.x0
        xy[2 * count], xy[2 * count + 1] = before, y + window.y0
        xy[2 * count + 2], xy[2 * count + 3] = after, y + window.y0
        count += 2 * (before != after)
        before = after
    return count


cdef inline int add_outline(
    unsigned char* mask, Window window, Scratch scratch, Points* points, Outline* outline
) noexcept nogil:
    """Add the ring around the largest part of a mask, holes filled; -1 if there is no memory.

    The mask has a border of one pixel of zeros around the window.
    """
    cdef int width = window.x1 - window.x0, height = window.y1 - window.y0
    cdef bint plain
    cdef Py_ssize_t room
    cdef int* xy
    cdef int count = keep_largest(mask, width, height, width + 2, scratch, &plain)
    if count == 0:
        memset(outline, 0, sizeof(Outline))
        return 0
    # A run of foreground has two ends, and each of them at most two corners; two more are
    # written before they are found to be none.
    room = points.count + 4 * <Py_ssize_t> count + 2
    if room > points.room:
        room *= 2
        xy = <int*> realloc(points.xy, room * 2 * sizeof(int))
        if xy == NULL:
            return -1
        points.xy, points.room = xy, room
    xy = points.xy + 2 * points.count
    measure(scratch.runs, scratch.first, window, outline)
    if plain:
        points.count += trace_plain(
            scratch.runs, scratch.first, outline.bbox[1] - window.y0, outline.bbox[3] - window.y0,
            window, xy,
        )
    else:
        points.count += trace(mask, width + 2, window, xy)
    return 0
