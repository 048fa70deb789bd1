r"""What every engine does between a bundle's three graphs.

::

    tiles -> trunk -> RPN boxes, foreground -> NMS, watershed -> regions
                  \-> features ------------> heads -> boxes, probabilities
                               \-----------> masks <- NMS, best

Features stay where the backend made them, from the trunk to the heads.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from nuhtc.native.proposals import nms, watershed_boxes
from nuhtc.runtime.bundle.card import Card, DetectionSettings, ProposalSettings
from nuhtc.runtime.engines.calibration import calibrate
from nuhtc.runtime.engines.engine import Detections
from nuhtc.runtime.engines.graphs import Graphs
from nuhtc.runtime.ground.errors import EngineError

MASK_SIDE = 28
"""Side of a mask in samples."""


class CascadeEngine:
    """Finds nuclei with a bundle's graphs on whatever device they run.

    Parameters
    ----------
    card
        The bundle's.
    graphs
        Its graphs.
    precision
        What they compute in: fp32, fp16, bf16 or int8.
    reason
        Why this engine was taken.
    """

    def __init__(
        self, card: Card, graphs: Graphs, precision: str = "fp32", reason: str = ""
    ) -> None:
        self.card, self.graphs = card, graphs
        self.name, self.precision, self.reason = graphs.name, precision, reason

    def run(self, tiles: NDArray[np.uint8]) -> list[Detections]:
        """Find the nuclei of tiles, uint8 (B, H, W, 3), sides multiples of the card's.

        Raises
        ------
        EngineError
            The tiles' shape does not fit, or the backend fails.
        """
        card = self.card
        if tiles.ndim != 4 or tiles.shape[3] != 3 or tiles.dtype != np.uint8:
            raise EngineError(f"tiles must be uint8 (B, H, W, 3), not {tiles.dtype} {tiles.shape}")
        if tiles.shape[1] % card.multiple or tiles.shape[2] % card.multiple:
            raise EngineError(
                f"tiles of {tiles.shape[2]}x{tiles.shape[1]} px: sides must be multiples "
                f"of {card.multiple}"
            )
        if len(tiles) == 0:
            return []
        card = card_for_tile(card, tiles.shape[2], tiles.shape[1])
        trunk = self.graphs.trunk(np.ascontiguousarray(tiles))
        proposals = propose(
            card.proposals, trunk.boxes, trunk.scores, trunk.levels, trunk.foreground
        )
        corners, raw = self._heads(trunk.features, proposals)
        detection = card.detection
        probabilities = [
            calibrate(
                p,
                detection.object_temperature,
                detection.object_bias,
                detection.class_temperature,
            )
            for p in raw
        ]
        chosen = [
            select_detections(boxes, p, detection, ranks)
            for boxes, p, ranks in zip(corners, probabilities, raw, strict=True)
        ]
        final = [boxes[index] for boxes, (index, _) in zip(corners, chosen, strict=True)]
        masks = self._masks(trunk.features, final)
        return [
            Detections(boxes / np.float32(card.input_scale), p[index], mask, labels)
            for boxes, p, (index, labels), mask in zip(
                final, probabilities, chosen, masks, strict=True
            )
        ]

    def _heads(
        self, features: object, regions: Sequence[NDArray[np.float32]]
    ) -> tuple[list[NDArray[np.float32]], list[NDArray[np.float32]]]:
        """Return the refined boxes and class probabilities of each tile's regions."""
        if not any(len(part) for part in regions):
            none = np.zeros((0, len(self.card.classes)), np.float32)
            return list(regions), [none] * len(regions)
        boxes, probabilities = self.graphs.heads(features, *joined(regions))
        if probabilities.shape[1] != len(self.card.classes):
            raise EngineError(
                f"the heads gave {probabilities.shape[1]} classes, card.json names "
                f"{len(self.card.classes)}; export the model again"
            )
        return _split(boxes, regions), _split(probabilities, regions)

    def _masks(
        self, features: object, boxes: Sequence[NDArray[np.float32]]
    ) -> list[NDArray[np.float32]]:
        """Return the mask probabilities (N, 28, 28) of each tile's final boxes."""
        if not any(len(part) for part in boxes):
            return [np.zeros((0, MASK_SIDE, MASK_SIDE), np.float32)] * len(boxes)
        return _split(self.graphs.masks(features, *joined(boxes)), boxes)


