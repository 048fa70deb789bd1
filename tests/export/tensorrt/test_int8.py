"""Int8 graphs for TensorRT: its integers, the same numbers up to a coarser step."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from nuhtc.export.graphs.quantise import quantise
from nuhtc.export.tensorrt.int8 import symmetric
from nuhtc.export.tensorrt.rewrite import run


@pytest.fixture
def graphs(tmp_path: Path) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    """A float graph, convolutions with an activation that cuts on both sides, and its int8 twin."""
    rng = np.random.default_rng(0)
    node = helper.make_node
    convolutions = [
        numpy_helper.from_array(rng.normal(0, 0.3, shape).astype(np.float32), name)
        for name, shape in (
            ("w1", (8, 3, 3, 3)),
            ("w2", (8, 8, 3, 3)),
            ("b2", (8,)),
            ("w3", (8, 8, 1, 1)),
            ("w4", (1, 8, 1, 1)),
        )
    ]
    bounds = [numpy_helper.from_array(np.float32(value), f"to{value}") for value in (0, 6)]
    made = helper.make_graph(
        [
            node("Cast", ["tiles"], ["x"], "cast", to=TensorProto.FLOAT),
            node("Conv", ["x", "w1"], ["a"], "first", pads=[1, 1, 1, 1]),
            node("Conv", ["a", "w2", "b2"], ["b"], "second", pads=[1, 1, 1, 1]),
            node("Clip", ["b", "to0", "to6"], ["c"], "cut"),
            node("Conv", ["c", "w3"], ["d"], "third"),
            node("Conv", ["d", "w4"], ["y"], "last"),
        ],
        "made",
        [helper.make_tensor_value_info("tiles", TensorProto.UINT8, ["b", 3, "h", "w"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["b", 1, "h", "w"])],
        [*convolutions, *bounds],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, tmp_path / "float.onnx")
    feeds = [{"tiles": tiles(seed)} for seed in range(4)]
    quantise(tmp_path / "float.onnx", tmp_path / "int8.onnx", feeds)
    return model, onnx.load(tmp_path / "int8.onnx")


def tiles(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (1, 3, 16, 16)).astype(np.uint8)


def test_integers_are_int8_around_zero_and_biases_float(
    graphs: tuple[onnx.ModelProto, onnx.ModelProto],
) -> None:
    before = graphs[1].SerializeToString()
    found = symmetric(graphs[1])
    assert graphs[1].SerializeToString() == before, "the graph given is left as it is"
    constants = {item.name: numpy_helper.to_array(item) for item in found.graph.initializer}
    pairs = [node for node in found.graph.node if node.op_type.endswith("Linear")]
    assert {node.op_type for node in pairs} == {"QuantizeLinear", "DequantizeLinear"}
    for node in pairs:
        zero = constants[node.input[2]]
        assert zero.dtype == np.int8 and not zero.any()
    for node in found.graph.node:
        if node.op_type == "Conv" and len(node.input) == 3:
            assert constants[node.input[2]].dtype == np.float32


def test_numbers_stay_near_the_float_graph(
    graphs: tuple[onnx.ModelProto, onnx.ModelProto],
) -> None:
    exact, quantised = graphs
    assert any(node.op_type == "Clip" for node in exact.graph.node)
    assert not any(node.op_type == "Clip" for node in quantised.graph.node), "ranges do its work"
    for seed in (7, 8):
        given = {"tiles": tiles(seed)}
        expected = run(exact, given, ())["y"]
        found = run(symmetric(quantised), given, ())["y"]
        assert np.abs(found - expected).mean() < 0.1 * expected.std()
