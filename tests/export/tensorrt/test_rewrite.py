import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from nuhtc.export.tensorrt.rewrite import TOPK_LIMIT, agreement, prepare, run, topk_inputs
from nuhtc.export.tensorrt.roi_align import UnsupportedNode


def model_of(
    nodes: list[onnx.NodeProto],
    inputs: dict[str, tuple[int, list[int | str]]],
    outputs: dict[str, int],
    constants: list[onnx.TensorProto] | None = None,
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "made",
        [helper.make_tensor_value_info(k, kind, shape) for k, (kind, shape) in inputs.items()],
        [helper.make_tensor_value_info(k, kind, None) for k, kind in outputs.items()],
        constants or [],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def topk_model(kind: int, **attributes: int) -> onnx.ModelProto:
    return model_of(
        [helper.make_node("TopK", ["scores", "k"], ["values", "places"], "best", **attributes)],
        {"scores": (kind, ["b", "n"]), "k": (TensorProto.INT64, [1])},
        {"values": kind, "places": TensorProto.INT64},
    )


@pytest.mark.parametrize("kind", [TensorProto.FLOAT, TensorProto.FLOAT16])
@pytest.mark.parametrize("count", [1, TOPK_LIMIT, TOPK_LIMIT + 1, 9000])
def test_long_lists_are_found_in_rounds(kind: int, count: int) -> None:
    dtype = np.float16 if kind == TensorProto.FLOAT16 else np.float32
    scores = np.random.default_rng(0).normal(0, 9, (2, 9000)).astype(dtype)
    shapes = {"scores": ("batch", 9000), "k": (1,)}
    model = prepare(topk_model(kind), shapes, {"k": count}, 1).model
    lengths = [
        int(numpy_helper.to_array(constant)[0])
        for constant in model.graph.initializer
        if constant.name in topk_inputs(model)
    ]
    assert max(lengths) <= TOPK_LIMIT
    found = run(model, {"scores": scores, "k": np.array([1])}, ())
    np.testing.assert_array_equal(found["values"], -np.sort(-scores, axis=1)[:, :count])
    np.testing.assert_array_equal(
        np.take_along_axis(scores, found["places"], axis=1), found["values"]
    )
    assert all(len(set(row)) == count for row in found["places"].tolist())


def test_the_smallest_are_refused() -> None:
    shapes = {"scores": ("batch", 9), "k": (1,)}
    with pytest.raises(UnsupportedNode, match="TopK best"):
        prepare(topk_model(TensorProto.FLOAT, largest=0), shapes, {"k": 2}, 1)


def test_only_casts_take_uint8() -> None:
    nodes = [
        helper.make_node("Transpose", ["tiles"], ["turned"], perm=[0, 2, 1]),
        helper.make_node("Cast", ["turned"], ["numbers"], to=TensorProto.FLOAT),
    ]
    model = model_of(
        nodes, {"tiles": (TensorProto.UINT8, ["b", "h", "w"])}, {"numbers": TensorProto.FLOAT}
    )
    ready = prepare(model, {"tiles": ("batch", 4, 6)}, {}, 1).model
    assert [n.op_type for n in ready.graph.node if "tiles" in n.input] == ["Cast"]
    tiles = np.arange(48, dtype=np.uint8).reshape(2, 4, 6)
    before, after = (run(one, {"tiles": tiles}, ()) for one in (model, ready))
    np.testing.assert_array_equal(after["numbers"], before["numbers"])


def test_weights_stored_as_halves_become_constants() -> None:
    half = np.linspace(-2, 2, 12, dtype=np.float16).reshape(3, 4)
    nodes = [
        helper.make_node("Cast", ["stored"], ["weight"], to=TensorProto.FLOAT),
        helper.make_node("MatMul", ["x", "weight"], ["y"]),
    ]
    model = model_of(
        nodes,
        {"x": (TensorProto.FLOAT, ["b", 3])},
        {"y": TensorProto.FLOAT},
        [numpy_helper.from_array(half, "stored")],
    )
    ready = prepare(model, {"x": ("batch", 3)}, {}, 1).model
    assert [node.op_type for node in ready.graph.node] == ["MatMul"]
    constants = {item.name: numpy_helper.to_array(item) for item in ready.graph.initializer}
    assert set(constants) == {"weight"}
    np.testing.assert_array_equal(constants["weight"], half.astype(np.float32))


def test_integer_values_on_the_way_can_be_asked_for() -> None:
    model = model_of(
        [
            helper.make_node("Shape", ["x"], ["sides"]),
            helper.make_node("Cast", ["sides"], ["y"], to=TensorProto.FLOAT),
        ],
        {"x": (TensorProto.FLOAT, ["b", "n"])},
        {"y": TensorProto.FLOAT},
        [numpy_helper.from_array(np.array([7]), "fixed")],
    )
    found = run(model, {"x": np.zeros((5, 2), np.float32)}, ["sides", "fixed"])
    assert found["sides"].tolist() == [5, 2]
    assert found["fixed"].tolist() == [7]


def test_agreement_counts_in_standard_deviations() -> None:
    given = {"a": np.array([0.0, 10.0]), "b": np.array([1.0, 2.0])}
    assert agreement(given, given) == 0
    assert agreement(given, {**given, "a": np.array([0.0, 11.0])}) == pytest.approx(0.2)
    assert agreement(given, {**given, "a": np.array([0.0, np.nan])}) == float("inf")
    assert agreement(given, {**given, "b": np.array([1.0])}) == float("inf")
