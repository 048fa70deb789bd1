"""A nucleus as its own small picture: rows of a mask and where they begin and end; inlined."""

from libc.string cimport memset


cdef enum:
    LONGEST = 4096            # pixels along a side of a box
    NOWHERE = 2 * LONGEST     # begins a row without pixels
    MARGIN = 5                # columns of zeros beside a mask: one before it, four after it


cdef struct Figure:
    # The tight box of a nucleus in the picture, and its pixels.
    int x0
    int y0
    int width
    int height
    long long area
    # Mask rows of 0 and 1 at `pixels`, `stride` apart, zeros all around: a row above and below,
    # and columns so that four pixels can be read from every fourth on.
    unsigned char* mask
    unsigned char* pixels
    Py_ssize_t stride
    # By row: its first column, and minus its last, so that the right side is the left one in a
    # mirror; NOWHERE where it has no pixel.
    int* first
    int* mirrored


cdef inline bint cut_out(
    const int* label, Py_ssize_t width, int number, const int* box, Figure* figure
) noexcept nogil:
    """Find a nucleus in its box, which may be larger than it; return whether there is any."""
    cdef const int* row
    cdef int y, left, right, top = -1, bottom = -1
    cdef long long area = 0
    cdef int x0 = box[2], x1 = box[0], high = box[3] - box[1]
    for y in range(high):
        row = label + (box[1] + y) * width
        left, right = box[0], box[2] - 1
        while left <= right and row[left] != number:
            left += 1
        if left > right:
            figure.first[y] = figure.mirrored[y] = NOWHERE
            continue
        while row[right] != number:
            right -= 1
        figure.first[y], figure.mirrored[y] = left, -right
        x0, x1 = min(x0, left), max(x1, right + 1)
        top = y if top < 0 else top
        bottom = y + 1
    if top < 0:
        return False
    figure.x0, figure.y0 = x0, box[1] + top
    figure.width, figure.height = x1 - x0, bottom - top
    figure.stride = figure.width + MARGIN
    figure.pixels = figure.mask + figure.stride + 1
    memset(figure.mask, 0, (figure.height + 2) * figure.stride)
    for y in range(figure.height):
        left, right = figure.first[top + y], -figure.mirrored[top + y]
        if left == NOWHERE:
            figure.first[y] = figure.mirrored[y] = NOWHERE
            continue
        figure.first[y], figure.mirrored[y] = left - x0, x0 - right
        area += fill_row(
            label + (figure.y0 + y) * width + left, right + 1 - left, number,
            figure.pixels + y * figure.stride + left - x0,
        )
    figure.area = area
    return True


cdef inline int fill_row(
    const int* label, int width, int number, unsigned char* pixels
) noexcept nogil:
    """Write which pixels are of the number; return how many."""
    cdef int x, count = 0
    for x in range(width):
        pixels[x] = label[x] == number
        count += label[x] == number
    return count
