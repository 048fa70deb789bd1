# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Shapes: where nuclei of a labelled picture are, how large and of what form."""

from libc.math cimport M_PI, sqrt
from libc.string cimport memset
from native._figure cimport LONGEST, MARGIN, Figure, cut_out
from native._fourier cimport BANDS, Turns, fill_turns, fourier_shape
from native._hull cimport fractal_dimension, hull_area, perimeter
from native._moments cimport Spread, Sums, add_row, axes_of, hu_moments, orientation_of, spread_of

import numpy as np

from nuhtc.native._check import checked

COLUMNS = (
    "Identifier.CentroidX",
    "Identifier.CentroidY",
    "Identifier.WeightedCentroidX",
    "Identifier.WeightedCentroidY",
    "Orientation.Orientation",
    "Size.Area",
    "Size.ConvexHullArea",
    "Size.MajorAxisLength",
    "Size.MinorAxisLength",
    "Size.Perimeter",
    "Shape.Circularity",
    "Shape.Eccentricity",
    "Shape.EquivalentDiameter",
    "Shape.Extent",
    "Shape.FractalDimension",
    "Shape.MinorMajorAxisRatio",
    "Shape.Solidity",
    *(f"Shape.HuMoments{place}" for place in range(1, 8)),
    *(f"Shape.WeightedHuMoments{place}" for place in range(1, 8)),
    *(f"Shape.FSD{place}" for place in range(1, 7)),
)


cdef enum:
    HU = 17                   # where Hu's moments begin among the columns
    WEIGHTED_HU = HU + 7
    FSD = WEIGHTED_HU + 7
    WIDTH = FSD + BANDS


cdef struct Scratch:
    # For the largest box: as many bytes as its mask with margins has in `border`, a row in
    # `weights`, two numbers a row in `reach`, four and two more in `chain`, one for each 4 x 4
    # pixels in `held`, and four bytes for each pixel, and four more, in `ways`.
    unsigned char* border
    unsigned char* weights
    int* reach
    int* chain
    int* held
    unsigned char* ways


cdef inline void sum_up(
    const Figure* figure, const unsigned char* channel, Py_ssize_t width,
    unsigned char* weights, Sums* plain, Sums* weighted,
) noexcept nogil:
    """Sum up a nucleus's pixels, and the same weighted by the channel."""
    cdef int x, y, left, count
    cdef long long from_x, from_y
    cdef const unsigned char* inside
    cdef const unsigned char* values
    memset(plain, 0, sizeof(Sums))
    memset(weighted, 0, sizeof(Sums))
    for y in range(figure.height):
        left = figure.first[y]
        count = 1 - figure.mirrored[y] - left
        if count <= 0:
            continue
        inside = figure.pixels + y * figure.stride + left
        values = channel + (figure.y0 + y) * width + figure.x0 + left
        for x in range(count):
            weights[x] = values[x] * inside[x]
        from_x, from_y = left - figure.width // 2, y - figure.height // 2
        add_row(inside, count, from_x, from_y, plain)
        add_row(weights, count, from_x, from_y, weighted)


cdef inline void measure(
    Figure* figure, const unsigned char* channel, int width, int height,
    Scratch scratch, const Turns* turns, double* row,
) noexcept nogil:
    """Write all columns of a nucleus."""
    cdef Sums plain, weighted
    cdef Spread spread, heavy
    cdef double area = <double> figure.area
    cdef int y
    sum_up(figure, channel, width, scratch.weights, &plain, &weighted)
    spread_of(&plain, &spread)
    hu_moments(&spread, area, row + HU)
    if weighted.s00 > 0:
        spread_of(&weighted, &heavy)
        hu_moments(&heavy, <double> weighted.s00, row + WEIGHTED_HU)
    else:
        heavy = spread
        memset(row + WEIGHTED_HU, 0, 7 * sizeof(double))
    row[0] = figure.x0 + figure.width // 2 + spread.column
    row[1] = figure.y0 + figure.height // 2 + spread.row
    row[2] = figure.x0 + figure.width // 2 + heavy.column
    row[3] = figure.y0 + figure.height // 2 + heavy.row
    row[4] = orientation_of(&plain)
    row[5] = area
    row[6] = <double> hull_area(figure, scratch.chain, scratch.reach)
    axes_of(&spread, area, row + 7, row + 8, row + 11)
    row[9] = perimeter(figure, scratch.border)
    row[10] = 4 * M_PI * area / (row[9] * row[9] if row[9] > 0 else 1)
    row[12] = sqrt(4 * area / M_PI)
    row[13] = area / (<double> figure.width * figure.height)
    row[14] = fractal_dimension(figure, scratch.held)
    row[15] = row[8] / row[7] if row[7] > 0 else 1
    row[16] = area / row[6]
    # Fourier shape is defined without the picture's last row and column.
    if figure.y0 + figure.height == height:
        memset(figure.pixels + (figure.height - 1) * figure.stride, 0, figure.width)
    if figure.x0 + figure.width == width:
        for y in range(figure.height):
            figure.pixels[y * figure.stride + figure.width - 1] = 0
    fourier_shape(figure, turns, scratch.ways, row + FSD)


