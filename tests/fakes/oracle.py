"""A slide whose colours say which nucleus a pixel belongs to, and an engine that reads them.

The engine sees nothing but the tile it is given, cropped like a real network's input: what a
tile cannot see the oracle cannot know. Its boxes are tight around the visible part, its masks
28x28, so outlines differ from the truth by what 28x28 points cannot hold. For a nucleus of at
most 28 pixels the box is widened to exactly 28, where mask and tile pixels coincide: then its
outline is exact, and tests can ask for equality.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from nuhtc.runtime.engines.engine import Detections
from nuhtc.runtime.slides.picture import ArraySlide

SIDE = 28
"""Side of a mask."""

LOW = np.array([96, 32, 128])
"""Colour of nucleus 0: purple, and far from the stroma and from white in every channel."""

STROMA = (228, 180, 210)


def paint(instances: NDArray[np.integer]) -> NDArray[np.uint8]:
    """Return uint8 (H, W, 3): each nucleus in its own purple on pink. Ids 0 (none) to 2**18."""
    digits = np.stack([instances & 63, instances >> 6 & 63, instances >> 12 & 63], axis=-1)
    picture = (digits + LOW).astype(np.uint8)
    picture[instances == 0] = STROMA
    return picture


def decode(tile: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return the ids (H, W) of a painted tile; 0 on stroma and beyond the slide."""
    digits = tile.astype(np.int64) - LOW
    painted = ((digits >= 0) & (digits < 64)).all(axis=2)
    return np.where(painted, digits @ np.array([1, 64, 4096]), 0)


def oracle_slide(
    instances: NDArray[np.integer], mpp: float = 0.25, name: str = "oracle"
) -> ArraySlide:
    """Return a slide of known nuclei, at the model's resolution unless another is given."""
    return ArraySlide(paint(instances), mpp, name=name)


def class_probabilities(ids: NDArray[np.integer], classes: int = 4) -> NDArray[np.float32]:
    """Return made-up class probabilities (N, classes) that follow from the id alone."""
    out = np.full((len(ids), classes), 0.01, np.float32)
    out[np.arange(len(ids)), ids % classes] = 0.6 + (ids * 37 % 100) / 300
    return out


class OracleEngine:
    """Finds exactly the nuclei that a tile shows.

    Parameters
    ----------
    skip
        Ids that it pretends not to see.
    twice
        Answers every nucleus a second time, less surely: what a poor NMS leaves.
    """

    name = "oracle"
    precision = "fp32"
    reason = "named"

    def __init__(self, skip: Sequence[int] = (), *, twice: bool = False) -> None:
        self._skip = skip
        self._twice = twice
        self.tiles = 0

    def run(self, tiles: NDArray[np.uint8]) -> list[Detections]:
        """Answer each tile by itself."""
        self.tiles += len(tiles)
        return [self._answer(decode(tile)) for tile in tiles]

    def _answer(self, ids: NDArray[np.int64]) -> Detections:
        found = [one for one in np.unique(ids) if one > 0 and one not in self._skip]
        boxes = np.zeros((len(found), 4), np.float32)
        masks = np.zeros((len(found), SIDE, SIDE), np.float32)
        for index, one in enumerate(found):
            boxes[index], masks[index] = box_and_mask(ids == one)
        probabilities = class_probabilities(np.array(found, np.int64))
        if self._twice:
            boxes, masks = np.concatenate([boxes, boxes]), np.concatenate([masks, masks])
            probabilities = np.concatenate([probabilities, probabilities * np.float32(0.9)])
        return Detections(boxes, probabilities, masks)


def box_and_mask(
    visible: NDArray[np.bool_],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    height, width = visible.shape
    rows, cols = np.flatnonzero(visible.any(axis=1)), np.flatnonzero(visible.any(axis=0))
    y0, y1, x0, x1 = rows[0], rows[-1] + 1, cols[0], cols[-1] + 1
    if x1 - x0 <= SIDE <= width and y1 - y0 <= SIDE <= height:
        # Around the middle, so that a mirrored tile gives nearly the mirrored box.
        x0, y0 = (
            int(np.clip((low + high - SIDE) // 2, 0, side - SIDE))
            for low, high, side in ((x0, x1, width), (y0, y1, height))
        )
        x1, y1 = x0 + SIDE, y0 + SIDE
        mask = visible[y0:y1, x0:x1].astype(np.float32)
    else:
        part = visible[y0:y1, x0:x1].astype(np.float32)
        y = (np.arange(SIDE) + 0.5) * (y1 - y0) / SIDE - 0.5
        x = (np.arange(SIDE) + 0.5) * (x1 - x0) / SIDE - 0.5
        mask = ndimage.map_coordinates(
            part, np.meshgrid(y, x, indexing="ij"), order=1, mode="nearest"
        )
    return np.array([x0, y0, x1, y1], np.float32), mask.astype(np.float32)
