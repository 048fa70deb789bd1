"""The graphs: standard operators, any size and batch, and PyTorch's answers."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from made.exports import Exported
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from nuhtc.export.graphs.precisions import FLOAT
from nuhtc.export.graphs.trace import (
    FEATURES,
    HALF_STORAGE_FROM,
    OPSET,
    REGION_INPUTS,
    TRUNK_OUTPUTS,
    HeadsGraph,
    MasksGraph,
    TrunkGraph,
    store_half,
)
from nuhtc.runtime.bundle.load import Bundle, load_bundle

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

Arrays = dict[str, NDArray[Any]]


def run(bundle: Bundle, name: str, inputs: Arrays) -> Arrays:
    session = onnxruntime.InferenceSession(
        str(bundle.path(name)), providers=["CPUExecutionProvider"]
    )
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs), strict=True))


@pytest.fixture(scope="module", params=["float32", "float16"])
def bundle(exported: Exported, request: pytest.FixtureRequest) -> Bundle:
    found: Bundle = getattr(exported, request.param)
    return found


@pytest.mark.parametrize("name", FLOAT.values())
def test_graphs_are_valid_and_standard(bundle: Bundle, name: str) -> None:
    model = onnx.load(bundle.path(name))
    onnx.checker.check_model(model, full_check=True)
    assert [(o.domain, o.version) for o in model.opset_import] == [("", OPSET)]
    assert {node.domain for node in model.graph.node} == {""}
    assert len(model.functions) == 0


@pytest.mark.parametrize("name", FLOAT.values())
def test_nothing_tells_of_the_machine(bundle: Bundle, name: str) -> None:
    content = bundle.path(name).read_bytes()
    assert str(Path(torch.__file__).parent).encode() not in content
    assert str(Path(load_bundle.__code__.co_filename).parent).encode() not in content
    model = onnx.load(bundle.path(name))
    assert all(not node.doc_string and not node.metadata_props for node in model.graph.node)


def test_names_of_inputs_and_outputs(bundle: Bundle) -> None:
    outputs = {
        "trunk.onnx": TRUNK_OUTPUTS,
        "heads.onnx": ("boxes", "probabilities"),
        "masks.onnx": ("masks",),
    }
    for name in FLOAT.values():
        graph = onnx.load(bundle.path(name)).graph
        wanted = ("tiles",) if name == "trunk.onnx" else REGION_INPUTS
        assert tuple(value.name for value in graph.input) == wanted
        assert tuple(value.name for value in graph.output) == outputs[name]


def tiles_of(batch: int, height: int, width: int) -> NDArray[np.uint8]:
    rng = np.random.default_rng(height + width + batch)
    coarse = rng.integers(0, 256, (batch, height // 8, width // 8, 3), dtype=np.uint8)
    return np.repeat(np.repeat(coarse, 8, axis=1), 8, axis=2)


def close(found: NDArray[Any], expected: NDArray[Any], share: float = 1e-3) -> None:
    assert found.shape == expected.shape and found.dtype == expected.dtype
    assert np.abs(found - expected).max(initial=0) <= share * max(float(expected.std()), 1e-3)


@pytest.mark.parametrize(
    ("batch", "height", "width"),
    [(1, 256, 256), (3, 256, 256), (2, 384, 256), (1, 256, 512), (1, 128, 384), (2, 128, 128)],
)
def test_a_trunk_for_any_size_and_batch(
    exported: Exported, batch: int, height: int, width: int
) -> None:
    tiles = tiles_of(batch, height, width)
    found = run(exported.float32, "trunk.onnx", {"tiles": tiles})
    preset = exported.preset
    graph = TrunkGraph(exported.network, preset.proposals_per_level, preset.tile)
    with torch.no_grad():
        answers = graph(torch.from_numpy(tiles))
    expected = dict(zip(TRUNK_OUTPUTS, (x.numpy() for x in answers), strict=True))
    for name in (*FEATURES, "foreground"):
        close(found[name], expected[name])
    assert found["boxes"].shape == expected["boxes"].shape
    assert np.array_equal(found["levels"], expected["levels"])
    assert np.abs(found["scores"] - expected["scores"]).max() < 1e-3
    limits = np.array([width, height, width, height]) * preset.network.input_scale
    assert (found["boxes"] >= 0).all() and (found["boxes"] <= limits).all()


def region_inputs(
    exported: Exported, tiles: NDArray[np.uint8], rows: list[list[float]]
) -> tuple[Arrays, list[torch.Tensor]]:
    """Inputs of heads and masks for regions (tile, xyxy): for a session, and for PyTorch."""
    network = exported.network
    with torch.no_grad():
        features = list(network.trunk(network.prepare(torch.from_numpy(tiles))).features)
    regions = torch.tensor(rows, dtype=torch.float32).reshape(-1, 5)
    given = [*features, regions[:, 1:].contiguous(), regions[:, 0].long()]
    return dict(zip(REGION_INPUTS, (x.numpy() for x in given), strict=True)), given


REGIONS = [
    [0.0, 10, 12, 40, 36],
    [1, 10, 12, 40, 36],
    [1, 0, 0, 256, 256],
    [0, 250, 250, 256, 256],
    [0, 100, 100, 100, 100],
    [1, -30, -30, 20, 20],
    [0, 240, 5, 300, 25],
    [1, 30.25, 40.75, 31.5, 90.125],
]


@pytest.mark.parametrize("count", [0, 1, len(REGIONS)])
def test_heads_and_masks_of_any_regions(exported: Exported, count: int) -> None:
    inputs, given = region_inputs(exported, exported.tiles, REGIONS[:count])
    with torch.no_grad():
        boxes, probabilities = HeadsGraph(exported.network)(*given)
        masks = MasksGraph(exported.network)(*given)
    found = run(exported.float32, "heads.onnx", inputs)
    assert found["boxes"].shape == (count, 4)
    assert found["probabilities"].shape == (count, 3)
    assert np.abs(found["boxes"] - boxes.numpy()).max(initial=0) < 1e-2
    assert np.abs(found["probabilities"] - probabilities.numpy()).max(initial=0) < 1e-3
    found = run(exported.float32, "masks.onnx", inputs)
    assert found["masks"].shape == (count, 28, 28)
    assert np.abs(found["masks"] - masks.numpy()).max(initial=0) < 1e-3


def test_regions_of_a_tile_that_is_not_square(exported: Exported) -> None:
    tiles = tiles_of(3, 384, 256)
    rows = [[2.0, 200, 430, 250, 478], [0, 3, 3, 30, 30], [2, 120, 450, 160, 480]]
    inputs, given = region_inputs(exported, tiles, rows)
    with torch.no_grad():
        boxes, _ = HeadsGraph(exported.network)(*given)
    found = run(exported.float32, "heads.onnx", inputs)
    assert np.abs(found["boxes"] - boxes.numpy()).max() < 1e-2
    width = 256 * exported.preset.network.input_scale
    assert found["boxes"][:, 3].max() > width, "the tile's own height is the limit"


def test_half_storage_is_half_the_size(exported: Exported) -> None:
    for name in FLOAT.values():
        whole = exported.float32.path(name).stat().st_size
        half = exported.float16.path(name).stat().st_size
        assert 0.45 * whole < half < 0.6 * whole


def small_graph(path: Path, weight: NDArray[np.float32]) -> None:
    """One matrix product and one addition."""
    bias = np.linspace(0, 1, weight.shape[1], dtype=np.float32)
    floats = TensorProto.FLOAT
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "weight"], ["product"]),
            helper.make_node("Add", ["product", "bias"], ["y"]),
        ],
        "small",
        [helper.make_tensor_value_info("x", floats, [1, weight.shape[0]])],
        [helper.make_tensor_value_info("y", floats, [1, weight.shape[1]])],
        [numpy_helper.from_array(weight, "weight"), numpy_helper.from_array(bias, "bias")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
    model.ir_version = 10
    onnx.save(model, path)


def test_half_storage_rounds_large_weights_and_nothing_else(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(16, HALF_STORAGE_FROM // 16)).astype(np.float32)
    path = tmp_path / "small.onnx"
    small_graph(path, weight)
    store_half(path)
    stored = {t.name: numpy_helper.to_array(t) for t in onnx.load(path).graph.initializer}
    assert sorted(str(array.dtype) for array in stored.values()) == ["float16", "float32"]
    x = rng.normal(size=(1, 16)).astype(np.float32)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (found,) = session.run(["y"], {"x": x})
    rounded = weight.astype(np.float16).astype(np.float32)
    bias = np.linspace(0, 1, weight.shape[1], dtype=np.float32)
    assert np.allclose(found, x @ rounded + bias, rtol=0, atol=1e-5)


def test_half_storage_of_small_weights_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "small.onnx"
    small_graph(path, np.ones((16, 2), np.float32))
    store_half(path)
    stored = [numpy_helper.to_array(t) for t in onnx.load(path).graph.initializer]
    assert {str(array.dtype) for array in stored} == {"float32"}
