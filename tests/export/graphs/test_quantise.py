"""Int8 graphs: what is quantised, what stays float, and that the numbers stay near."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from nuhtc.export.graphs.quantise import quantise, sensitive

node = helper.make_node


@pytest.fixture
def network(tmp_path: Path) -> Path:
    """uint8 in, four convolutions with activations, a sum, and a sum of floats at the end."""
    rng = np.random.default_rng(0)

    def weights(name: str, *shape: int) -> Any:
        return numpy_helper.from_array(rng.normal(0, 0.2, shape).astype(np.float32), name)

    graph = helper.make_graph(
        [
            node("Cast", ["tiles"], ["x"], "cast", to=TensorProto.FLOAT),
            node("Conv", ["x", "w1"], ["a"], "first", pads=[1, 1, 1, 1]),
            node("Relu", ["a"], ["b"], "relu1"),
            node("Conv", ["b", "w2"], ["c"], "second", pads=[1, 1, 1, 1]),
            node("Relu", ["c"], ["d"], "relu2"),
            node("Conv", ["d", "w3"], ["e"], "third"),
            node("Add", ["e", "d"], ["f"], "sum"),
            node("Conv", ["f", "w4"], ["logits"], "last"),
            node("Add", ["logits", "one"], ["y"], "shift"),
        ],
        "made",
        [helper.make_tensor_value_info("tiles", TensorProto.UINT8, ["b", 3, "h", "w"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["b", 1, "h", "w"])],
        [
            weights("w1", 8, 3, 3, 3),
            weights("w2", 8, 8, 3, 3),
            weights("w3", 8, 8, 1, 1),
            weights("w4", 1, 8, 1, 1),
            numpy_helper.from_array(np.float32(1), "one"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    model.ir_version = 10
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, tmp_path / "float.onnx")
    return tmp_path / "float.onnx"


def feeds(count: int, side: int = 16) -> list[dict[str, Any]]:
    rng = np.random.default_rng(count)
    return [{"tiles": rng.integers(0, 256, (1, 3, side, side), np.uint8)} for _ in range(count)]


def run(path: Path, feed: dict[str, Any]) -> Any:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, feed)[0]


def test_the_first_and_last_layers_stay_float(network: Path) -> None:
    assert sensitive(onnx.load(network)) == ["first", "last", "shift"]


def test_int8_is_near_float32_at_any_size(network: Path, tmp_path: Path) -> None:
    target = tmp_path / "int8.onnx"
    quantise(network, target, feeds(8))
    assert {path.name for path in tmp_path.iterdir()} == {"float.onnx", "int8.onnx"}
    for feed in (*feeds(3), *feeds(2, side=24)):
        expected, found = run(network, feed), run(target, feed)
        assert found.shape == expected.shape and found.dtype == np.float32
        assert np.abs(found - expected).mean() < 0.05 * expected.std()


def test_weights_use_seven_bits_and_a_scale_for_each_channel(network: Path, tmp_path: Path) -> None:
    quantise(network, tmp_path / "int8.onnx", feeds(4))
    model = onnx.load(tmp_path / "int8.onnx")
    kernels = [
        array
        for tensor in model.graph.initializer
        if (array := numpy_helper.to_array(tensor)).dtype == np.int8 and array.ndim == 4
    ]
    assert len(kernels) == 2
    for kernel in kernels:
        assert kernel.min() >= -64 and kernel.max() <= 64
        largest = np.abs(kernel.astype(int)).reshape(len(kernel), -1).max(axis=1)
        assert (largest >= 63).all(), "every channel fills its own range"
    assert {n.domain for n in model.graph.node} <= {"", "ai.onnx"}


def test_the_same_calibration_gives_the_same_bytes(network: Path, tmp_path: Path) -> None:
    for name in ("a.onnx", "b.onnx"):
        quantise(network, tmp_path / name, feeds(4))
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()