def propose(
    settings: ProposalSettings,
    boxes: NDArray[np.float32],
    scores: NDArray[np.float32],
    levels: NDArray[np.int64],
    foreground: NDArray[np.float32],
) -> list[NDArray[np.float32]]:
    """Return the regions of each tile: watershed boxes, then the RPN's best.

    Parameters
    ----------
    settings
        Thresholds and counts.
    boxes, scores, levels, foreground
        What the trunk gave for B tiles: (B, K, 4), (B, K), (K,) and (B, H / 4, W / 4).

    Returns
    -------
    list of arrays
        For each tile float32 (N, 4), xyxy in network-input pixels.
    """
    height, width = (side * 4 for side in foreground.shape[-2:])
    result = []
    for tile, ranked, logits in zip(boxes, scores, foreground, strict=True):
        fit = (tile[:, 2:] - tile[:, :2] > settings.min_side).all(axis=1)
        fit &= ranked >= settings.score
        candidates = tile[fit]
        keep = nms(candidates, ranked[fit], settings.nms, levels[fit], settings.count)
        watershed = watershed_boxes(
            logits,
            width,
            height,
            opening=settings.watershed_opening,
            split=settings.watershed_split,
        )
        result.append(np.concatenate([watershed, candidates[keep]]))
    return result


def select_detections(
    boxes: NDArray[np.float32],
    probabilities: NDArray[np.float32],
    settings: DetectionSettings,
    ranks: NDArray[np.float32] | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return which regions of one tile are nuclei, and of which class, best first.

    Parameters
    ----------
    boxes
        float32 (R, 4), xyxy.
    probabilities
        float32 (R, C).
    settings
        Thresholds. With ``nms_per_class``, as published, a region counts once for every
        class that is probable enough; otherwise once, with its best class.
    ranks
        float32 (R, C): which of two boxes for one nucleus stays; None takes the probabilities. The
        engine gives what the heads said: calibration is of each answer alone, and ranked by it
        PQ is 0.0006 lower (mean over three data sets).

    Returns
    -------
    regions, labels
        int64 (N,): index into ``boxes``, and class, the highest ranks first.
    """
    if settings.nms_per_class:
        regions, labels = np.nonzero(probabilities > settings.score)
    else:
        regions = np.flatnonzero(probabilities.max(axis=1, initial=0.0) > settings.score)
        labels = probabilities[regions].argmax(axis=1)
    keep = nms(
        boxes[regions],
        (probabilities if ranks is None else ranks)[regions, labels],
        settings.nms,
        labels if settings.nms_per_class else None,
        settings.count,
    )
    return regions[keep], labels[keep]


def card_for_tile(card: Card, width: int, height: int) -> Card:
    """Return the card with its counts, which are for a tile of its size, raised for larger ones."""
    share = width * height / card.tile**2
    if share <= 1:
        return card
    return replace(
        card,
        proposals=replace(card.proposals, count=round(card.proposals.count * share)),
        detection=replace(card.detection, count=round(card.detection.count * share)),
    )


def joined(
    parts: Sequence[NDArray[np.float32]],
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return the boxes of several tiles as one array (R, 4), and the tile of each, int64 (R,)."""
    tile = np.repeat(np.arange(len(parts), dtype=np.int64), [len(part) for part in parts])
    return np.ascontiguousarray(np.concatenate(parts), np.float32), tile


def _split(
    values: NDArray[np.float32], parts: Sequence[NDArray[np.float32]]
) -> list[NDArray[np.float32]]:
    """Return the rows of ``values`` by tile, as many as each of ``parts`` has."""
    return np.split(values, np.cumsum([len(part) for part in parts])[:-1])
