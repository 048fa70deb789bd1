# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Region proposals: boxes from a foreground map, and non-maximum suppression."""

from libc.string cimport memset
from native._foreground cimport sweep, threshold_blurred
from native._runs cimport Run, cut_rows, fill_holes, find_root, link_all
from native._split cimport LEVELS, basin_of, flood, measure_columns, sort_by_depth, square_run

import math

import numpy as np

from nuhtc.native._check import checked, checked_size


cdef struct Component:
    int area
    int x0
    int y0
    int x1
    int y1


cdef void add_run(Component* part, int start, int stop, int y) noexcept nogil:
    """Count pixels of a row in; the first ones are told by an area of 0."""
    if part.area == 0:
        part.x0, part.y0, part.x1 = start, y, stop
    part.area += stop - start
    part.x0 = min(part.x0, start)
    part.x1 = max(part.x1, stop)
    part.y1 = y + 1


cdef int keep_fitting(Component* parts, int count, int min_area, double max_area) noexcept nogil:
    """Move the components of min_area < area < max_area to the front; return how many."""
    cdef int i, found = 0
    for i in range(count):
        if min_area < parts[i].area < max_area:
            parts[found] = parts[i]
            found += 1
    return found


cdef int find_components(
    Run* runs, const int* first, int height, Component* parts
) noexcept nogil:
    """Leave each component of foreground runs at its root's place; return the runs' number."""
    cdef int y, i
    for i in range(first[height]):
        parts[i].area = 0
    for y in range(height):
        for i in range(first[y], first[y + 1]):
            if runs[i].value == 1:
                add_run(parts + find_root(runs, i), runs[i].start, runs[i].stop, y)
    return first[height]


cdef int find_basins(
    unsigned char* mask, int width, int height, int stride, double rise, const Run* runs,
    const int* first, int* depth, int* label, int* order, int* basins, int* scratch,
    double* reach, Component* parts,
) noexcept nogil:
    """Split the components of foreground runs; leave the parts in scan order, return how many."""
    cdef int x, y, i, count, start, stop = 0, found = 0
    cdef int* parent = basins
    cdef int* peak = basins + <size_t> width * height
    for y in range(height):
        for i in range(first[y], first[y + 1]):
            memset(
                mask + <size_t> y * stride + runs[i].start, runs[i].value,
                runs[i].stop - runs[i].start,
            )
    measure_columns(mask, width, height, stride, depth)
    for y in range(height):
        i = first[y]
        while i < first[y + 1]:
            # A filled hole is a run of its own, between others. The background at both ends
            # is taken along: it hides whatever lies beyond.
            start = max(runs[i].start - 1, 0)
            while i < first[y + 1] and runs[i].value == 1:
                stop = min(runs[i].stop + 1, width)
                i += 1
            if i > first[y] and runs[i - 1].value == 1:
                square_run(
                    depth + <size_t> y * stride, start, stop, scratch, scratch + width, reach
                )
            i += 1
    count = sort_by_depth(depth, width, height, stride, scratch, order)
    flood(depth, label, stride, order, count, rise, parent, peak)
    for i in range(count):
        peak[i] = -1
    for y in range(height):
        for x in range(width):
            i = label[<size_t> y * stride + x]
            if i >= 0:
                i = basin_of(parent, i)
                if peak[i] < 0:
                    # Where its peak was, a basin now has its place among the parts.
                    peak[i] = found
                    parts[found].area = 0
                    found += 1
                add_run(parts + peak[i], x, x + 1, y)
    return found


