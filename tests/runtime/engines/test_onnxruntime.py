"""ONNX Runtime's engines: the CPU, and what CUDA and TensorRT for RTX ask of a build with them."""

import os
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import onnxruntime
import pytest
from fakes.fake_onnxruntime import FakeRuntime, put_in_place
from made.toy_bundle import toy_bundle, toy_tile

from nuhtc.runtime.bundle.card import FEATURES
from nuhtc.runtime.bundle.load import Bundle
from nuhtc.runtime.engines.open import open_engine
from nuhtc.runtime.engines.providers import CPU_EP, CUDA_EP, CUDA_OPTIONS, RTX_EP
from nuhtc.runtime.ground.errors import EngineError

TILE = toy_tile([(2, 2, 10, 12, 90), (14, 14, 24, 30, 80)])


@pytest.fixture
def toy(tmp_path: Path) -> Bundle:
    return toy_bundle(tmp_path / "toy")


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The plugin's package, without its libraries."""
    module = ModuleType("onnxruntime_ep_nv_tensorrt_rtx")
    module.get_library_path = lambda: "libplugin.so"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module


def assert_same_as_cpu(bundle: Bundle, name: str, cpu: list) -> None:  # type: ignore[type-arg]
    engine = open_engine(bundle, name, threads=1)
    assert (engine.name, engine.precision, engine.reason) == (name, "fp32", "named")
    for ours, theirs in zip(engine.run(np.stack([TILE, TILE])), cpu, strict=True):
        assert len(ours) == 2
        assert np.array_equal(ours.boxes, theirs.boxes)
        assert np.array_equal(ours.probabilities, theirs.probabilities)
        assert np.array_equal(ours.masks, theirs.masks)


def test_cuda_keeps_the_features_on_the_device(
    toy: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    cpu = open_engine(toy, "cpu", threads=1).run(np.stack([TILE, TILE]))
    fake = put_in_place(monkeypatch, FakeRuntime())
    assert_same_as_cpu(toy, "cuda", cpu)
    assert fake.asked == [[(CUDA_EP, CUDA_OPTIONS), CPU_EP]] * 3
    assert {name for name, device in fake.kept_on.items() if device == "cuda"} == set(FEATURES)
    assert {"boxes", "probabilities", "masks", "foreground"} < set(fake.kept_on)


def test_the_plugin_is_registered_once_and_runs_the_graphs(
    toy: Bundle, monkeypatch: pytest.MonkeyPatch, plugin: ModuleType
) -> None:
    cpu = open_engine(toy, "cpu", threads=1).run(np.stack([TILE, TILE]))
    fake = put_in_place(monkeypatch, FakeRuntime(()))
    assert_same_as_cpu(toy, "tensorrt-rtx", cpu)
    assert_same_as_cpu(toy, "tensorrt-rtx", cpu)
    assert fake.registered == [RTX_EP]
    assert fake.asked == [([RTX_EP], {})] * 6
    assert {name for name, device in fake.kept_on.items() if device == "cuda"} == set(FEATURES)


@pytest.mark.parametrize("available", [(), (CUDA_EP,)])
def test_cuda_that_cannot_be_is_an_error_and_never_the_cpu(
    toy: Bundle, monkeypatch: pytest.MonkeyPatch, available: tuple[str, ...]
) -> None:
    put_in_place(monkeypatch, FakeRuntime(available, works=False))
    mended_by = "nvidia-smi" if available else r'pip install "nuhtc\[gpu\]"'
    with pytest.raises(EngineError, match=f"^cuda: .*{mended_by}"):
        open_engine(toy, "cuda")


def test_a_plugin_without_a_gpu(
    toy: Bundle, monkeypatch: pytest.MonkeyPatch, plugin: ModuleType
) -> None:
    fake = put_in_place(monkeypatch, FakeRuntime(()))
    monkeypatch.setattr(fake, "get_ep_devices", list)
    with pytest.raises(EngineError, match=r"^tensorrt-rtx: no NVIDIA RTX GPU.*nvidia-smi"):
        open_engine(toy, "tensorrt-rtx")


def test_a_plugin_whose_libraries_do_not_load(
    toy: Bundle, monkeypatch: pytest.MonkeyPatch, plugin: ModuleType
) -> None:
    # The real ONNX Runtime refuses a library that is not there.
    with pytest.raises(EngineError, match=r"^tensorrt-rtx: its libraries do not load") as caught:
        open_engine(toy, "tensorrt-rtx")
    assert "\n" not in str(caught.value)


def test_no_plugin(toy: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime_ep_nv_tensorrt_rtx", None)
    with pytest.raises(EngineError, match=r'pip install "nuhtc\[tensorrt-rtx\]"'):
        open_engine(toy, "tensorrt-rtx")


def test_use_is_not_reported() -> None:
    assert os.environ["ORT_DISABLE_TELEMETRY"] == "1"


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["cuda", "tensorrt-rtx"])
def test_a_real_gpu_gives_the_cpus_answer(toy: Bundle, name: str) -> None:
    if name == "cuda" and CUDA_EP not in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has no CUDA")
    if name == "tensorrt-rtx" and not Path("/dev/nvidia0").exists():
        pytest.skip("no NVIDIA GPU is here")
    cpu = open_engine(toy, "cpu", threads=1).run(np.stack([TILE, TILE]))
    assert_same_as_cpu(toy, name, cpu)
