"""Plans of real graphs, by the real parser and builder of TensorRT for RTX, on the CPU."""

import importlib.util
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
import orjson
import pytest
from made.exports import every_precision
from made.toy_bundle import toy_bundle
from onnx import TensorProto, helper, numpy_helper
from programs.elsewhere import Elsewhere, plan_of, target_of, version

from nuhtc.export.cli import export as cli
from nuhtc.export.tensorrt.build import EngineOptions, build_engines
from nuhtc.export.tensorrt.builder import RTX_CAPABILITIES, BuildTarget
from nuhtc.export.tensorrt.rewrite import TOPK_LIMIT, prepare
from nuhtc.runtime.bundle.card import GRAPHS, file_digest
from nuhtc.runtime.bundle.load import Bundle, load_bundle
from nuhtc.runtime.ground.errors import EngineError
from nuhtc.runtime.plans.plan import FOLDER, Here, Plan, Span, choose_plans, read_plan

if TYPE_CHECKING:
    from made.exports import Exported

RTX = EngineOptions("tensorrt-rtx", batch=Span(1, 2, 4), regions=Span(1, 64, 256))
ONE_GPU = replace(RTX, target=BuildTarget(compute_capabilities=("8.9",)))
PROGRAM = "import sys; from nuhtc.export.cli.export import main; sys.exit(main())"
ADA = Here("tensorrt-rtx", "", "NVIDIA GeForce RTX 4090", "8.9")


@pytest.fixture
def toy(tmp_path: Path) -> Bundle:
    """A bundle of small graphs, which build within a second."""
    return toy_bundle(tmp_path / "toy")


def cards(paths: list[Path]) -> dict[tuple[str, str], Plan]:
    plans = [read_plan(path.with_name(f"{path.name}.json")) for path in paths]
    return {(plan.graph, plan.precision): plan for plan in plans}


def check(
    elsewhere: Elsewhere, bundle: Bundle, options: EngineOptions
) -> dict[tuple[str, str], Plan]:
    """Build every graph in every precision of a bundle, and look at what came of it."""
    paths = elsewhere(build_engines, bundle, options)
    plans = cards(paths)
    precisions = bundle.card.precisions
    assert set(plans) == {(graph, precision) for graph in GRAPHS for precision in precisions}
    for precision in precisions:
        chosen = choose_plans(bundle, precision, replace(ADA, version=elsewhere(version)))
        for graph in GRAPHS:
            path, plan = chosen[graph]
            assert path in paths
            assert plan.file == file_digest(path)
            source = bundle.graph(graph, precision).name
            assert plan.graph_sha256 == bundle.card.files[source].sha256
            given = {
                item.name: item for item in onnx.load(bundle.graph(graph, precision)).graph.input
            }
            assert [item.name for item in plan.inputs] == list(given)
            for item in plan.inputs:
                kind = given[item.name].type.tensor_type.elem_type
                assert item.dtype == helper.tensor_dtype_to_np_dtype(kind).name
        features = {item.name: item for item in chosen["trunk"][1].outputs}
        for item in (*chosen["heads"][1].inputs, *chosen["masks"][1].inputs):
            assert item == features.get(item.name, item)
    return plans


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_every_graph_of_lite0_builds_in_every_precision(
    exported: "Exported", elsewhere: Elsewhere, tmp_path: Path
) -> None:
    bundle = every_precision(exported, tmp_path / "bundle", int8=True)
    plans = check(elsewhere, bundle, ONE_GPU)
    assert {precision for _, precision in plans} == {"fp32", "fp16", "int8"}
    for precision in bundle.card.precisions:
        trunk = plans["trunk", precision]
        assert trunk.exact_side == 0  # RoIAlign of this preset takes a fixed number of samples
        assert trunk.inputs[0].shape == ("batch", 256, 256, 3)
        assert (trunk.batch, trunk.regions) == (RTX.batch, RTX.regions)
        assert (trunk.compatibility, trunk.compute_capabilities) == ("listed", ("8.9",))
    assert load_bundle(bundle.folder).digest == bundle.digest


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_every_graph_of_swin_t_builds_in_float32_and_float16(
    published: "Exported", elsewhere: Elsewhere, tmp_path: Path
) -> None:
    bundle = every_precision(published, tmp_path / "bundle", int8=False)
    # Fewer samples than by default leave out nothing but copies of the same nodes.
    plans = check(elsewhere, bundle, replace(ONE_GPU, samples=2))
    assert {precision for _, precision in plans} == {"fp32", "fp16"}
    assert {plans["heads", each].exact_side for each in ("fp32", "fp16")} == {2 * 14 * 4}


def test_a_toy_builds_for_every_gpu_that_is_meant(toy: Bundle, elsewhere: Elsewhere) -> None:
    plans = check(elsewhere, toy, RTX)
    assert {plan.compute_capabilities for plan in plans.values()} == {RTX_CAPABILITIES}


def with_foreign_layer(folder: Path) -> Bundle:
    """The bundle with a layer in its heads that ONNX Runtime takes and TensorRT does not."""
    path = folder / "heads.onnx"
    model = onnx.load(path)
    last = next(node for node in model.graph.node if "boxes" in node.output)
    last.output[list(last.output).index("boxes")] = "boxes.before"
    model.graph.node.extend(
        [
            helper.make_node("Unique", ["boxes.before"], ["strange"], "a_strange_layer", axis=0),
            helper.make_node("Add", ["boxes.before", "strange"], ["boxes"]),
        ]
    )
    onnx.save(model, path)
    card = orjson.loads((folder / "card.json").read_bytes())
    changed = file_digest(path)
    card["files"]["heads.onnx"] = {"sha256": changed.sha256, "size": changed.size}
    (folder / "card.json").write_bytes(orjson.dumps(card))
    return load_bundle(folder)


