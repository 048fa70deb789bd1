"""A bundle of toy graphs whose answers are known: what an engine does between them shows.

A tile's red channel says what its trunk answers. Row ``1 + k`` holds region ``k``: four
coordinates, then the score in percent; a last row of zeros ends the list. ``heads`` gives
back each region, one pixel further right, with probabilities that tell its tile and its
place; ``masks`` gives a flat mask that tells its tile.
"""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from nuhtc.runtime.bundle.card import (
    Card,
    DetectionSettings,
    GraphSet,
    NucleusClass,
    ProposalSettings,
    file_digest,
)
from nuhtc.runtime.bundle.load import Bundle, load_bundle

FILES = ("trunk.onnx", "heads.onnx", "masks.onnx")

REGIONS = 3
"""Regions that a tile's trunk always gives."""

FLOAT, INT, BYTE = TensorProto.FLOAT, TensorProto.INT64, TensorProto.UINT8

FEATURES = ("fine4", "fine8", "summary16", "summary32", "semantic")


def toy_tile(
    regions: list[tuple[int, int, int, int, int]], height: int = 32, width: int = 32
) -> NDArray[np.uint8]:
    """Return a tile whose trunk answers these regions (x0, y0, x1, y1, score in percent)."""
    assert len(regions) <= REGIONS
    tile = np.zeros((height, width, 3), np.uint8)
    for k, region in enumerate(regions):
        tile[1 + k, :5, 0] = region
    return tile


def _constant(name: str, value: Any, kind: type) -> onnx.TensorProto:
    return numpy_helper.from_array(np.array(value, kind), name)


