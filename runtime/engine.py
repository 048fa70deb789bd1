r"""The engine of ONNX Runtime: a bundle's three graphs and what lies between them.

::

    tiles -> trunk.onnx -> RPN boxes, foreground -> NMS, watershed -> regions
                       \-> features ------------> heads.onnx -> boxes, probabilities
                                    \-----------> masks.onnx <- NMS, best

Features stay in ONNX Runtime's own buffers from the trunk to the heads.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from nuhtc.native.proposals import nms, watershed_boxes
from nuhtc.runtime.bundle import Bundle, Card, ProposalSettings
from nuhtc.runtime.detections import Detections, Engine
from nuhtc.runtime.errors import EngineError

ENGINES = ("auto", "cpu")
"""Names that ``open_engine`` takes."""

FEATURES = ("fine4", "fine8", "summary16", "summary32", "semantic")
"""Outputs of the trunk that heads and masks take as they are."""


def open_engine(
    bundle: Bundle, name: str = "auto", threads: int = 0, precision: str = "fp32"
) -> Engine:
    """Load a bundle's graphs into the engine asked for.

    Parameters
    ----------
    bundle
        A checked bundle.
    name
        One of ENGINES; ``auto`` takes the fastest that works here.
    threads
        CPU threads of the engine; 0 takes every core.
    precision
        Which of the bundle's graphs.

    Raises
    ------
    EngineError
        The engine is not known, or cannot load the graphs.
    """
    if name not in ENGINES:
        raise EngineError(f"no engine is called {name!r}; choose from {', '.join(ENGINES)}")
    return OnnxEngine(bundle, threads, precision)


class OnnxEngine:
    """Runs a bundle on the CPU.

    Parameters
    ----------
    bundle
        A checked bundle.
    threads
        CPU threads; 0 takes every core.
    precision
        Which of the bundle's graphs.
    """

    name = "cpu"

    def __init__(self, bundle: Bundle, threads: int = 0, precision: str = "fp32") -> None:
        self.card: Card = bundle.card
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        # Each graph has its own threads, which by default spin for a while after a call and so
        # take the cores from the next graph's: together the three took twice their sum.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        self._trunk = _session(bundle.graph("trunk", precision), options)
        self._heads = _session(bundle.graph("heads", precision), options)
        self._masks = _session(bundle.graph("masks", precision), options)
        shape = next(o.shape for o in self._heads.get_outputs() if o.name == "probabilities")
        if shape[-1] != len(self.card.classes):
            raise EngineError(
                f"{bundle.folder}: heads.onnx gives {shape[-1]} classes, card.json names "
                f"{len(self.card.classes)}; export the model again"
            )

    def run(self, tiles: NDArray[np.uint8]) -> list[Detections]:
        """Find the nuclei of tiles, uint8 (B, H, W, 3), sides multiples of the card's.

        Raises
        ------
        EngineError
            The tiles' shape does not fit, or ONNX Runtime fails.
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
        value = onnxruntime.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(tiles))
        trunk = _call(self._trunk, {"tiles": value})
        features = {key: trunk[key] for key in FEATURES}
        proposals = propose(
            card.proposals,
            trunk["boxes"].numpy(),
            trunk["scores"].numpy(),
            trunk["levels"].numpy(),
            trunk["foreground"].numpy(),
        )
        corners, probabilities = self._heads_of(features, proposals)
        chosen = [
            select_detections(boxes, p, card)
            for boxes, p in zip(corners, probabilities, strict=True)
        ]
        final = [boxes[index] for boxes, (index, _) in zip(corners, chosen, strict=True)]
        masks = self._masks_of(features, final)
        return [
            Detections(boxes / np.float32(card.input_scale), p[index], mask, labels)
            for boxes, p, (index, labels), mask in zip(
                final, probabilities, chosen, masks, strict=True
            )
        ]

    def _heads_of(
        self, features: dict[str, Any], regions: Sequence[NDArray[np.float32]]
    ) -> tuple[list[NDArray[np.float32]], list[NDArray[np.float32]]]:
        """Refined boxes and class probabilities of each tile's regions."""
        answer = _call(self._heads, {**features, **_regions(regions)})
        ends = np.cumsum([len(part) for part in regions])[:-1]
        return (
            np.split(answer["boxes"].numpy(), ends),
            np.split(answer["probabilities"].numpy(), ends),
        )

    def _masks_of(
        self, features: dict[str, Any], boxes: Sequence[NDArray[np.float32]]
    ) -> list[NDArray[np.float32]]:
        """Mask probabilities (N, 28, 28) of each tile's final boxes."""
        answer = _call(self._masks, {**features, **_regions(boxes)})
        ends = np.cumsum([len(part) for part in boxes])[:-1]
        return np.split(answer["masks"].numpy(), ends)