def watershed_boxes(
    logits, width, height, *, blur_sigma=1.1, opening=2, min_area=10, max_fraction=0.25,
    split=0.0,
):
    """See proposals.pyi."""
    cdef const float[:, ::1] source = checked(logits, "logits", np.float32, (None, None))
    cdef int wide = checked_size(width, "width")
    cdef int high = checked_size(height, "height")
    cdef int h = source.shape[0], w = source.shape[1]
    if not (math.isfinite(blur_sigma) and blur_sigma > 0):
        raise ValueError(f"blur_sigma must be positive, not {blur_sigma}")
    cdef int rounds = checked_size(opening, "opening", least=0)
    cdef int smallest = checked_size(min_area, "min_area", least=0)
    cdef double sigma = blur_sigma
    if not max_fraction >= 0:
        raise ValueError(f"max_fraction must not be negative, not {max_fraction}")
    cdef double largest = max_fraction * wide * high
    if not split >= 0:
        raise ValueError(f"split must not be negative, not {split}")
    cdef double rise = split
    if h == 0 or w == 0:
        return np.empty((0, 4), np.float32)
    cdef int stride = wide + 4
    cdef size_t pixels = <size_t> wide * high
    cdef float[::1] tall = np.empty(<size_t> high * w, np.float32)
    cdef float[::1] row = np.empty(w + stride, np.float32)
    cdef int[::1] column = np.empty(max(wide, high), np.int32)
    cdef float[::1] part = np.empty(max(wide, high), np.float32)
    cdef unsigned char[:, :, ::1] masks = np.zeros((2, high + 4, stride), np.uint8)
    cdef unsigned char[::1] run_bytes = np.empty(pixels * sizeof(Run), np.uint8)
    cdef unsigned char[::1] part_bytes = np.empty(pixels * sizeof(Component), np.uint8)
    cdef unsigned char[::1] flags = np.empty(pixels, np.uint8)
    cdef int[::1] first = np.empty(high + 1, np.int32)
    cdef unsigned char* a = &masks[0, 2, 2]
    cdef unsigned char* b = &masks[1, 2, 2]
    cdef Component* components = <Component*> &part_bytes[0]
    cdef Run* runs = <Run*> &run_bytes[0]
    cdef int[::1] depth, label, order, basins, scratch
    cdef double[::1] reach
    if rise > 0:
        depth = np.empty(<size_t> high * stride, np.int32)
        label = np.full(<size_t> (high + 2) * stride, -1, np.int32)
        order = np.empty(pixels, np.int32)
        basins = np.empty(2 * pixels, np.int32)
        scratch = np.empty(max(LEVELS, 2 * wide), np.int32)
        reach = np.empty(wide + 1, np.float64)
    cdef int i, found
    with nogil:
        threshold_blurred(
            &source[0, 0], w, h, wide, high, sigma,
            &tall[0], &row[0], &column[0], &part[0], a, stride,
        )
        for i in range(2 * rounds):
            sweep(a, b, wide, high, stride, 1, i < rounds)
            sweep(b, a, wide, high, stride, stride, i < rounds)
        cut_rows(a, wide, high, stride, runs, &first[0])
        link_all(runs, &first[0], high)
        fill_holes(runs, &first[0], wide, high, &flags[0])
        if rise > 0:
            found = find_basins(
                a, wide, high, stride, rise, runs, &first[0], &depth[0], &label[stride + 2],
                &order[0], &basins[0], &scratch[0], &reach[0], components,
            )
        else:
            found = find_components(runs, &first[0], high, components)
        found = keep_fitting(components, found, smallest, largest)
    cdef float[:, ::1] boxes = np.empty((found, 4), np.float32)
    for i in range(found):
        boxes[i, 0] = components[i].x0
        boxes[i, 1] = components[i].y0
        boxes[i, 2] = components[i].x1
        boxes[i, 3] = components[i].y1
    return np.asarray(boxes)


cdef int suppress(
    const float[:, ::1] boxes, const long long[::1] order, const long long[::1] groups,
    double threshold, int most, float[:, ::1] kept, long long[::1] kept_group,
    long long[::1] answer,
) noexcept nogil:
    """Keep boxes in the given order unless a kept one of their group covers them."""
    cdef Py_ssize_t i, k
    cdef int found = 0
    cdef long long index, group
    cdef float x0, y0, x1, y1, area, w, h, inter
    cdef bint free
    for i in range(order.shape[0]):
        if found == most:
            break
        index = order[i]
        x0, y0, x1, y1 = boxes[index, 0], boxes[index, 1], boxes[index, 2], boxes[index, 3]
        area = (x1 - x0) * (y1 - y0)
        group = groups[index]
        free = True
        for k in range(found):
            w = min(x1, kept[k, 2]) - max(x0, kept[k, 0])
            h = min(y1, kept[k, 3]) - max(y0, kept[k, 1])
            if w > 0 and h > 0 and kept_group[k] == group:
                inter = w * h
                if inter / (area + kept[k, 4] - inter) > threshold:
                    free = False
                    break
        if free:
            kept[found, 0], kept[found, 1], kept[found, 2], kept[found, 3] = x0, y0, x1, y1
            kept[found, 4] = area
            kept_group[found] = group
            answer[found] = index
            found += 1
    return found


def nms(boxes, scores, iou_threshold, groups=None, max_keep=-1):
    """See proposals.pyi."""
    cdef const float[:, ::1] box = checked(boxes, "boxes", np.float32, (None, 4))
    count = box.shape[0]
    score = checked(scores, "scores", np.float32, (count,))
    if np.isnan(score).any():
        raise ValueError("scores must not be NaN")
    if groups is None:
        groups = np.zeros(count, np.int64)
    elif isinstance(groups, np.ndarray) and groups.dtype == np.int32:
        groups = groups.astype(np.int64)
    cdef const long long[::1] group = checked(groups, "groups", np.int64, (count,))
    if not iou_threshold >= 0:
        raise ValueError(f"iou_threshold must not be negative, not {iou_threshold}")
    cdef double threshold = iou_threshold
    cdef int most = count if max_keep < 0 else min(max_keep, count)
    cdef const long long[::1] order = np.argsort(-score, kind="stable").astype(np.int64, copy=False)
    cdef float[:, ::1] kept = np.empty((most, 5), np.float32)
    cdef long long[::1] kept_group = np.empty(most, np.int64)
    answer = np.empty(most, np.int64)
    cdef long long[::1] indices = answer
    cdef int found
    with nogil:
        found = suppress(box, order, group, threshold, most, kept, kept_group, indices)
    return answer[:found]