def _save(
    path: Path,
    nodes: list[onnx.NodeProto],
    inputs: list[tuple[str, int, list[str | int]]],
    outputs: list[tuple[str, int, list[str | int]]],
    constants: list[onnx.TensorProto],
) -> None:
    graph = helper.make_graph(
        nodes,
        path.stem,
        [helper.make_tensor_value_info(*value) for value in inputs],
        [helper.make_tensor_value_info(*value) for value in outputs],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    model.ir_version = 10
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


def _trunk(path: Path) -> None:
    node = helper.make_node
    nodes = [
        node("Cast", ["tiles"], ["floats"], to=FLOAT),
        node("Slice", ["floats", "box_low", "box_high", "axes"], ["box_red"]),
        node("Squeeze", ["box_red", "last"], ["boxes"]),
        node("Slice", ["floats", "score_low", "score_high", "axes"], ["score_red"]),
        node("Squeeze", ["score_red", "last_two"], ["percent"]),
        node("Div", ["percent", "hundred"], ["scores"]),
        node("Identity", ["zeros"], ["levels"]),
        # Nothing anywhere is foreground, so the watershed proposes nothing.
        node("Slice", ["floats", "from_0", "far", "axes", "every_4th"], ["coarse"]),
        node("Squeeze", ["coarse", "last"], ["flat"]),
        node("Mul", ["flat", "nought"], ["nothing"]),
        node("Sub", ["nothing", "hundred"], ["foreground"]),
        *(node("Unsqueeze", ["nothing", "channel"], [name]) for name in FEATURES),
    ]
    constants = [
        _constant("axes", [1, 2, 3], np.int64),
        _constant("box_low", [1, 0, 0], np.int64),
        _constant("box_high", [1 + REGIONS, 4, 1], np.int64),
        _constant("score_low", [1, 4, 0], np.int64),
        _constant("score_high", [1 + REGIONS, 5, 1], np.int64),
        _constant("from_0", [0, 0, 0], np.int64),
        _constant("far", [1 << 20, 1 << 20, 1], np.int64),
        _constant("every_4th", [4, 4, 1], np.int64),
        _constant("last", [3], np.int64),
        _constant("last_two", [2, 3], np.int64),
        _constant("channel", [1], np.int64),
        _constant("zeros", [0] * REGIONS, np.int64),
        _constant("hundred", 100, np.float32),
        _constant("nought", 0, np.float32),
    ]
    outputs: list[tuple[str, int, list[str | int]]] = [
        ("boxes", FLOAT, ["b", REGIONS, 4]),
        ("scores", FLOAT, ["b", REGIONS]),
        ("levels", INT, [REGIONS]),
        ("foreground", FLOAT, ["b", "h", "w"]),
        *((name, FLOAT, ["b", 1, "h", "w"]) for name in FEATURES),
    ]
    _save(path, nodes, [("tiles", BYTE, ["b", "H", "W", 3])], outputs, constants)


REGION_INPUTS: list[tuple[str, int, list[str | int]]] = [
    *((name, FLOAT, ["b", 1, "h", "w"]) for name in FEATURES),
    ("regions", FLOAT, ["r", 4]),
    ("region_tile", INT, ["r"]),
]


def _heads(path: Path) -> None:
    node = helper.make_node
    nodes = [
        node("Add", ["regions", "right"], ["boxes"]),
        # Class 0: 0.9 less a tenth for each tile. Class 1: a hundredth of the left side.
        node("Cast", ["region_tile"], ["tile"], to=FLOAT),
        node("Mul", ["tile", "tenth"], ["tenths"]),
        node("Sub", ["most", "tenths"], ["class_0"]),
        node("Unsqueeze", ["class_0", "one"], ["column_0"]),
        node("Slice", ["regions", "zero", "one", "one"], ["left"]),
        node("Mul", ["left", "hundredth"], ["column_1"]),
        node("Concat", ["column_0", "column_1"], ["probabilities"], axis=1),
    ]
    constants = [
        _constant("right", [1, 0, 1, 0], np.float32),
        _constant("tenth", 0.1, np.float32),
        _constant("most", 0.9, np.float32),
        _constant("hundredth", 0.01, np.float32),
        _constant("zero", [0], np.int64),
        _constant("one", [1], np.int64),
    ]
    outputs: list[tuple[str, int, list[str | int]]] = [
        ("boxes", FLOAT, ["r", 4]),
        ("probabilities", FLOAT, ["r", 2]),
    ]
    _save(path, nodes, REGION_INPUTS, outputs, constants)


def _masks(path: Path) -> None:
    node = helper.make_node
    nodes = [
        node("Cast", ["region_tile"], ["tile"], to=FLOAT),
        node("Mul", ["tile", "tenth"], ["tenths"]),
        node("Unsqueeze", ["tenths", "axes"], ["one_each"]),
        node("Add", ["one_each", "plane"], ["masks"]),
    ]
    constants = [
        _constant("tenth", 0.1, np.float32),
        _constant("axes", [1, 2], np.int64),
        numpy_helper.from_array(np.full((1, 28, 28), 0.2, np.float32), "plane"),
    ]
    _save(path, nodes, REGION_INPUTS, [("masks", FLOAT, ["r", 28, 28])], constants)


def toy_bundle(folder: Path, *, input_scale: float = 1, classes: int = 2) -> Bundle:
    """Write the toy graphs with their card, and load them."""
    folder.mkdir(parents=True)
    _trunk(folder / "trunk.onnx")
    _heads(folder / "heads.onnx")
    _masks(folder / "masks.onnx")
    card = Card(
        name="toy",
        preset="toy",
        classes=tuple(NucleusClass(f"Class {i}", (i, i, i)) for i in range(classes)),
        mpp=0.25,
        input_scale=input_scale,
        tile=32,
        multiple=32,
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        precisions={"fp32": GraphSet("trunk.onnx", "heads.onnx", "masks.onnx", "float32")},
        proposals=ProposalSettings(count=10, min_side=2.0, nms=0.7, watershed_opening=0),
        detection=DetectionSettings(
            score=0.35, nms=0.5, nms_per_class=False, count=500, mask_threshold=0.5
        ),
        licence="none needed",
        files={name: file_digest(folder / name) for name in FILES},
    )
    (folder / "card.json").write_bytes(card.to_json())
    return load_bundle(folder)
