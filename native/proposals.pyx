# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Region proposals: boxes from a foreground map, and non-maximum suppression."""

from native._foreground cimport sweep, threshold_blurred
from native._runs cimport Run, fill_holes, find_root, scan_rows

import math

import numpy as np

from nuhtc.native._check import checked, checked_size


cdef struct Component:
    int area
    int x0
    int y0
    int x1
    int y1


cdef int find_components(
    const unsigned char* mask, int width, int height, int stride, int min_area, double max_area,
    Run* runs, int* first, unsigned char* flags, Component* components,
) noexcept nogil:
    """Fill holes; leave the components of min_area < area < max_area, in scan order."""
    cdef int y, i, found = 0, count = scan_rows(mask, width, height, stride, runs, first)
    cdef Component* part
    fill_holes(runs, first, width, height, flags)
    for y in range(height):
        for i in range(first[y], first[y + 1]):
            if runs[i].value == 0:
                continue
            part = components + find_root(runs, i)
            if runs[i].parent == i:      # a root comes before the others of its component
                part.area = 0
                part.x0, part.y0, part.x1 = runs[i].start, y, runs[i].stop
            part.area += runs[i].stop - runs[i].start
            part.x0 = min(part.x0, runs[i].start)
            part.x1 = max(part.x1, runs[i].stop)
            part.y1 = y + 1
    for i in range(count):
        if runs[i].value == 1 and runs[i].parent == i:
            if min_area < components[i].area < max_area:
                components[found] = components[i]
                found += 1
    return found


def watershed_boxes(
    logits, width, height, *, blur_sigma=1.1, opening=2, min_area=10, max_fraction=0.25
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
    cdef int i, found
    with nogil:
        threshold_blurred(
            &source[0, 0], w, h, wide, high, sigma,
            &tall[0], &row[0], &column[0], &part[0], a, stride,
        )
        for i in range(2 * rounds):
            sweep(a, b, wide, high, stride, 1, i < rounds)
            sweep(b, a, wide, high, stride, stride, i < rounds)
        found = find_components(
            a, wide, high, stride, smallest, largest,
            <Run*> &run_bytes[0], &first[0], &flags[0], components,
        )
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
