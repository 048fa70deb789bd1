"""Calls that only plain TensorRT gets, made to TensorRT for RTX, whose interface is the same."""

from dataclasses import replace
from pathlib import Path

import pytest
from reference.toy_bundle import toy_bundle

from nuhtc.export import tensorrt_builder
from nuhtc.export.tensorrt_builder import Destination, Target, build_plan, destination
from nuhtc.export.tensorrt_graph import load, prepare
from nuhtc.runtime.errors import EngineError
from nuhtc.runtime.plans import Span
from nuhtc.runtime.tensorrt_module import TensorRt, load_tensorrt

RTX_HAS_NO_USE_FOR_IT = pytest.mark.filterwarnings("ignore::DeprecationWarning")

SPANS = {"tiles": Span(1, 2, 4)}


@pytest.fixture
def plain() -> TensorRt:
    return replace(load_tensorrt("tensorrt-rtx"), kind="tensorrt")


@pytest.fixture
def graph(tmp_path: Path) -> bytes:
    model = load(toy_bundle(tmp_path / "toy").graph("trunk"))
    ready: bytes = prepare(model, {"tiles": ("batch", 32, 32, 3)}, {}, 1).model.SerializeToString()
    return ready


@pytest.mark.parametrize("gpus", tensorrt_builder.GPUS)
def test_every_level_of_compatibility_builds(plain: TensorRt, graph: bytes, gpus: str) -> None:
    assert build_plan(plain, graph, "toy", SPANS, Target(gpus=gpus, workspace=1 << 28))


def test_version_compatibility_is_asked_for(plain: TensorRt, graph: bytes) -> None:
    # TensorRT for RTX has no library for it, and says so.
    with pytest.raises(EngineError, match=r"toy: tensorrt cannot build it .*lean"):
        build_plan(plain, graph, "toy", SPANS, Target(version_compatible=True))


@RTX_HAS_NO_USE_FOR_IT
def test_the_timing_cache_is_kept(plain: TensorRt, graph: bytes, tmp_path: Path) -> None:
    path = tmp_path / "timing.cache"
    for _ in range(2):
        assert build_plan(plain, graph, "toy", SPANS, Target(timing_cache=path))
        assert path.stat().st_size > 0
    assert {item.name for item in tmp_path.iterdir()} == {"timing.cache", "toy"}


def test_plain_plans_are_for_the_gpu_at_hand(
    plain: TensorRt, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensorrt_builder, "describe_gpu", lambda: ("NVIDIA L4", "8.9"))
    assert destination(plain, Target()) == Destination("NVIDIA L4", ("8.9",), "none")
    found = destination(plain, Target(gpus="ampere+"))
    assert found.compatibility == "ampere_plus"
    with pytest.raises(EngineError, match="for TensorRT for RTX only"):
        destination(plain, Target(compute_capabilities=("8.6",)))
