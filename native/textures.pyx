# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Textures: intensity, gradient and Haralick columns of many nuclei; Canny's edges."""

from libc.string cimport memset
from native._canny cimport find_ridges, keep_strong, measure_steepness
from native._haralick cimport LEVELS, Counts, write_haralick
from native._statistics cimport VALUES, write_gradient, write_intensity

import numpy as np

from nuhtc.native._check import checked

INTENSITY = (
    *("Min", "Max", "Mean", "Median", "MeanMedianDiff", "Std", "IQR", "MAD"),
    *("Skewness", "Kurtosis", "HistEnergy", "HistEntropy"),
)
GRADIENT = (
    *("Mag.Mean", "Mag.Std", "Mag.Skewness", "Mag.Kurtosis"),
    *("Mag.HistEntropy", "Mag.HistEnergy", "Canny.Sum", "Canny.Mean"),
)
HARALICK = (
    *("ASM", "Contrast", "Correlation", "SumOfSquares", "IDM", "SumAverage", "SumVariance"),
    *("SumEntropy", "Entropy", "DifferenceVariance", "DifferenceEntropy", "IMC1", "IMC2"),
)
COLUMNS = (
    *(f"Nucleus.Intensity.{name}" for name in INTENSITY),
    *(f"Nucleus.Gradient.{name}" for name in GRADIENT),
    *(f"Nucleus.Haralick.{name}.{of}" for name in HARALICK for of in ("Mean", "Range")),
)

# Pixels and pairs of them are counted in 32 bits.
MOST_PIXELS = (1 << 31) - 1

cdef enum:
    GRADIENT_FROM = 12
    HARALICK_FROM = 20


cdef struct Pixels:
    # Of a nucleus: how many have each value, how many there are, and are Canny's edges.
    int[VALUES] counts
    long long total
    long long edges


cdef inline void gather(
    const int* label, const unsigned char* channel, const unsigned char* edges,
    int height, int width, int number, const int* box, Pixels* pixels, double* slopes,
) noexcept nogil:
    """Count a nucleus's pixels by value and write (2 x slope)^2 of each, in scan order.

    A slope is half the difference of two neighbours, or where the picture ends the whole
    difference to the one that there is; 0 along a side of one pixel.
    """
    cdef int x, y, left, right, down, across, wide, high
    cdef Py_ssize_t at, row
    cdef const unsigned char* above
    cdef const unsigned char* below
    memset(pixels, 0, sizeof(Pixels))
    for y in range(box[1], box[3]):
        row = <Py_ssize_t> y * width
        above = channel + (row - width if y > 0 else row)
        below = channel + (row + width if y + 1 < height else row)
        high = 1 if 0 < y < height - 1 else 2
        for x in range(box[0], box[2]):
            at = row + x
            if label[at] != number:
                continue
            left = x - (x > 0)
            right = x + (x + 1 < width)
            wide = 1 if right - left == 2 else 2
            across = wide * (<int> channel[row + right] - channel[row + left])
            down = high * (<int> below[x] - above[x])
            slopes[pixels.total] = across * across + down * down
            pixels.counts[channel[at]] += 1
            pixels.edges += edges[at]
            pixels.total += 1


cdef Py_ssize_t measure_all(
    const int[:, ::1] label, const int[::1] numbers, const int[:, ::1] boxes,
    const unsigned char[:, ::1] channel, const unsigned char[:, ::1] edges,
    const unsigned char[::1] level_of, double[::1] slopes, unsigned char[::1] levels,
    double[:, ::1] out,
) noexcept nogil:
    """Write every nucleus's row; return -1, or the first one of which no pixel is in its box."""
    cdef Py_ssize_t i
    cdef int height = <int> label.shape[0], width = <int> label.shape[1]
    cdef int x0, y0
    cdef Pixels pixels
    cdef Counts counts
    for i in range(numbers.shape[0]):
        gather(
            &label[0, 0], &channel[0, 0], &edges[0, 0], height, width, numbers[i], &boxes[i, 0],
            &pixels, &slopes[0],
        )
        if pixels.total == 0:
            return i
        write_intensity(pixels.counts, pixels.total, &out[i, 0])
        write_gradient(&slopes[0], pixels.total, pixels.edges, &out[i, GRADIENT_FROM])
        # HistomicsTK cuts the box one row and one column too large, where the picture has them.
        x0, y0 = boxes[i, 0], boxes[i, 1]
        write_haralick(
            &channel[y0, x0], width, min(boxes[i, 3] + 1, height) - y0,
            min(boxes[i, 2] + 1, width) - x0, &level_of[0], &levels[0], &counts,
            &out[i, HARALICK_FROM],
        )
    return -1


