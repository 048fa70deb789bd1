"""Region proposals: boxes from a foreground map, and non-maximum suppression."""

import numpy as np
from numpy.typing import NDArray

def watershed_boxes(
    logits: NDArray[np.float32],
    width: int,
    height: int,
    *,
    blur_sigma: float = 1.1,
    opening: int = 2,
    min_area: int = 10,
    max_fraction: float = 0.25,
    split: float = 0.0,
) -> NDArray[np.float32]:
    """Find the boxes of a foreground map's connected regions, as the published watershed step does.

    The map is enlarged bilinearly (corner pixels on corner pixels), blurred with a 5x5
    Gaussian (border mirrored about the edge pixels' centres), cut at 0, opened with a 5x5
    square (outside is background) and its holes filled; each 4-connected component of fitting
    area gives a box. NaN counts as background, and so does what the blur spreads it to.

    With `split`, touching nuclei come apart: a watershed of the exact Euclidean distance to the
    background (up to 255 pixels) has one basin for each maximum whose dynamics, the least
    descent on a way to a deeper one, reach `split`; each basin is then a component.

    Parameters
    ----------
    logits
        float32 (h, w), the foreground logit at any resolution.
    width, height
        The size to enlarge to, in pixels: that of the network's input.
    blur_sigma
        The Gaussian's standard deviation, in enlarged pixels.
    opening
        How many erosions, and then dilations; 0 opens nothing.
    min_area
        Components of this area or less, in enlarged pixels, are dropped.
    max_fraction
        Components of this share of the picture or more are dropped.
    split
        In enlarged pixels; 0 splits nothing, as published.

    Returns
    -------
    float32 (K, 4): xmin, ymin, xmax + 1, ymax + 1 in enlarged pixels, in scan order of each
    component's first pixel.

    Raises
    ------
    TypeError, ValueError
        An argument has the wrong type, dtype, shape or range; the message names it.
    """

def nms(
    boxes: NDArray[np.float32],
    scores: NDArray[np.float32],
    iou_threshold: float,
    groups: NDArray[np.int64] | NDArray[np.int32] | None = None,
    max_keep: int = -1,
) -> NDArray[np.int64]:
    """Drop boxes that overlap a better one of their group; torchvision's rule.

    Boxes are taken by descending score (equal scores: lower index first). One is dropped if
    its intersection over union with a kept box of the same group exceeds `iou_threshold`.
    A box with a NaN coordinate, or without area, neither drops another nor is dropped.

    Parameters
    ----------
    boxes
        float32 (N, 4), xyxy.
    scores
        float32 (N,); infinities are in order.
    iou_threshold
        0 or more.
    groups
        int64 or int32 (N,): boxes of different groups never meet. None: all are one group.
    max_keep
        Stop after this many; negative: keep all.

    Returns
    -------
    int64 (K,): indices of the kept boxes, best first.

    Raises
    ------
    TypeError, ValueError
        An argument has the wrong type, dtype or shape, or a score is NaN.
    """
