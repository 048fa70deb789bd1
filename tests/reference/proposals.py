"""Plain NumPy/SciPy twins of ``nuhtc.native.proposals``."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage


def resize_corners(image: NDArray[np.float32], width: int, height: int) -> NDArray[np.float64]:
    """Resize bilinearly, corner pixels on corner pixels, in double precision."""
    rows = np.linspace(0, image.shape[0] - 1, height) if height > 1 else np.zeros(1)
    cols = np.linspace(0, image.shape[1] - 1, width) if width > 1 else np.zeros(1)
    grid = np.meshgrid(rows, cols, indexing="ij")
    out: NDArray[np.float64] = ndimage.map_coordinates(
        image.astype(np.float64), grid, order=1, mode="nearest"
    )
    return out


def blur(image: NDArray[np.float64], sigma: float) -> NDArray[np.float64]:
    """Blur with a 5x5 Gaussian; the border is mirrored about the edge pixels' centres."""
    taps = np.exp(-0.5 * (np.arange(-2, 3) / sigma) ** 2)
    taps /= taps.sum()
    once = ndimage.correlate1d(image, taps, axis=0, mode="mirror")
    out: NDArray[np.float64] = ndimage.correlate1d(once, taps, axis=1, mode="mirror")
    return out


def boxes_of_mask(
    mask: NDArray[np.bool_], max_area: float, split: float = 0
) -> NDArray[np.float32]:
    """Open a mask, fill its holes and box its components of 10 < area < max_area."""
    square = np.ones((5, 5), bool)
    opened = ndimage.binary_opening(mask, square, iterations=2)
    filled = ndimage.binary_fill_holes(opened)
    labels = split_mask(filled, split) if split else ndimage.label(filled)[0]
    boxes = []
    for index in np.unique(labels[labels > 0]):
        ys, xs = np.nonzero(labels == index)
        if 10 < len(ys) < max_area:
            boxes.append((ys[0], xs[0], xs.min(), ys.min(), xs.max() + 1, ys.max() + 1))
    # By the first pixel in scan order, which stands in front.
    return np.array(sorted(boxes), np.float32).reshape(-1, 6)[:, 2:]


def watershed_boxes(
    logits: NDArray[np.float32],
    width: int,
    height: int,
    blur_sigma: float = 1.1,
    split: float = 0,
) -> NDArray[np.float32]:
    """Twin of ``nuhtc.native.proposals.watershed_boxes``."""
    smooth = blur(resize_corners(logits, width, height), blur_sigma)
    return boxes_of_mask(smooth > 0, width * height / 4, split)


def nms(
    boxes: NDArray[np.float32],
    scores: NDArray[np.float32],
    iou_threshold: float,
    groups: NDArray[np.int64] | None = None,
    max_keep: int = -1,
) -> NDArray[np.int64]:
    """Twin of ``nuhtc.native.proposals.nms``, one box at a time."""
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    group = np.zeros(len(boxes), np.int64) if groups is None else groups
    alive = np.ones(len(boxes), bool)
    kept: list[int] = []
    for i in np.argsort(-scores, kind="stable"):
        if not alive[i] or len(kept) == max_keep:
            continue
        kept.append(int(i))
        low = np.maximum(boxes[:, :2], boxes[i, :2])
        high = np.minimum(boxes[:, 2:], boxes[i, 2:])
        side = np.maximum(high - low, np.float32(0))
        inter = side[:, 0] * side[:, 1]
        with np.errstate(invalid="ignore", divide="ignore"):
            iou = inter / (area[i] + area - inter)
        # In double precision, as torchvision compares: 0.3 is below the nearest float32.
        alive[(iou.astype(np.float64) > iou_threshold) & (group == group[i])] = False
    return np.array(kept, np.int64)


def split_mask(mask: NDArray[np.bool_], rise: float) -> NDArray[np.int64]:
    """Label a mask's parts: a watershed of the distance, deepest pixels first; 0 is background.

    Basins that rise less than `rise` above the pixel where they meet a deeper one end there.
    """
    square = np.rint(ndimage.distance_transform_edt(mask) ** 2).astype(np.int64).ravel()
    if mask.all():
        square[:] = mask.size
    width = mask.shape[1]
    label = np.full(mask.size, -1)
    peaks: list[int] = []
    ended: list[int] = []

    def last(basin: int) -> int:
        while ended[basin] != basin:
            basin = ended[basin]
        return basin

    inside = np.flatnonzero(mask)
    for p in inside[np.argsort(-square[inside], kind="stable")].tolist():
        y, x = divmod(p, width)
        around = [p - width] * (y > 0) + [p - 1] * (x > 0)
        around += [p + 1] * (x + 1 < width) + [p + width] * (y + 1 < mask.shape[0])
        around = [q for q in around if label[q] >= 0]
        if not around:
            label[p] = len(peaks)
            ended.append(len(peaks))
            peaks.append(int(square[p]))
            continue
        met = [last(int(label[q])) for q in around]
        label[p] = met[int(np.argmax(square[around]))]
        top = min(met, key=lambda basin: (-peaks[basin], basin))
        for basin in set(met) - {top}:
            if np.sqrt(peaks[basin]) - np.sqrt(square[p]) < rise:
                ended[basin] = top
    parts = np.array([-1 if basin < 0 else last(int(basin)) for basin in label])
    return np.asarray(parts.reshape(mask.shape) + 1)
