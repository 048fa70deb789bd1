"""Calls that only plain TensorRT gets, made to TensorRT for RTX, whose interface is the same."""

from pathlib import Path

import pytest
from made.toy_bundle import toy_bundle
from programs.elsewhere import Elsewhere, plan_of, target_of

from nuhtc.export.tensorrt.builder import GPUS, BuildTarget, Destination
from nuhtc.export.tensorrt.rewrite import load, prepare
from nuhtc.runtime.ground.errors import EngineError
from nuhtc.runtime.plans.plan import Span

SPANS = {"tiles": Span(1, 2, 4)}


@pytest.fixture
def graph(tmp_path: Path) -> bytes:
    model = load(toy_bundle(tmp_path / "toy").graph("trunk"))
    ready: bytes = prepare(model, {"tiles": ("batch", 32, 32, 3)}, {}, 1).model.SerializeToString()
    return ready


@pytest.mark.parametrize("gpus", GPUS)
def test_every_level_of_compatibility_builds(elsewhere: Elsewhere, graph: bytes, gpus: str) -> None:
    assert elsewhere(
        plan_of, "tensorrt", graph, "toy", SPANS, BuildTarget(gpus=gpus, workspace=1 << 28)
    )


def test_version_compatibility_is_asked_for(elsewhere: Elsewhere, graph: bytes) -> None:
    # TensorRT for RTX has no library for it, and says so.
    with pytest.raises(EngineError, match=r"toy: tensorrt cannot build it .*lean"):
        elsewhere(plan_of, "tensorrt", graph, "toy", SPANS, BuildTarget(version_compatible=True))


def test_the_timing_cache_is_kept(elsewhere: Elsewhere, graph: bytes, tmp_path: Path) -> None:
    path = tmp_path / "timing.cache"
    for _ in range(2):
        assert elsewhere(plan_of, "tensorrt", graph, "toy", SPANS, BuildTarget(timing_cache=path))
        assert path.stat().st_size > 0
    assert {item.name for item in tmp_path.iterdir()} == {"timing.cache", "toy"}


def test_plain_plans_are_for_the_gpu_at_hand(elsewhere: Elsewhere) -> None:
    def found(target: BuildTarget) -> Destination:
        return elsewhere(target_of, "tensorrt", target, ("NVIDIA L4", "8.9"))

    assert found(BuildTarget()) == Destination("NVIDIA L4", ("8.9",), "none")
    assert found(BuildTarget(gpus="ampere+")).compatibility == "ampere_plus"
    with pytest.raises(EngineError, match="for TensorRT for RTX only"):
        found(BuildTarget(compute_capabilities=("8.6",)))
