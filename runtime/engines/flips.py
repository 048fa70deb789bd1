"""A tile asked about more than once, mirrored, and the mean of what was said.

A network does not say quite the same of a tile and of its mirror image. What both say is surer
than either, and their mean outline is nearer the truth (test-time augmentation).
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nuhtc.native.proposals import nms
from nuhtc.runtime.bundle.card import Card
from nuhtc.runtime.engines.cascade import CascadeEngine, card_for_tile
from nuhtc.runtime.engines.engine import Detections, Engine

VIEWS: Final = {
    1: ((False, False),),
    2: ((False, False), (True, True)),
    4: ((False, False), (True, False), (False, True), (True, True)),
}
"""By how often a tile is asked about: whether it is mirrored along x, and along y.

Of two, half a turn says more than one mirror image: docs/model.md.
"""

SAME_IOU: Final = 0.5
"""Boxes of two views with a larger IoU are of one nucleus."""


class FlippedEngine:
    """An engine that asks another about mirror images of each tile too.

    Parameters
    ----------
    engine
        The other: it should give less sure nuclei too than the card's score asks for.
    card
        What the means must satisfy.
    flips
        A key of VIEWS: how often each tile is run.
    """

    def __init__(self, engine: Engine, card: Card, flips: int) -> None:
        self.name, self.precision, self.reason = engine.name, engine.precision, engine.reason
        self._engine, self._card, self._flips = engine, card, flips

    def run(self, tiles: NDArray[np.uint8]) -> list[Detections]:
        """Find the nuclei of tiles, uint8 (B, H, W, 3), sides multiples of the card's.

        Raises
        ------
        EngineError
            As the other engine does.
        """
        views = []
        for along_x, along_y in VIEWS[self._flips]:
            seen = tiles[:, :: -1 if along_y else 1, :: -1 if along_x else 1]
            answers = self._engine.run(np.ascontiguousarray(seen))
            size = tiles.shape[2], tiles.shape[1]
            views.append([mirrored(one, *size, along_x, along_y) for one in answers])
        card = card_for_tile(self._card, *tiles.shape[2:0:-1])
        return [fuse(of_tile, card) for of_tile in zip(*views, strict=True)]


def flipped(engine: CascadeEngine, flips: int) -> Engine:
    """Return the engine, or one that asks it about mirror images too.

    Parameters
    ----------
    engine
        Any.
    flips
        A key of VIEWS.
    """
    if flips == 1:
        return engine
    card = engine.card
    # A view may be less sure than the mean must be: what the others say decides.
    doubtful = CascadeEngine(
        card.with_detection(score=card.detection.score / 2),
        engine.graphs,
        engine.precision,
        engine.reason,
    )
    return FlippedEngine(doubtful, card, flips)


def mirrored(
    found: Detections, width: int, height: int, along_x: bool, along_y: bool
) -> Detections:
    """Return what was found in the mirror image of a tile of this size, as it lies in the tile."""
    boxes = found.boxes.copy()
    if along_x:
        boxes[:, [0, 2]] = width - boxes[:, [2, 0]]
    if along_y:
        boxes[:, [1, 3]] = height - boxes[:, [3, 1]]
    masks = found.masks[:, :: -1 if along_y else 1, :: -1 if along_x else 1]
    return Detections(boxes, found.probabilities, masks, found.labels)


class _Views(NamedTuple):
    """All that the views said."""

    boxes: NDArray[np.float32]
    probabilities: NDArray[np.float32]
    masks: NDArray[np.float32]
    labels: NDArray[np.int64]
    view: NDArray[np.int64]


def fuse(views: Sequence[Detections], card: Card) -> Detections:
    """Return the mean of what several views of one tile say.

    Parameters
    ----------
    views
        In the tile's own pixels. In each a nucleus was found once.
    card
        Thresholds.

    Returns
    -------
    Detections
        Each nucleus once, the best first. Its probabilities are means over all views, where one
        that did not find it says 0; its box and mask are means over those that found it, weighted
        by how sure they were.
    """
    stacked = _Views(
        np.concatenate([one.boxes for one in views]),
        np.concatenate([one.probabilities for one in views]),
        np.concatenate([one.masks for one in views]),
        np.concatenate([one.labels for one in views]),
        np.repeat(np.arange(len(views)), [len(one) for one in views]),
    )
    groups = _groups(stacked, by_label=card.detection.nms_per_class)
    boxes = np.zeros((len(groups), 4), np.float32)
    masks = np.zeros((len(groups), *stacked.masks.shape[1:]), np.float32)
    probabilities = np.zeros((len(groups), stacked.probabilities.shape[1]), np.float32)
    labels = np.zeros(len(groups), np.int64)
    for row, group in enumerate(groups):
        of_each = stacked.probabilities[group]
        weights = of_each.sum(axis=1) / of_each.sum()
        boxes[row] = weights @ stacked.boxes[group]
        masks[row] = np.tensordot(weights, stacked.masks[group], 1)
        probabilities[row] = of_each.sum(axis=0) / len(views)
        labels[row] = stacked.labels[group[0]]
    if not card.detection.nms_per_class:
        labels = probabilities.argmax(axis=1)
    scores = probabilities[np.arange(len(groups)), labels]
    above = np.flatnonzero(scores > card.detection.score)
    settings = card.detection
    # Means of boxes that were apart in every view may yet be of one nucleus.
    keep = nms(
        boxes[above],
        scores[above],
        settings.nms,
        labels[above] if settings.nms_per_class else None,
        settings.count,
    )
    kept = above[keep]
    return Detections(boxes[kept], probabilities[kept], masks[kept], labels[kept])


def _groups(views: _Views, *, by_label: bool) -> list[list[int]]:
    """Put together what different views say of one nucleus, the surest first.

    Each is joined by what overlaps it most in every other view, and nothing is used twice.
    """
    starts = np.searchsorted(views.view, np.arange(views.view.max(initial=-1) + 2)).tolist()
    scores = views.probabilities[np.arange(len(views.labels)), views.labels]
    free = np.ones(len(scores), np.bool_)
    x0, y0, x1, y1 = views.boxes.T
    areas = (x1 - x0) * (y1 - y0)
    groups = []
    for first in np.argsort(-scores, kind="stable").tolist():
        if not free[first]:
            continue
        shared = np.clip(np.minimum(x1, x1[first]) - np.maximum(x0, x0[first]), 0, None)
        shared *= np.clip(np.minimum(y1, y1[first]) - np.maximum(y0, y0[first]), 0, None)
        ious = shared / np.maximum(areas + areas[first] - shared, 1e-9)
        ious[~free] = 0
        ious[views.view == views.view[first]] = 0
        if by_label:
            ious[views.labels != views.labels[first]] = 0
        group = [first]
        for low, high in pairwise(starts):
            best = low + int(ious[low:high].argmax()) if low < high else first
            if ious[best] > SAME_IOU:
                group.append(best)
        free[group] = False
        groups.append(group)
    return groups