def test_a_layer_that_tensorrt_does_not_take(toy: Bundle, elsewhere: Elsewhere) -> None:
    bundle = with_foreign_layer(toy.folder)
    before = {path.name for path in toy.folder.rglob("*")}
    with pytest.raises(EngineError, match=r"heads\.onnx in fp32: .*Unique 'a_strange_layer': ."):
        elsewhere(build_engines, bundle, RTX)
    assert {path.name for path in toy.folder.rglob("*")} == before


def test_lists_longer_than_tensorrt_gives_build_in_rounds(elsewhere: Elsewhere) -> None:
    made = helper.make_graph(
        [helper.make_node("TopK", ["scores", "k"], ["values", "places"], "best")],
        "long",
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["b", "n"])],
        [
            helper.make_tensor_value_info("values", TensorProto.FLOAT, None),
            helper.make_tensor_value_info("places", TensorProto.INT64, None),
        ],
        [numpy_helper.from_array(np.array([9000]), "k")],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    spans = {"scores": Span(1, 2, 4)}
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    fixed.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 10000
    with pytest.raises(EngineError, match=str(TOPK_LIMIT)):
        elsewhere(plan_of, "tensorrt-rtx", fixed.SerializeToString(), "whole", spans, BuildTarget())
    short = prepare(model, {"scores": ("batch", 10000)}, {"k": 9000}, 1).model
    graph = short.SerializeToString()
    assert elsewhere(plan_of, "tensorrt-rtx", graph, "rounds", spans, BuildTarget())


def test_what_rtx_does_not_do_is_refused(elsewhere: Elsewhere) -> None:
    def wanted(target: BuildTarget) -> None:
        elsewhere(target_of, "tensorrt-rtx", target)

    with pytest.raises(EngineError, match="--tensorrt-gpus, --tensorrt-timing-cache: for"):
        wanted(BuildTarget(gpus="ampere+", timing_cache=Path("cache")))
    with pytest.raises(EngineError, match=r"does not build for compute capability 5\.2; choose"):
        wanted(BuildTarget(compute_capabilities=("5.2",)))


def test_a_tensorrt_that_is_not_there(toy: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    if importlib.util.find_spec("tensorrt") is not None:
        pytest.skip("TensorRT is installed")
    assert cli.main([str(toy.folder), "--tensorrt"]) == 1
    message = capsys.readouterr().err
    assert message.startswith("nuhtc-export: tensorrt is not installed; pip install")
    assert not (toy.folder / FOLDER).exists()


def test_tiles_that_do_not_fit(toy: Bundle) -> None:
    with pytest.raises(EngineError, match="--tensorrt-tile 100: must be a multiple of 32"):
        build_engines(toy, replace(RTX, tile=100))


def test_the_command_builds_for_a_bundle(toy: Bundle, elsewhere: Elsewhere) -> None:
    engines = toy.folder / FOLDER
    command = [str(toy.folder), "--tensorrt", "tensorrt-rtx", "--tensorrt-precision", "fp32"]
    options = ["--tensorrt-compute-capabilities", "8.6,12.0", "--tensorrt-tile", "64"]
    sizes = ["--tensorrt-batch", "1,1,2", "--tensorrt-regions", "1,8,64"]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *command, *options, *sizes, "--tensorrt-workspace", "0.5"],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    number = elsewhere(version)
    names = [f"{graph}.fp32.sm86-sm120.rtx-{number}.plan" for graph in GRAPHS]
    printed = done.stdout.splitlines()
    assert [line.split(":")[0] for line in printed] == names
    found = {path.name for path in (engines).iterdir()}
    assert found == {*names, *(f"{name}.json" for name in names)}
    for plan in cards([engines / name for name in names]).values():
        assert plan.compute_capabilities == ("8.6", "12.0")
        assert (plan.batch, plan.regions, plan.tile) == (Span(1, 1, 2), Span(1, 8, 64), 64)
    with pytest.raises(EngineError, match=r"compute capability 8\.6, 12\.0, and RTX 4090 has 8\.9"):
        choose_plans(toy, "fp32", Here("tensorrt-rtx", number, "RTX 4090", "8.9"))


@pytest.mark.parametrize(
    ("option", "value", "reason"),
    [
        ("--tensorrt-batch", "1,2", "three numbers"),
        ("--tensorrt-batch", "4,2,8", "must rise"),
        ("--tensorrt-regions", "0,2,8", "must rise"),
        ("--tensorrt-samples", "0", "0 is below 1"),
        ("--tensorrt-precision", "fp64", "there is fp32"),
        ("--tensorrt-compute-capabilities", "sm89", "are needed"),
        ("--tensorrt", "tensorflow", "invalid choice"),
    ],
)
def test_options_that_mean_nothing(
    option: str, value: str, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main(["bundle", option, value])
    assert stopped.value.code == 2
    assert reason in capsys.readouterr().err


def test_a_checkpoint_needs_a_place(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main(["model.pt"])
    assert stopped.value.code == 2
    assert "--out" in capsys.readouterr().err


def test_example_regions_are_of_both_tiles() -> None:
    from nuhtc.export.tensorrt.build import _example_regions

    made = _example_regions({"fine4": np.zeros((2, 64, 16, 16), np.float32)})
    assert set(made["region_tile"].tolist()) == {0, 1}
    assert (made["regions"] >= 0).all()
    assert (made["regions"] <= 64).all()
    assert (made["regions"][:, 2:] > made["regions"][:, :2]).all()
