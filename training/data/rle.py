"""COCO's masks as runs of pixels: polygons, and run lengths as numbers or as text.

Runs go down the columns, from the left to the right, and begin with background. As text,
every run is one number in groups of five bits, low bits first, each group one character
from ``0`` (48); bit 5 says that more follow, bit 4 of the last is the sign. From the fourth
run on, the difference from the run two before is written.
"""

from typing import Any, cast

import numpy as np
from faster_coco_eval import mask as coco_mask
from numpy.typing import NDArray
from scipy import ndimage

FIRST = 48
MORE, SIGN, BITS = 32, 16, 5


def paint(canvas: NDArray[np.int32], segmentation: object, number: int) -> None:
    """Write a number wherever a mask of COCO is.

    Parameters
    ----------
    canvas
        int32 (H, W), Fortran-ordered, so that a run is one stretch of memory.
    segmentation
        As in the JSON: a list of polygons, or ``{"size": [H, W], "counts": ...}``.
    number
        What to write.

    Raises
    ------
    ValueError
        It is none of these, or of another size than the canvas.
    """
    height, width = canvas.shape
    flat = canvas.reshape(-1, order="F")
    for runs in _runs(segmentation, height, width):
        if (runs < 0).any() or int(runs.sum()) != height * width:
            raise ValueError(f"the run lengths do not add up to {width}x{height} pixels")
        ends = np.cumsum(runs)
        for start, end in zip(ends[0::2], ends[1::2], strict=False):
            flat[start:end] = number


def encode(instances: NDArray[np.int32]) -> list[dict[str, Any]]:
    """Return the mask of each nucleus of a label map, as COCO has it.

    Parameters
    ----------
    instances
        int32 (H, W), 0 for background, nuclei from 1 without gaps.

    Returns
    -------
    ``{"size": [H, W], "counts": text}`` for each nucleus, in order.
    """
    height, width = instances.shape
    found: list[dict[str, Any]] = []
    for number, part in enumerate(ndimage.find_objects(instances), 1):
        crop = instances[part].T
        columns, rows = np.nonzero(crop == number)
        pixels = (columns + part[1].start) * height + rows + part[0].start
        breaks = np.flatnonzero(np.diff(pixels) > 1)
        starts = pixels[np.concatenate([[0], breaks + 1])]
        ends = pixels[np.concatenate([breaks, [-1]])] + 1
        changes = np.stack([starts, ends], axis=1).ravel()
        last = [] if changes[-1] == height * width else [height * width]
        runs = np.diff([0, *changes, *last])
        found.append({"size": [height, width], "counts": _text(runs.tolist())})
    return found


def _text(runs: list[int]) -> str:
    """Run lengths as text."""
    characters: list[str] = []
    for place, run in enumerate(runs):
        value = run - runs[place - 2] if place > 2 else run
        while True:
            group = value & 31
            # Shifting keeps the sign, so -1 is what is left of a negative number.
            value >>= BITS
            done = value == (-1 if group & SIGN else 0)
            characters.append(chr(FIRST + group + (0 if done else MORE)))
            if done:
                break
    return "".join(characters)


def _runs(segmentation: object, height: int, width: int) -> list[NDArray[np.int64]]:
    """Return the run lengths of each part of a mask."""
    if isinstance(segmentation, list) and segmentation:
        outlines = [_outline(points, height, width) for points in segmentation]
        parts = cast("list[dict[str, bytes]]", coco_mask.frPyObjects(outlines, height, width))
        return [_decode(part["counts"].decode("ascii")) for part in parts]
    if not isinstance(segmentation, dict):
        raise ValueError("the segmentation is neither polygons nor run lengths")
    size, counts = segmentation.get("size"), segmentation.get("counts")
    if size != [height, width]:
        raise ValueError(f"the run lengths are of size {size}, the picture is {[height, width]}")
    if isinstance(counts, str):
        return [_decode(counts)]
    if isinstance(counts, list) and all(type(one) is int for one in counts):
        return [np.array([min(max(one, -1), 2**40) for one in counts], np.int64)]
    raise ValueError("the run lengths are neither text nor whole numbers")


def _outline(points: Any, height: int, width: int) -> list[float]:
    """Return one polygon, checked: the decoder allocates whatever an outline asks for."""
    if not isinstance(points, list) or len(points) < 6 or len(points) % 2:
        raise ValueError("a polygon must be x, y, x, y, ... of at least three points")
    if not all(isinstance(one, int | float) for one in points):
        raise ValueError("a polygon holds something that is no number")
    for side, values in ((width, points[0::2]), (height, points[1::2])):
        # The comparison is false for NaN.
        if not all(-side <= value <= 2 * side for value in values):
            raise ValueError("a polygon lies far outside the picture")
    return [float(one) for one in points]


def _decode(text: str) -> NDArray[np.int64]:
    """Return the run lengths of a text."""
    runs: list[int] = []
    value = shift = 0
    for character in text:
        group = ord(character) - FIRST
        if not 0 <= group < 64 or shift > 40:
            raise ValueError("the run lengths hold characters that mean nothing")
        value |= (group & 31) << shift
        shift += BITS
        if group & MORE:
            continue
        if group & SIGN:
            value -= 1 << shift
        runs.append(value + runs[-2] if len(runs) > 2 else value)
        value = shift = 0
    if shift:
        raise ValueError("the run lengths are cut short")
    return np.array(runs, np.int64)