def propose(
    settings: ProposalSettings,
    boxes: NDArray[np.float32],
    scores: NDArray[np.float32],
    levels: NDArray[np.int64],
    foreground: NDArray[np.float32],
) -> list[NDArray[np.float32]]:
    """Regions of each tile: watershed boxes, then the RPN's best.

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
        wide = (tile[:, 2:] - tile[:, :2] > settings.min_side).all(axis=1)
        candidates = tile[wide]
        keep = nms(candidates, ranked[wide], settings.nms, levels[wide], settings.count)
        watershed = watershed_boxes(logits, width, height, opening=settings.watershed_opening)
        result.append(np.concatenate([watershed, candidates[keep]]))
    return result


def select_detections(
    boxes: NDArray[np.float32], probabilities: NDArray[np.float32], card: Card
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Which regions of one tile are nuclei, and of which class, best first.

    Parameters
    ----------
    boxes
        float32 (R, 4), xyxy.
    probabilities
        float32 (R, C).
    card
        Thresholds. With ``nms_per_class``, as published, a region counts once for every
        class that is probable enough; otherwise once, with its best class.

    Returns
    -------
    regions, labels
        int64 (N,): index into ``boxes``, and class.
    """
    settings = card.detection
    if settings.nms_per_class:
        regions, labels = np.nonzero(probabilities > settings.score)
    else:
        regions = np.flatnonzero(probabilities.max(axis=1, initial=0.0) > settings.score)
        labels = probabilities[regions].argmax(axis=1)
    keep = nms(
        boxes[regions],
        probabilities[regions, labels],
        settings.nms,
        labels if settings.nms_per_class else None,
        settings.count,
    )
    return regions[keep], labels[keep]


def card_for_tile(card: Card, width: int, height: int) -> Card:
    """The card with its counts, which are for a tile of the card's size, raised for larger ones."""
    share = width * height / card.tile**2
    if share <= 1:
        return card
    return replace(
        card,
        proposals=replace(card.proposals, count=round(card.proposals.count * share)),
        detection=replace(card.detection, count=round(card.detection.count * share)),
    )


def with_score(card: Card, score: float) -> Card:
    """The card with another least score."""
    return replace(card, detection=replace(card.detection, score=score))


def _regions(parts: Sequence[NDArray[np.float32]]) -> dict[str, Any]:
    """Boxes of several tiles as the inputs ``regions`` and ``region_tile``."""
    tile = np.repeat(np.arange(len(parts), dtype=np.int64), [len(part) for part in parts])
    boxes = np.ascontiguousarray(np.concatenate(parts), np.float32)
    return {
        "regions": onnxruntime.OrtValue.ortvalue_from_numpy(boxes),
        "region_tile": onnxruntime.OrtValue.ortvalue_from_numpy(tile),
    }


def _session(path: Path, options: onnxruntime.SessionOptions) -> onnxruntime.InferenceSession:
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime raises many kinds, without a common root
        raise EngineError(
            f"{path}: ONNX Runtime cannot load it ({str(error).splitlines()[0]}); "
            "export the model again"
        ) from error


def _call(session: onnxruntime.InferenceSession, inputs: dict[str, Any]) -> dict[str, Any]:
    names = [output.name for output in session.get_outputs()]
    try:
        values = session.run_with_ort_values(names, inputs)
    except Exception as error:  # as above
        raise EngineError(f"ONNX Runtime failed ({str(error).splitlines()[0]})") from error
    return dict(zip(names, values, strict=True))
