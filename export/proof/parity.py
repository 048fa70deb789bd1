"""Proof that a bundle says what its network says: the same tiles through both."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray

from nuhtc.export.graphs.trace import FEATURES, TRUNK_OUTPUTS, HeadsGraph, MasksGraph, TrunkGraph
from nuhtc.export.proof.limits import Limits
from nuhtc.runtime.bundle.card import GRAPHS
from nuhtc.runtime.bundle.load import Bundle
from nuhtc.training.inference import propose, regions_of
from nuhtc.training.network.nuhtc import NuHTC
from nuhtc.training.network.presets import InferenceSettings


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
    bundle: Bundle,
    settings: InferenceSettings,
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
    bundle
        What was exported from it.
    settings
        How proposals are chosen.
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
    with torch.no_grad():
        given = torch.from_numpy(tiles)
        trunk = TrunkGraph(network, settings.proposals_per_level, bundle.card.tile)(given)
        expected = dict(zip(TRUNK_OUTPUTS, (x.numpy() for x in trunk), strict=True))
        output = network.trunk(network.prepare(given))
        regions = regions_of(propose(network, output, settings), given.device)
        features = [output.features[i] for i in range(len(FEATURES))]
        region_tile, corners = regions[:, 0].long(), regions[:, 1:].contiguous()
        boxes, probabilities = HeadsGraph(network)(*features, corners, region_tile)
        best = probabilities.amax(dim=1).argsort(descending=True)[:200]
        masks = MasksGraph(network)(*features, boxes[best], region_tile[best])
    found = _run(sessions["trunk"], {"tiles": tiles})
    inputs = {name: value.numpy() for name, value in zip(FEATURES, features, strict=True)}
    found_heads = _run(
        sessions["heads"],
        {**inputs, "regions": corners.numpy(), "region_tile": region_tile.numpy()},
    )
    found_masks = _run(
        sessions["masks"],
        {**inputs, "regions": boxes[best].numpy(), "region_tile": region_tile[best].numpy()},
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
        _difference(
            "heads.boxes", boxes.numpy() / scale, found_heads["boxes"] / scale, limits.boxes
        ),
        _difference(
            "heads.probabilities",
            probabilities.numpy(),
            found_heads["probabilities"],
            limits.probabilities,
        ),
        _difference("masks.masks", masks.numpy(), found_masks["masks"], limits.probabilities),
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
