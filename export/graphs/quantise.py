"""Int8 arithmetic: a graph whose convolutions compute on 8-bit integers (static quantisation).

Weights become int8 with a scale for each output channel, activations uint8 with the range they
had on calibration tiles. Weights use 7 of their 8 bits: on CPUs with AVX2 but without VNNI the
kernels add two products in 16 bits, which full-range weights overflow, so that results would
be wrong there, silently. The first layer, which sees the picture, and the last ones, which give
boxes, scores and logits, stay in float32, as does everything that is no convolution.
"""

import logging
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)

from nuhtc.export.graphs.layers import last_layers, read_values
from nuhtc.runtime.bundle.card import FEATURES
from nuhtc.runtime.engines.cascade import joined, propose, select_detections
from nuhtc.training.network.hybrid import Features
from nuhtc.training.network.nuhtc import NuHTC
from nuhtc.training.network.presets import Preset
from nuhtc.training.network.torch_graphs import TorchGraphs

CONVOLUTIONS = frozenset({"Conv", "ConvTranspose"})

QUANTISED = ("trunk", "masks")
"""Graphs that int8 pays for. The heads' time goes into cropping, their few products cost little."""

Feed = dict[str, NDArray[Any]]


def calibration_feeds(
    network: NuHTC, preset: Preset, tiles: NDArray[np.uint8]
) -> dict[str, list[Feed]]:
    """Return what the graphs of QUANTISED take on their way through tiles, one after the other.

    Parameters
    ----------
    network
        In evaluation mode, in float32.
    preset
        How regions and nuclei are chosen.
    tiles
        uint8 (B, H, W, 3).
    """
    graphs, masks = TorchGraphs(network, preset), []
    for tile in tiles:
        trunk = graphs.trunk(tile[None])
        proposed = propose(
            preset.proposals, trunk.boxes, trunk.scores, trunk.levels, trunk.foreground
        )
        boxes, probabilities = graphs.heads(trunk.features, *joined(proposed))
        chosen, _ = select_detections(boxes, probabilities, preset.detection)
        if not len(chosen):
            # What a picture without nuclei would be cropped at still has to have a range.
            chosen = np.argsort(-probabilities.max(axis=1), kind="stable")[:10]
        features = cast(Features, trunk.features)
        feed = {name: x.numpy() for name, x in zip(FEATURES, features, strict=True)}
        feed["regions"] = boxes[chosen]
        feed["region_tile"] = np.zeros(len(chosen), np.int64)
        masks.append(feed)
    return {"trunk": [{"tiles": tile[None]} for tile in tiles], "masks": masks}


def quantise(source: Path, target: Path, feeds: Sequence[Feed]) -> None:
    """Write the int8 twin of a float32 graph.

    Parameters
    ----------
    source
        A graph that computes and stores its weights in float32.
    target
        Where the int8 graph goes.
    feeds
        Inputs to measure the ranges of activations on.
    """
    with _silence(), tempfile.TemporaryDirectory(dir=target.parent, prefix=".calibration.") as work:
        quantised = Path(work) / target.name
        quantize_static(
            str(source),
            str(quantised),
            _Reader(feeds),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv", "ConvTranspose", "Add", "Relu", "Clip"],
            nodes_to_exclude=sensitive(onnx.load(source)),
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
        )
        model = onnx.load(quantised)
    model.producer_name, model.producer_version = "nuhtc", ""
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, target)


def sensitive(model: Any) -> list[str]:
    """Return the names of the nodes that stay in float32.

    The convolutions that see the graph's uint8 input or give its last results, and sums and
    activations that no int8 convolution makes or takes.
    """
    model = onnx.shape_inference.infer_shapes(model)
    values = read_values(model.graph)
    last = last_layers(model.graph, values)
    from_tiles = _before_first_layer(model.graph, values)
    left = {
        node.name
        for node in model.graph.node
        if node.op_type in CONVOLUTIONS and (node.output[0] in last or node.input[0] in from_tiles)
    }
    integer = {
        node.name
        for node in model.graph.node
        if node.op_type in CONVOLUTIONS and node.name not in left
    }
    for node in model.graph.node:
        if node.op_type in {"Add", "Relu", "Clip"}:
            around = [values.makers[name] for name in node.input if name in values.makers]
            around += [taker for name in node.output for taker in values.takers[name]]
            if not any(other.name in integer for other in around):
                left.add(node.name)
    return sorted(left)


def _before_first_layer(graph: Any, values: Any) -> set[str]:
    """Return the values that come from uint8 inputs without a layer in between."""
    found = {v.name for v in graph.input if v.type.tensor_type.elem_type == onnx.TensorProto.UINT8}
    for node in graph.node:
        if not values.has_weights(node) and any(name in found for name in node.input):
            found.update(node.output)
    return found


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    """Hands feeds to the calibration one by one."""

    def __init__(self, feeds: Sequence[Feed]) -> None:
        self._feeds: Iterator[Feed] = iter(feeds)

    def get_next(self) -> Feed | None:
        """Return the next feed, None after the last."""
        return next(self._feeds, None)


@contextmanager
def _silence() -> Iterator[None]:
    """Keep ONNX Runtime's advice to its developers from our users."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
