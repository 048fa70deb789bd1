"""Float16 graphs: which layers become half, that types fit, and that the numbers stay."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from nuhtc.export.graphs.half import to_half
from nuhtc.export.graphs.layers import LAYERS, read_values
from nuhtc.runtime.ground.errors import BundleError

FLOAT, HALF = TensorProto.FLOAT, TensorProto.FLOAT16
node = helper.make_node


def half_layers(model: Any) -> list[str]:
    """Names of the layers of a graph that compute in float16."""
    inferred = onnx.shape_inference.infer_shapes(model)
    kinds = read_values(inferred.graph).kinds
    return [
        node.name
        for node in inferred.graph.node
        if node.op_type in LAYERS and kinds.get(node.output[0]) == TensorProto.FLOAT16
    ]


def weights(name: str, *shape: int, scale: float = 0.1) -> Any:
    rng = np.random.default_rng(len(name))
    return numpy_helper.from_array(rng.normal(0, scale, shape).astype(np.float32), name)


def graph_of(
    nodes: list[Any],
    constants: list[Any],
    outputs: list[tuple[str, list[Any]]],
    inputs: list[tuple[str, int, list[Any]]] | None = None,
) -> Any:
    inputs = inputs or [("x", FLOAT, ["b", 4, 8, 8])]
    graph = helper.make_graph(
        nodes,
        "made",
        [helper.make_tensor_value_info(*one) for one in inputs],
        [helper.make_tensor_value_info(name, FLOAT, shape) for name, shape in outputs],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    model.ir_version = 10
    onnx.checker.check_model(model, full_check=True)
    return model


def chain() -> Any:
    """conv, relu, conv that is an output too, softmax, last conv."""
    return graph_of(
        [
            node("Conv", ["x", "w1"], ["a"], "first"),
            node("Relu", ["a"], ["b"], "relu"),
            node("Conv", ["b", "w2"], ["features"], "second"),
            node("Softmax", ["features"], ["soft"], "softmax", axis=1),
            node("Conv", ["soft", "w3"], ["logits"], "last"),
        ],
        [weights("w1", 4, 4, 1, 1), weights("w2", 4, 4, 1, 1), weights("w3", 1, 4, 1, 1)],
        [("features", ["b", 4, 8, 8]), ("logits", ["b", 1, 8, 8])],
    )


def kinds_of(model: Any) -> dict[str, int]:
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, check_type=True)
    groups = (inferred.graph.value_info, inferred.graph.output, inferred.graph.input)
    return {v.name: v.type.tensor_type.elem_type for group in groups for v in group}


def run(model: Any, **inputs: NDArray[Any]) -> list[NDArray[Any]]:
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return list(session.run(None, inputs))


def test_layers_become_half_and_the_last_does_not() -> None:
    half = to_half(chain())
    assert half_layers(half) == ["first", "second"]
    kinds = kinds_of(half)
    softmax = next(n for n in half.graph.node if n.op_type == "Softmax")
    assert kinds[softmax.input[0]] == FLOAT, "softmax is worked out in float32"
    assert kinds["b"] == HALF, "an activation between two half layers stays half"
    assert kinds["features"] == kinds["logits"] == kinds["x"] == FLOAT, "the seam is as it was"


def test_values_are_those_of_float32_but_for_rounding() -> None:
    x = np.random.default_rng(0).normal(0, 1, (2, 4, 8, 8)).astype(np.float32)
    for expected, found in zip(run(chain(), x=x), run(to_half(chain()), x=x), strict=True):
        assert found.dtype == np.float32 and found.shape == expected.shape
        assert np.abs(found - expected).max() < 4e-3 * np.abs(expected).max()


def test_only_standard_operators_and_half_the_weights() -> None:
    source = chain()
    half = to_half(source)
    assert {n.domain for n in half.graph.node} <= {"", "ai.onnx"}
    assert [o.version for o in half.opset_import] == [18]
    stored = {t.name: t.data_type for t in half.graph.initializer}
    assert stored == {"w1.float16": HALF, "w2.float16": HALF, "w3": FLOAT}
    assert [t.data_type for t in source.graph.initializer] == [FLOAT] * 3, "a copy was changed"


def test_region_coordinates_stay_float32() -> None:
    """Boxes that come from one head decide where the next crops; they are never half."""
    model = graph_of(
        [
            node("Conv", ["x", "w1"], ["map"], "conv"),
            node("Relu", ["map"], ["features"], "relu"),
            node("Gemm", ["hidden", "w2"], ["deltas"], "deltas"),
            node("Add", ["boxes", "deltas"], ["moved"], "move"),
            node(
                "RoiAlign",
                ["features", "moved", "tile"],
                ["crops"],
                "crop",
                output_height=2,
                output_width=2,
            ),
            node("Conv", ["crops", "w3"], ["hidden2"], "head"),
            node("Conv", ["hidden2", "w4"], ["logits"], "logits"),
        ],
        [
            weights("w1", 4, 4, 1, 1),
            weights("w2", 3, 4),
            weights("w3", 4, 4, 1, 1),
            weights("w4", 1, 4, 1, 1),
        ],
        [("logits", ["r", 1, 2, 2]), ("moved", ["r", 4])],
        [
            ("x", FLOAT, ["b", 4, 8, 8]),
            ("hidden", FLOAT, ["r", 3]),
            ("boxes", FLOAT, ["r", 4]),
            ("tile", TensorProto.INT64, ["r"]),
        ],
    )
    half = to_half(model)
    assert half_layers(half) == ["conv", "head"], "deltas are a last layer, whatever they crop"
    crop = next(n for n in half.graph.node if n.op_type == "RoiAlign")
    kinds = kinds_of(half)
    assert [kinds[name] for name in crop.input[:2]] == [FLOAT, FLOAT]


def test_products_of_activations() -> None:
    """Attention is half; a product with float32 similarities is float32."""
    model = graph_of(
        [
            node("MatMul", ["x", "w1"], ["q"], "q"),
            node("MatMul", ["x", "w2"], ["k"], "k"),
            node("Transpose", ["k"], ["kt"], "transpose", perm=[0, 2, 1]),
            node("MatMul", ["q", "kt"], ["scores"], "scores"),
            node("Softmax", ["scores"], ["weights"], "softmax"),
            node("MatMul", ["weights", "q"], ["mixed"], "mix"),
            node("MatMul", ["mixed", "w3"], ["hidden"], "out"),
            node("ReduceL2", ["hidden", "axis"], ["norm"], "norm"),
            node("Div", ["hidden", "norm"], ["unit"], "unit"),
            node("Transpose", ["unit"], ["turned"], "turn", perm=[0, 2, 1]),
            node("MatMul", ["unit", "turned"], ["similarity"], "similarity"),
            node("MatMul", ["similarity", "hidden"], ["summary"], "summary"),
            node("MatMul", ["summary", "w4"], ["y"], "last"),
        ],
        [
            *(weights(f"w{i}", 4, 4, scale=0.5) for i in (1, 2, 3, 4)),
            numpy_helper.from_array(np.array([2]), "axis"),
        ],
        [("y", ["b", 6, 4])],
        [("x", FLOAT, ["b", 6, 4])],
    )
    assert half_layers(to_half(model)) == ["q", "k", "scores", "mix", "out"]


def test_resize_keeps_its_scales() -> None:
    model = graph_of(
        [
            node("Conv", ["x", "w1"], ["a"], "conv"),
            node("Resize", ["a", "", "scales"], ["large"], "resize", mode="nearest"),
            node("Conv", ["large", "w2"], ["y"], "last"),
        ],
        [
            weights("w1", 4, 4, 1, 1),
            weights("w2", 4, 4, 1, 1),
            numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "scales"),
        ],
        [("y", ["b", 4, 16, 16])],
    )
    half = to_half(model)
    assert kinds_of(half)["large"] == HALF
    x = np.ones((1, 4, 8, 8), np.float32)
    assert run(half, x=x)[0].shape == (1, 4, 16, 16)


def test_a_weight_too_large_for_half_is_refused() -> None:
    model = chain()
    model.graph.initializer[0].CopyFrom(
        numpy_helper.from_array(np.full((4, 4, 1, 1), 1e5, np.float32), "w1")
    )
    with pytest.raises(BundleError, match=r"w1.*--fp16"):
        to_half(model)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", ["trunk", "heads", "masks"])
def test_every_graph_of_the_network(exported: Any, name: str) -> None:
    path: Path = exported.float32.graph(name)
    source = onnx.load(path)
    half = to_half(source)
    assert len(half_layers(half)) >= 4
    for group in ("input", "output"):
        before, after = (
            {v.name: v.type.tensor_type.elem_type for v in getattr(m.graph, group)}
            for m in (source, half)
        )
        assert before == after
    whole, halved = (
        sum(t.ByteSize() for t in m.graph.initializer if numpy_helper.to_array(t).size > 64)
        for m in (source, half)
    )
    assert halved < 0.55 * whole
    kinds = kinds_of(half)
    kept = {"RoiAlign", "Softmax", "ReduceL2", "Exp", "Floor", "TopK", "Sigmoid", "Sub"}
    wrong = [
        n.name
        for n in half.graph.node
        if n.op_type in kept and HALF in {kinds.get(i) for i in n.input}
    ]
    assert wrong == []
