"""The native engine on a GPU made of arrays: no plan has run on hardware in these tests."""

import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from fakes.fake_gpu import FakeDevice, fake_tensorrt
from numpy.typing import NDArray

from nuhtc.runtime.bundle.card import GRAPHS, file_digest
from nuhtc.runtime.bundle.load import Bundle, load_bundle
from nuhtc.runtime.engines import tensorrt as engine
from nuhtc.runtime.engines.cascade import CascadeEngine
from nuhtc.runtime.engines.engine import Detections
from nuhtc.runtime.engines.onnxruntime import OnnxRuntimeGraphs
from nuhtc.runtime.engines.tensorrt import TensorRtGraphs
from nuhtc.runtime.ground.errors import EngineError
from nuhtc.runtime.plans.plan import FOLDER, Span, read_plan
from nuhtc.runtime.plans.tensorrt_module import TensorRt, load_tensorrt

if TYPE_CHECKING:
    from made.exports import Exported

BATCH = Span(1, 2, 3)
REGIONS = Span(4, 32, 100)


@pytest.fixture(scope="module")
def planned(exported: "Exported", tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle with cards as export writes them, whose plans are the graphs as prepared."""
    from nuhtc.export.tensorrt import build as tensorrt
    from nuhtc.export.tensorrt.build import EngineOptions

    folder = tmp_path_factory.mktemp("planned") / "bundle"
    bundle = load_bundle(shutil.copytree(exported.float32.folder, folder))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tensorrt, "build_plan", lambda trt, graph, *rest: graph)
        tensorrt.build_engines(bundle, EngineOptions("tensorrt-rtx", batch=BATCH, regions=REGIONS))
    return bundle


@pytest.fixture
def planned_copy(planned: Bundle, tmp_path: Path) -> Bundle:
    return load_bundle(shutil.copytree(planned.folder, tmp_path / "bundle"))


@pytest.fixture
def device() -> FakeDevice:
    return FakeDevice()


@pytest.fixture
def rtx(device: FakeDevice) -> TensorRt:
    return fake_tensorrt(device, "tensorrt-rtx", load_tensorrt("tensorrt-rtx").version)


@pytest.fixture
def graphs(planned: Bundle, rtx: TensorRt, device: FakeDevice) -> Iterator[TensorRtGraphs]:
    yield TensorRtGraphs(planned, "fp32", rtx, device)
    assert device.inside == 0


def assert_same(found: list[Detections], expected: list[Detections]) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert len(one.boxes) == len(other.boxes)
        # The best come first, so that rounding may exchange two whose scores are all but equal.
        apart = np.abs(one.boxes[:, None] - other.boxes[None]).max(axis=2)
        pairs = apart.argmin(axis=1)
        assert np.array_equal(np.sort(pairs), np.arange(len(pairs)))
        np.testing.assert_allclose(one.boxes, other.boxes[pairs], atol=1e-2)
        np.testing.assert_allclose(one.probabilities, other.probabilities[pairs], atol=1e-3)
        np.testing.assert_allclose(one.masks, other.masks[pairs], atol=1e-3)
        np.testing.assert_array_equal(one.labels, other.labels[pairs])
        scores = one.probabilities.max(axis=1), other.probabilities.max(axis=1)
        np.testing.assert_allclose(*scores, atol=1e-3)


def test_it_finds_what_onnx_runtime_finds(
    graphs: TensorRtGraphs, planned: Bundle, exported: "Exported", device: FakeDevice
) -> None:
    tiles = exported.tiles
    ours = CascadeEngine(planned.card, graphs)
    theirs = CascadeEngine(planned.card, OnnxRuntimeGraphs(planned, threads=1))
    expected = theirs.run(tiles)
    assert sum(len(one.boxes) for one in expected) > 0
    # The middle batch of the plans, as often as it takes for a CUDA graph to do the work ...
    for _ in range(6):
        assert_same(ours.run(tiles), expected)
    assert device.captures == engine.LANES
    assert device.launches >= 2
    # ... and other batches, whose shapes are none of the graph's business.
    assert_same(ours.run(tiles[1:]), expected[1:])
    three = ours.run(tiles[[1, 0, 1]])
    assert_same(three, [expected[1], expected[0], expected[1]])
    assert_same(ours.run(tiles), expected)
    assert device.captures == engine.LANES


def test_more_regions_than_a_call_takes(
    graphs: TensorRtGraphs, planned: Bundle, exported: "Exported", rtx: TensorRt
) -> None:
    rng = np.random.default_rng(0)
    other = OnnxRuntimeGraphs(planned, threads=1)
    for count in (1, REGIONS.least, REGIONS.most, REGIONS.most + 1, 2 * REGIONS.most + 7):
        first = rng.uniform(0, 200, (count, 2))
        regions = np.concatenate([first, first + rng.uniform(5, 50, (count, 2))], axis=1)
        regions = regions.astype(np.float32)
        tile = np.sort(rng.integers(0, 2, count))
        ours, theirs = graphs.trunk(exported.tiles), other.trunk(exported.tiles)
        before = len(rtx.module.executions)
        boxes, probabilities = graphs.heads(ours.features, regions, tile)
        assert len(rtx.module.executions) - before == -(-count // REGIONS.most)
        expected = other.heads(theirs.features, regions, tile)
        np.testing.assert_allclose(boxes, expected[0], atol=2e-2)
        np.testing.assert_allclose(probabilities, expected[1], atol=1e-3)
        np.testing.assert_allclose(
            graphs.masks(ours.features, regions, tile),
            other.masks(theirs.features, regions, tile),
            atol=1e-3,
        )


def test_no_regions_ask_nothing_of_the_gpu(
    graphs: TensorRtGraphs, exported: "Exported", rtx: TensorRt
) -> None:
    features = graphs.trunk(exported.tiles).features
    before = len(rtx.module.executions)
    nothing = np.empty((0, 4), np.float32), np.empty(0, np.int64)
    boxes, probabilities = graphs.heads(features, *nothing)
    assert boxes.shape == (0, 4)
    assert probabilities.shape == (0, 3)
    assert graphs.masks(features, *nothing).shape == (0, 28, 28)
    assert len(rtx.module.executions) == before


def test_features_last_while_another_batch_runs(
    graphs: TensorRtGraphs, planned: Bundle, exported: "Exported"
) -> None:
    regions = np.array([[10, 10, 40, 50], [100, 90, 130, 140]], np.float32)
    tile = np.array([0, 1])
    first = graphs.trunk(exported.tiles)
    expected, _ = graphs.heads(first.features, regions, tile)
    second = graphs.trunk(exported.tiles[::-1].copy())
    again, _ = graphs.heads(first.features, regions, tile)
    np.testing.assert_array_equal(again, expected)
    swapped, _ = graphs.heads(second.features, regions, 1 - tile)
    np.testing.assert_allclose(swapped, expected, atol=1e-2)


def test_features_that_are_kept_block_the_third_batch(
    graphs: TensorRtGraphs, exported: "Exported", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "PATIENCE_S", 0.05)
    one = exported.tiles[:1]
    kept = [graphs.trunk(one) for _ in range(engine.LANES)]
    with pytest.raises(EngineError, match="features of 2 batches are still in use"):
        graphs.trunk(one)
    kept.pop()
    assert graphs.trunk(one).boxes.shape[0] == 1


def test_threads_do_not_disturb_each_other(
    graphs: TensorRtGraphs, planned: Bundle, exported: "Exported"
) -> None:
    run = CascadeEngine(planned.card, graphs).run
    batches = [exported.tiles, exported.tiles[::-1].copy(), exported.tiles[:1]]
    expected = [run(batch) for batch in batches]
    found: dict[int, list[Detections]] = {}

    def work(index: int, batch: NDArray[np.uint8]) -> None:
        for _ in range(3):
            found[index] = run(batch)

    threads = [threading.Thread(target=work, args=item) for item in enumerate(batches)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for index, answer in enumerate(expected):
        assert_same(found[index], answer)


@pytest.mark.parametrize(
    ("shape", "reason"),
    [
        ((2, 128, 128, 3), "tiles of 128x128 px, .* --tensorrt-tile 128"),
        ((4, 256, 256, 3), "4 tiles at a time, .* takes 1 to 3; .* --tensorrt-batch 1,4,4"),
    ],
)
def test_tiles_that_the_plans_are_not_for(
    graphs: TensorRtGraphs, shape: tuple[int, ...], reason: str
) -> None:
    with pytest.raises(EngineError, match=reason):
        graphs.trunk(np.zeros(shape, np.uint8))


def test_a_call_that_fails(graphs: TensorRtGraphs, exported: "Exported", rtx: TensorRt) -> None:
    features = graphs.trunk(exported.tiles).features
    rtx.module.fails = True
    with pytest.raises(EngineError, match="heads: TensorRT failed to run its plan"):
        graphs.heads(features, np.ones((1, 4), np.float32), np.zeros(1, np.int64))
    rtx.module.fails = False
    graphs.heads(features, np.ones((1, 4), np.float32), np.zeros(1, np.int64))


def test_features_of_another_engine(graphs: TensorRtGraphs) -> None:
    with pytest.raises(EngineError, match="must be those of this engine's trunk"):
        graphs.masks({"fine4": None}, np.ones((1, 4), np.float32), np.zeros(1, np.int64))


def plan_of(bundle: Bundle, graph: str) -> Path:
    return next((bundle.folder / FOLDER).glob(f"{graph}.*.plan"))


def test_a_truncated_plan(planned_copy: Bundle, rtx: TensorRt, device: FakeDevice) -> None:
    path = plan_of(planned_copy, "masks")
    path.write_bytes(path.read_bytes()[:-1])
    command = "nuhtc-export .* --tensorrt tensorrt-rtx --tensorrt-precision fp32"
    with pytest.raises(EngineError, match=f"masks.*: differs from its card.*: {command}"):
        TensorRtGraphs(planned_copy, "fp32", rtx, device)


def test_plans_for_other_gpus(planned_copy: Bundle) -> None:
    device = FakeDevice("Old 1080", "6.1")
    rtx = fake_tensorrt(device, "tensorrt-rtx", load_tensorrt("tensorrt-rtx").version)
    with pytest.raises(EngineError, match=r"Old 1080 has 6\.1.*build them with: nuhtc-export"):
        TensorRtGraphs(planned_copy, "fp32", rtx, device)
    assert device.memories == {}


def test_no_plans(exported: "Exported", rtx: TensorRt, device: FakeDevice) -> None:
    with pytest.raises(EngineError, match=r"no fp32 plan of trunk, heads, masks .*none is there"):
        TensorRtGraphs(exported.float32, "fp32", rtx, device)


def rewrite_card(path: Path, **changes: object) -> None:
    card = path.with_name(f"{path.name}.json")
    plan = replace(read_plan(card), file=file_digest(path), **changes)  # type: ignore[arg-type]
    card.write_bytes(plan.to_json())


def test_a_plan_that_tensorrt_does_not_load(
    planned_copy: Bundle, rtx: TensorRt, device: FakeDevice
) -> None:
    path = plan_of(planned_copy, "heads")
    path.write_bytes(b"not a plan")
    rewrite_card(path)
    with pytest.raises(EngineError, match=r"heads.*does not load it \(Magic tag does not match"):
        TensorRtGraphs(planned_copy, "fp32", rtx, device)


def test_plans_that_changed_places(planned_copy: Bundle, rtx: TensorRt, device: FakeDevice) -> None:
    heads, masks = plan_of(planned_copy, "heads"), plan_of(planned_copy, "masks")
    heads.write_bytes(masks.read_bytes())
    rewrite_card(heads)
    with pytest.raises(EngineError, match=r"heads.*: is another plan than its card says"):
        TensorRtGraphs(planned_copy, "fp32", rtx, device)


def test_plans_of_two_builds(planned_copy: Bundle, rtx: TensorRt, device: FakeDevice) -> None:
    rewrite_card(plan_of(planned_copy, "masks"), tile=320)
    with pytest.raises(EngineError, match="built for different tiles or batches"):
        TensorRtGraphs(planned_copy, "fp32", rtx, device)


def test_features_in_another_form(planned_copy: Bundle, rtx: TensorRt, device: FakeDevice) -> None:
    path = plan_of(planned_copy, "heads")
    plan = read_plan(path.with_name(f"{path.name}.json"))
    halves = tuple(
        replace(item, dtype="float16") if item.name == "fine4" else item for item in plan.inputs
    )
    rewrite_card(path, inputs=halves)
    with pytest.raises(EngineError, match="takes fine4 in another form"):
        TensorRtGraphs(planned_copy, "fp32", rtx, device)


def test_every_graph_has_its_plan(planned: Bundle) -> None:
    assert {plan_of(planned, graph).suffix for graph in GRAPHS} == {".plan"}