cdef Py_ssize_t measure_all(
    const int[:, ::1] label, const int[::1] numbers, const int[:, ::1] boxes,
    const unsigned char[:, ::1] channel, Figure* figure, Scratch scratch, double[:, ::1] table,
) noexcept nogil:
    """Measure every nucleus; return -1, or which of them has no pixel in its box."""
    cdef Py_ssize_t i
    cdef int height = label.shape[0], width = label.shape[1]
    cdef Turns turns
    fill_turns(&turns)
    for i in range(numbers.shape[0]):
        if not cut_out(&label[0, 0], width, numbers[i], &boxes[i, 0], figure):
            return i
        measure(figure, &channel[0, 0], width, height, scratch, &turns, &table[i, 0])
    return -1


def shape_features(label, numbers, boxes, channel):
    """See shapes.pyi."""
    cdef const int[:, ::1] picture = checked(label, "label", np.int32, (None, None))
    cdef const int[::1] number = checked(numbers, "numbers", np.int32, (None,))
    cdef Py_ssize_t count = number.shape[0]
    corners = checked(boxes, "boxes", np.int32, (count, 4))
    cdef const int[:, ::1] box = corners
    shape = (picture.shape[0], picture.shape[1])
    cdef const unsigned char[:, ::1] weights = checked(channel, "channel", np.uint8, shape)
    if max(shape) > 1 << 30:
        raise ValueError(f"label must have at most {1 << 30} pixels along a side, not {shape}")
    table = np.empty((count, WIDTH))
    if not count:
        return table
    if np.min(numbers) < 1:
        raise ValueError("numbers must be 1 or more: 0 is no nucleus")
    low, high = corners[:, :2].astype(np.int64), corners[:, 2:].astype(np.int64)
    wrong = ((low < 0) | (high > shape[::-1]) | (high <= low) | (high - low > LONGEST)).any(axis=1)
    if wrong.any():
        i = int(wrong.argmax())
        raise ValueError(
            f"boxes must hold 1 to {LONGEST} pixels a side within {shape[1]} x {shape[0]};"
            f" box {i} is {corners[i].tolist()}"
        )

    sides = high - low
    cdef Py_ssize_t wide = sides[:, 0].max(), tall = sides[:, 1].max()
    cdef Py_ssize_t pixels = sides.prod(axis=1).max()
    cdef Py_ssize_t padded = (sides + (MARGIN, 2)).prod(axis=1).max()
    cdef Py_ssize_t fours = ((sides + 3) // 4).prod(axis=1).max()
    cdef unsigned char[::1] small = np.empty(2 * padded + wide + 4 * pixels + 4, np.uint8)
    cdef int[::1] large = np.empty(8 * tall + 2 + fours, np.int32)
    cdef Figure figure
    cdef Scratch scratch
    figure.mask = &small[0]
    scratch.border = figure.mask + padded
    scratch.weights = scratch.border + padded
    scratch.ways = scratch.weights + wide
    figure.first = &large[0]
    figure.mirrored = figure.first + tall
    scratch.reach = figure.mirrored + tall
    scratch.chain = scratch.reach + 2 * tall
    scratch.held = scratch.chain + 4 * tall + 2
    cdef double[:, ::1] rows = table
    cdef Py_ssize_t missing
    with nogil:
        missing = measure_all(picture, number, box, weights, &figure, scratch, rows)
    if missing >= 0:
        raise ValueError(
            f"boxes must hold their nuclei: box {missing}, {corners[missing].tolist()},"
            f" has no pixel of {numbers[missing]}"
        )
    return table
