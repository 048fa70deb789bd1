"""Proof that a bundle says what its network says: the same tiles through both."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from nuhtc.export.proof.limits import Limits
from nuhtc.runtime.bundle.card import FEATURES, GRAPHS
from nuhtc.runtime.bundle.load import Bundle
from nuhtc.runtime.engines.cascade import joined, propose
from nuhtc.training.network.hybrid import Features
from nuhtc.training.network.nuhtc import NuHTC
from nuhtc.training.network.presets import Preset
from nuhtc.training.network.torch_graphs import TorchGraphs


@dataclass(frozen=True)
class Difference:
    """How far one output of a graph is from PyTorch's."""

    output: str
    largest: float
    mean: float
    limit: float

    @property
    def passes(self) -> bool:
        """Whether the largest difference is a number within the limit."""
        return self.largest <= self.limit


def compare(
    network: NuHTC,
    preset: Preset,
    bundle: Bundle,
    tiles: NDArray[np.uint8],
    limits: Limits,
    precision: str = "fp32",
) -> list[Difference]:
    """Run tiles through PyTorch and the bundle's graphs in ONNX Runtime, output by output.

    Heads and masks get PyTorch's own features and regions, so that each graph answers for
    itself and a difference is not carried on.

    Parameters
    ----------
    network
        In evaluation mode, in float32.
    preset
        What it is.
    bundle
        What was exported from it.
    tiles
        uint8 (B, H, W, 3).
    limits
        What passes.
    precision
        Which of the bundle's graphs.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    sessions = {
        name: onnxruntime.InferenceSession(
            str(bundle.graph(name, precision)), options, providers=["CPUExecutionProvider"]
        )
        for name in GRAPHS
    }
    graphs = TorchGraphs(network, preset)
    trunk = graphs.trunk(tiles)
    proposed = propose(
        bundle.card.proposals, trunk.boxes, trunk.scores, trunk.levels, trunk.foreground
    )
    regions, region_tile = joined(proposed)
    boxes, probabilities = graphs.heads(trunk.features, regions, region_tile)
    best = np.argsort(-probabilities.max(axis=1), kind="stable")[:200]
    masks = graphs.masks(trunk.features, boxes[best], region_tile[best])
    features = cast(Features, trunk.features)
    inputs = {name: x.numpy() for name, x in zip(FEATURES, features, strict=True)}
    expected = {**inputs, "scores": trunk.scores, "foreground": trunk.foreground}
    found = _run(sessions["trunk"], {"tiles": tiles})
    found_heads = _run(
        sessions["heads"], {**inputs, "regions": regions, "region_tile": region_tile}
    )
    found_masks = _run(
        sessions["masks"], {**inputs, "regions": boxes[best], "region_tile": region_tile[best]}
    )
    scale = np.float32(network.settings.input_scale)
    result = [
        _difference(f"trunk.{name}", expected[name], found[name], limits.features, relative=True)
        for name in (*FEATURES, "foreground")
    ]
    result.append(
        # Boxes are ranked by score, and nearly equal scores may change places.
        _difference("trunk.scores", expected["scores"], found["scores"], limits.probabilities)
    )
    result += [
        _difference("heads.boxes", boxes / scale, found_heads["boxes"] / scale, limits.boxes),
        _difference(
            "heads.probabilities",
            probabilities,
            found_heads["probabilities"],
            limits.probabilities,
        ),
        _difference("masks.masks", masks, found_masks["masks"], limits.probabilities),
    ]
    return result


def _run(
    session: onnxruntime.InferenceSession, inputs: Mapping[str, NDArray[np.generic]]
) -> dict[str, NDArray[np.float32]]:
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, dict(inputs)), strict=True))


def _difference(
    name: str,
    expected: NDArray[np.float32],
    found: NDArray[np.float32],
    limit: float,
    *,
    relative: bool = False,
) -> Difference:
    """Compare two arrays; a difference in shape, or a NaN, never passes."""
    if expected.shape != found.shape or expected.size == 0:
        return Difference(name, float("inf"), float("inf"), limit)
    gap = np.abs(expected.astype(np.float64) - found)
    if relative:
        gap /= max(float(expected.std()), 1e-6)
    return Difference(name, float(gap.max()), float(gap.mean()), limit)
