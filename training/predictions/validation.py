"""Measure a network on whole annotated pictures, tile by tile."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from nuhtc.runtime.engines.engine import Detections, Engine
from nuhtc.runtime.pipeline.settings import OVERLAP_PX
from nuhtc.training.data.images import DEFAULT_MPP, Pictures
from nuhtc.training.measures.instance import InstanceQuality, instance_quality
from nuhtc.training.measures.overlaps import overlaps
from nuhtc.training.predictions.prediction import Prediction
from nuhtc.training.predictions.rescale import find_at


@dataclass(frozen=True)
class ImageResult:
    """How one picture went."""

    name: str
    quality: InstanceQuality
    right_class: int
    """Matched nuclei with the annotated class."""
    typed: int
    """Matched nuclei whose class is annotated."""


def segment(
    engine: Engine, rgb: NDArray[np.uint8], tile: int, mask_threshold: float, batch: int = 4
) -> Prediction:
    """Find the nuclei of a whole picture.

    A nucleus counts in the tile whose core holds its centre. Pixels claimed twice go to
    the better score; what loses half its area so is dropped.

    Parameters
    ----------
    engine
        Finds the nuclei of a tile.
    rgb
        uint8 (H, W, 3), at the network's resolution.
    tile
        Side of a tile in pixels.
    mask_threshold
        Least mask probability of a pixel inside.
    batch
        Tiles at a time.
    """
    height, width = rgb.shape[:2]
    step = tile - OVERLAP_PX
    origins = [
        (x, y)
        for y in range(0, max(height - OVERLAP_PX, 1), step)
        for x in range(0, max(width - OVERLAP_PX, 1), step)
    ]
    padded = np.full((height + tile, width + tile, 3), 255, np.uint8)
    padded[:height, :width] = rgb
    boxes, scores, labels, masks = [], [], [], []
    for start in range(0, len(origins), batch):
        part = origins[start : start + batch]
        tiles = np.stack([padded[y : y + tile, x : x + tile] for x, y in part])
        for (x, y), nuclei in zip(part, engine.run(tiles), strict=True):
            own = _in_core(nuclei, x, y, width, height, tile)
            boxes.append(nuclei.boxes[own] + np.array([x, y, x, y], np.float32))
            scores.append(nuclei.scores[own])
            labels.append(nuclei.labels[own])
            masks.append(nuclei.masks[own])
    order = np.argsort(-np.concatenate(scores), kind="stable")
    return _paint(
        np.concatenate(boxes)[order],
        np.concatenate(labels)[order],
        np.concatenate(scores)[order],
        np.concatenate(masks)[order],
        (height, width),
        mask_threshold,
    )


def _in_core(
    nuclei: Detections, x: int, y: int, width: int, height: int, tile: int
) -> NDArray[np.bool_]:
    """Return which nuclei have their centre in the tile's core; outer cores reach to the border."""
    margin = OVERLAP_PX / 2
    centre_x = (nuclei.boxes[:, 0] + nuclei.boxes[:, 2]) / 2
    centre_y = (nuclei.boxes[:, 1] + nuclei.boxes[:, 3]) / 2
    left = -np.inf if x == 0 else margin
    top = -np.inf if y == 0 else margin
    right = np.inf if x + tile >= width else tile - margin
    bottom = np.inf if y + tile >= height else tile - margin
    return (centre_x >= left) & (centre_x < right) & (centre_y >= top) & (centre_y < bottom)


def _paint(
    boxes: NDArray[np.float32],
    labels: NDArray[np.int64],
    scores: NDArray[np.float32],
    masks: NDArray[np.float32],
    size: tuple[int, int],
    threshold: float,
) -> Prediction:
    """Put masks on one map, best first."""
    instances = np.zeros(size, np.int32)
    kept: list[int] = []
    for index, (box, mask) in enumerate(zip(boxes, masks, strict=True)):
        x, y, inside = paste(mask, box, size, threshold)
        area = np.count_nonzero(inside)
        target = instances[y : y + inside.shape[0], x : x + inside.shape[1]]
        free = inside & (target == 0)
        if area and np.count_nonzero(free) * 2 > area:
            kept.append(index)
            target[free] = len(kept)
    return Prediction(
        instances,
        np.concatenate([np.zeros(1, np.int64), labels[kept]]),
        np.concatenate([np.zeros(1, np.float32), scores[kept]]),
    )