def texture_features(label, numbers, boxes, channel, edges):
    """See textures.pyi."""
    label = checked(label, "label", np.int32, (None, None))
    height, width = label.shape
    channel = checked(channel, "channel", np.uint8, (height, width))
    edges = checked(edges, "edges", np.bool_, (height, width))
    numbers = checked(numbers, "numbers", np.int32, (None,))
    boxes = checked(boxes, "boxes", np.int32, (len(numbers), 4))
    if label.size > MOST_PIXELS:
        raise ValueError(f"label must have at most {MOST_PIXELS} pixels, not {label.size}")
    out = np.zeros((len(numbers), len(COLUMNS)))
    if not len(numbers):
        return out
    if numbers.min() < 1:
        raise ValueError(f"numbers must be at least 1, not {numbers.min()}")
    x0, y0, x1, y1 = boxes.T.astype(np.int64)
    outside = (x0 < 0) | (y0 < 0) | (x1 > width) | (y1 > height) | (x0 >= x1) | (y0 >= y1)
    if outside.any():
        i = int(outside.argmax())
        raise ValueError(
            f"boxes must have pixels and lie in the picture of {width} x {height}: "
            f"box {i} is {boxes[i].tolist()}"
        )
    cdef double[::1] slopes = np.empty(((x1 - x0) * (y1 - y0)).max())
    cdef unsigned char[::1] levels = np.empty(((x1 - x0 + 1) * (y1 - y0 + 1)).max(), np.uint8)
    cdef const unsigned char[::1] level_of = np.round(
        np.arange(VALUES) / (VALUES - 1) * (LEVELS - 1)
    ).astype(np.uint8)
    cdef const int[:, ::1] label_view = label
    cdef const int[::1] number_view = numbers
    cdef const int[:, ::1] box_view = boxes
    cdef const unsigned char[:, ::1] channel_view = channel
    cdef const unsigned char[:, ::1] edge_view = edges.view(np.uint8)
    cdef double[:, ::1] out_view = out
    cdef Py_ssize_t without
    with nogil:
        without = measure_all(
            label_view, number_view, box_view, channel_view, edge_view, level_of, slopes, levels,
            out_view,
        )
    if without >= 0:
        raise ValueError(
            f"boxes must hold their nuclei's pixels: box {without} holds none of number "
            f"{numbers[without]}"
        )
    return out


def canny_edges(smooth):
    """See textures.pyi."""
    cdef const double[:, ::1] picture = checked(smooth, "smooth", np.float64, (None, None))
    cdef Py_ssize_t height = picture.shape[0], width = picture.shape[1], ridges
    edges = np.zeros((height, width), np.bool_)
    if height < 3 or width < 3:
        return edges
    cdef double[:, ::1] steep = np.empty((height, width))
    cdef unsigned char[:, ::1] kind = edges.view(np.uint8)
    with nogil:
        measure_steepness(&picture[0, 0], height, width, &steep[0, 0])
        ridges = find_ridges(&picture[0, 0], &steep[0, 0], height, width, &kind[0, 0])
    cdef Py_ssize_t[::1] stack = np.empty(ridges + 1, np.intp)
    with nogil:
        keep_strong(&kind[0, 0], height, width, &stack[0])
    return edges
