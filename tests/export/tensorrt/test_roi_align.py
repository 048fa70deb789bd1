import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper

from nuhtc.export.tensorrt.rewrite import prepare
from nuhtc.export.tensorrt.roi_align import UnsupportedNode, read_crop

OPSET = 18


def roi_align_model(kind: int = TensorProto.FLOAT, **attributes: object) -> onnx.ModelProto:
    """A graph of one RoiAlign."""
    settings = {"output_height": 5, "output_width": 5, "spatial_scale": 0.5, **attributes}
    node = helper.make_node("RoiAlign", ["map", "regions", "tile"], ["crops"], "crop", **settings)
    graph = helper.make_graph(
        [node],
        "crops",
        [
            helper.make_tensor_value_info("map", kind, ["b", "c", "h", "w"]),
            helper.make_tensor_value_info("regions", kind, ["r", 4]),
            helper.make_tensor_value_info("tile", TensorProto.INT64, ["r"]),
        ],
        [helper.make_tensor_value_info("crops", kind, ["r", "c", 5, 5])],
    )
    opsets = [helper.make_opsetid("", OPSET)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def answer(model: onnx.ModelProto, inputs: dict[str, NDArray[np.generic]]) -> NDArray[np.float32]:
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    found: NDArray[np.float32] = session.run(None, inputs)[0]
    return found


def made_inputs(
    seed: int, tiles: int, height: int, width: int, reach: float
) -> dict[str, NDArray[np.generic]]:
    """Maps of noise, and regions that start up to ``reach`` sides outside of them."""
    rng = np.random.default_rng(seed)
    high = np.array([width, height, width, height], np.float32) * 2
    corners = rng.uniform(-reach, 1 + reach, (9, 2, 2))
    first, last = corners.min(axis=1), corners.max(axis=1)
    regions = (np.concatenate([first, last], axis=1) * high).astype(np.float32)
    return {
        "map": rng.normal(0, 1, (tiles, 3, height, width)).astype(np.float32),
        "regions": regions,
        "tile": rng.integers(0, tiles, 9),
    }


def prepared(
    model: onnx.ModelProto, inputs: dict[str, NDArray[np.generic]], samples: int
) -> onnx.ModelProto:
    shapes = {
        "map": ("batch", *inputs["map"].shape[1:]),
        "regions": ("regions", 4),
        "tile": ("regions",),
    }
    return prepare(model, shapes, {}, samples).model


@given(
    seed=st.integers(0, 1000),
    tiles=st.integers(1, 5),
    height=st.integers(1, 24),
    width=st.integers(1, 24),
    sampling=st.integers(0, 3),
    reach=st.sampled_from([0.0, 0.5]),
)
def test_the_numbers_stay(
    seed: int, tiles: int, height: int, width: int, sampling: int, reach: float
) -> None:
    model = roi_align_model(sampling_ratio=sampling)
    inputs = made_inputs(seed, tiles, height, width, reach)
    if sampling == 0:  # longer than the map, a region may want more samples than are prepared
        inputs["regions"] = inputs["regions"].clip(
            0, np.float32([width, height, width, height]) * 2
        )
    rewritten = prepared(model, inputs, samples=100)
    assert "RoiAlign" not in {node.op_type for node in rewritten.graph.node}
    np.testing.assert_allclose(answer(rewritten, inputs), answer(model, inputs), atol=2e-4)


def test_no_tile_reads_its_neighbour() -> None:
    inputs = made_inputs(1, 3, 8, 8, 0.5)
    model = prepared(roi_align_model(sampling_ratio=2), inputs, samples=2)
    before = answer(model, inputs)
    changed = dict(inputs)
    changed["map"] = inputs["map"].copy()
    changed["map"][1] += 100
    elsewhere = inputs["tile"] != 1
    assert elsewhere.any()
    np.testing.assert_allclose(answer(model, changed)[elsewhere], before[elsewhere], atol=2e-4)


@pytest.mark.parametrize("bound", [1, 2, 3])
def test_an_adaptive_crop_is_exact_up_to_the_stated_side(bound: int) -> None:
    model = roi_align_model(sampling_ratio=0)
    inputs = made_inputs(2, 1, 60, 60, 0.0)
    crop = read_crop(model.graph.node[0], (3, 60, 60), bound)
    assert crop.exact_side == bound * 5 / 0.5
    rewritten = prepared(model, inputs, samples=bound)
    for side, exact in ((crop.exact_side, True), (crop.exact_side + 4, False)):
        inputs["regions"][:] = [3, 5, 3 + side, 5 + side]
        gap = np.abs(answer(rewritten, inputs) - answer(model, inputs)).max()
        assert (gap < 1e-4) == exact


def test_half_maps_are_read_in_float() -> None:
    model = roi_align_model(TensorProto.FLOAT16, sampling_ratio=2)
    inputs = made_inputs(3, 2, 9, 9, 0.0)
    halves = {name: inputs[name].astype(np.float16) for name in ("map", "regions")}
    halves["tile"] = inputs["tile"]
    rewritten = prepared(model, halves, samples=2)
    whole = {name: halves[name].astype(np.float32) for name in ("map", "regions")}
    expected = answer(roi_align_model(sampling_ratio=2), {**whole, "tile": inputs["tile"]})
    found = answer(rewritten, halves)
    assert found.dtype == np.float16
    np.testing.assert_allclose(found, expected, atol=3e-3)


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"mode": "max"}, "mode 'max'"),
        ({"coordinate_transformation_mode": "output_half_pixel"}, "output_half_pixel"),
        ({"output_width": 4}, "not a square"),
    ],
)
def test_other_crops_are_refused(attributes: dict[str, object], reason: str) -> None:
    node = roi_align_model(**attributes).graph.node[0]
    with pytest.raises(UnsupportedNode, match=reason):
        read_crop(node, (3, 8, 8), 4)


def test_a_map_of_unknown_size_is_refused() -> None:
    model = roi_align_model(sampling_ratio=1)
    shapes = {"map": ("batch", 3, "h", "w"), "regions": ("regions", 4), "tile": ("regions",)}
    with pytest.raises(UnsupportedNode, match="crop: the size of its map is not known"):
        prepare(model, shapes, {}, 4)