def paste(
    mask: NDArray[np.float32], box: NDArray[np.float32], size: tuple[int, int], threshold: float
) -> tuple[int, int, NDArray[np.bool_]]:
    """Paste a 28x28 mask into its box's pixels.

    Each pixel's centre is looked up in the mask bilinearly, zero outside of it.

    Parameters
    ----------
    mask
        float32 (S, S), probabilities.
    box
        float32 (4,), xyxy.
    size
        (height, width) of the picture the box lies in.
    threshold
        Pixels at or above it are inside.

    Returns
    -------
    x, y, inside
        Top left corner, and bool (h, w).
    """
    side = mask.shape[0]
    x0, y0 = max(0, int(np.floor(box[0]))), max(0, int(np.floor(box[1])))
    x1, y1 = min(size[1], int(np.ceil(box[2]))), min(size[0], int(np.ceil(box[3])))
    if x1 <= x0 or y1 <= y0:
        return x0, y0, np.zeros((0, 0), bool)
    padded = np.pad(mask, 1)
    u = ((np.arange(x0, x1) + 0.5 - box[0]) / max(box[2] - box[0], 1e-3) * side + 0.5).clip(
        0, side + 0.999
    )
    v = ((np.arange(y0, y1) + 0.5 - box[1]) / max(box[3] - box[1], 1e-3) * side + 0.5).clip(
        0, side + 0.999
    )
    i, j = u.astype(int), v.astype(int)
    fu, fv = (u - i)[None, :], (v - j)[:, None]
    top = padded[j][:, i] * (1 - fu) + padded[j][:, i + 1] * fu
    low = padded[j + 1][:, i] * (1 - fu) + padded[j + 1][:, i + 1] * fu
    return x0, y0, top * (1 - fv) + low * fv >= threshold


def validate(
    engine: Engine,
    images: Pictures,
    tile: int,
    mask_threshold: float,
    *,
    mpp: float = DEFAULT_MPP,
    progress: bool = False,
) -> list[ImageResult]:
    """Segment and measure annotated pictures.

    Parameters
    ----------
    engine
        Finds the nuclei of a tile.
    images
        Pictures of ``mpp``, or resampled to it and measured on their own grid.
    tile
        Side of a tile in pixels.
    mask_threshold
        Least mask probability of a pixel inside.
    mpp
        um per pixel that the network was trained at.
    progress
        Show a bar.
    """

    def find(rgb: NDArray[np.uint8]) -> Prediction:
        return segment(engine, rgb, tile, mask_threshold)

    results = []
    quiet = not progress
    for number in tqdm(range(len(images)), "validation", unit="image", disable=quiet, leave=False):
        image = images[number]
        found = find_at(find, image, mpp)
        pairs = overlaps(image.instances, found.instances)
        right = typed = 0
        if image.types is not None and found.types is not None:
            good = pairs.ious > 0.5
            typed = int(good.sum())
            wanted = image.types[pairs.truth_ids[good]]
            right = int((wanted == found.types[pairs.found_ids[good]]).sum())
        results.append(ImageResult(image.name, instance_quality(pairs), right, typed))
    return results


def summarise(results: Sequence[ImageResult]) -> dict[str, float]:
    """Return means over pictures, to 4 decimals; no class accuracy where no class is annotated."""
    typed = sum(result.typed for result in results)
    summary: dict[str, float] = {"images": len(results)}
    for name in ("pq", "dq", "sq", "dice"):
        mean = float(np.mean([getattr(result.quality, name) for result in results]))
        summary[name] = round(mean, 4)
    if typed:
        right = sum(result.right_class for result in results)
        summary["class_accuracy_of_matched"] = round(right / typed, 4)
    return summary
