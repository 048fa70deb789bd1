"""Components of a binary picture through its runs, holes filled; inlined into the kernels.

A row is cut into runs of equal value, background included. Runs of equal value that
touch vertically are joined in a forest whose roots are the first run in scan order, so
the components (4-connected, foreground and background alike) need no label image:

    . # # . .      runs: 0 [0,1)  1 [1,3)  2 [3,5)
    . # . # .      0 [0,1)  1 [1,2)  2 [2,3)  3 [3,4)  4 [4,5)

A background component that reaches no border of the picture is a hole.
"""

from libc.string cimport memchr


cdef struct Run:
    int start                 # first column
    int stop                  # column after the last
    int parent                # index of a run of the same component, this or an earlier one
    int value                 # 1 foreground, 0 background


cdef inline int find_root(Run* runs, int i) noexcept nogil:
    while runs[i].parent != i:
        runs[i].parent = runs[runs[i].parent].parent
        i = runs[i].parent
    return i


cdef inline void unite(Run* runs, int a, int b) noexcept nogil:
    a = find_root(runs, a)
    b = find_root(runs, b)
    if a < b:
        runs[b].parent = a
    else:
        runs[a].parent = b


cdef inline int append_row(
    Run* runs, int count, const unsigned char* row, int width
) noexcept nogil:
    """Append the runs of a row of zeros and ones; return the new number of runs."""
    cdef int start = 0, stop
    cdef const unsigned char* change
    while start < width:
        change = <const unsigned char*> memchr(row + start, 1 - row[start], width - start)
        stop = width if change == NULL else <int> (change - row)
        runs[count].start = start
        runs[count].stop = stop
        runs[count].parent = count
        runs[count].value = row[start]
        count += 1
        start = stop
    return count


cdef inline void link_rows(Run* runs, int a, int b, int end) noexcept nogil:
    """Join the runs [a, b) of a row with those of equal value below, [b, end)."""
    cdef int a_end = b
    while a < a_end and b < end:
        # Both rows cover the same columns, so these two always overlap.
        if runs[a].value == runs[b].value:
            unite(runs, a, b)
        if runs[a].stop < runs[b].stop:
            a += 1
        elif runs[a].stop > runs[b].stop:
            b += 1
        else:
            a += 1
            b += 1


cdef inline void link_all(Run* runs, const int* first, int height) noexcept nogil:
    """Join the runs of all rows; those of row y are [first[y], first[y + 1])."""
    cdef int y
    for y in range(height - 1):
        link_rows(runs, first[y], first[y + 1], first[y + 2])


cdef inline int cut_rows(
    const unsigned char* pixels, int width, int height, int stride, Run* runs, int* first
) noexcept nogil:
    """Cut a picture of zeros and ones into runs, those of row y from first[y] on.

    Return how many; `runs` has room for one run per pixel, `first` for height + 1 numbers.
    """
    cdef int y, count = 0
    for y in range(height):
        first[y] = count
        count = append_row(runs, count, pixels + <size_t> y * stride, width)
    first[height] = count
    return count


cdef inline bint fill_holes(
    Run* runs, const int* first, int width, int height, unsigned char* outside
) noexcept nogil:
    """Turn holes into foreground and join them to it; return whether there were any.

    `outside` is scratch, one byte for each run.
    """
    cdef int y, i, count = first[height]
    cdef bint found = False
    for i in range(count):
        outside[i] = 0
    for y in range(height):
        for i in range(first[y], first[y + 1]):
            if y == 0 or y == height - 1 or runs[i].start == 0 or runs[i].stop == width:
                outside[find_root(runs, i)] = 1
    for i in range(count):
        if runs[i].value == 0 and not outside[find_root(runs, i)]:
            # Roots are left as they are until every run has been asked.
            runs[i].value = -1
            found = True
    if not found:
        return False
    for i in range(count):
        if runs[i].value == -1:
            runs[i].value = 1
            unite(runs, i, i - 1)
            unite(runs, i, i + 1)
    link_all(runs, first, height)
    return True
