"""OpenVINO's engine: ONNX Runtime's answers, and bfloat16 only where the CPU has it."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made.toy_bundle import toy_bundle, toy_tile
from numpy.typing import NDArray

from nuhtc.runtime.bundle.load import Bundle, default_bundle, load_bundle
from nuhtc.runtime.demo.slide import demo_picture
from nuhtc.runtime.engines import openvino as backend
from nuhtc.runtime.engines.open import open_engine
from nuhtc.runtime.ground.errors import BundleError, EngineError

TILE = toy_tile([(2, 2, 10, 12, 90), (14, 14, 24, 30, 80)])


@pytest.fixture
def toy(tmp_path: Path) -> Bundle:
    return toy_bundle(tmp_path / "toy")


@pytest.fixture
def hints(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What each graph is told to compute in, on a CPU that says it has bfloat16."""
    pytest.importorskip("openvino", reason="OpenVINO is not installed")
    told: dict[str, str] = {}
    real = backend._core()

    class Core:
        def get_property(self, device: str, name: str) -> list[str]:
            return [*real.get_property(device, name), "BF16"]

        def compile_model(self, path: str, device: str, settings: dict[str, Any]) -> Any:
            told[Path(path).stem] = settings["INFERENCE_PRECISION_HINT"]
            return real.compile_model(path, device, settings)

    monkeypatch.setattr(backend, "_core", Core)
    return told


def centres(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    return (boxes[:, :2] + boxes[:, 2:]) / 2


def test_toy_graphs_give_onnx_runtimes_answer(toy: Bundle) -> None:
    pytest.importorskip("openvino", reason="OpenVINO is not installed")
    tiles = np.stack([TILE, toy_tile([]), TILE])
    engine = open_engine(toy, "openvino", threads=1)
    assert (engine.name, engine.precision) == ("openvino", "fp32")
    # The second time, memory that an earlier answer might still use is written again.
    first, again = engine.run(tiles), engine.run(np.zeros_like(tiles))
    assert [len(found) for found in again] == [0, 0, 0]
    for ours, theirs in zip(first, open_engine(toy, "cpu", threads=1).run(tiles), strict=True):
        assert np.array_equal(ours.boxes, theirs.boxes)
        assert np.allclose(ours.probabilities, theirs.probabilities, atol=1e-6)
        assert np.allclose(ours.masks, theirs.masks, atol=1e-6)
    assert len(first[0]) == 2


@pytest.mark.slow
def test_the_packages_model_finds_the_same_nuclei_in_both() -> None:
    pytest.importorskip("openvino", reason="OpenVINO is not installed")
    bundle = load_bundle(default_bundle())
    picture, _ = demo_picture(width=512, height=256)
    tiles = np.stack([picture[:, :256], picture[:, 256:]])
    ours = open_engine(bundle, "openvino", threads=2).run(tiles)
    theirs = open_engine(bundle, "cpu", threads=2).run(tiles)
    for a, b in zip(ours, theirs, strict=True):
        assert len(a) == len(b) > 0
        apart = np.abs(centres(a.boxes)[:, None] - centres(b.boxes)[None]).max(axis=2)
        pair = apart.argmin(axis=1)
        assert len(set(pair.tolist())) == len(a)
        assert np.abs(a.boxes - b.boxes[pair]).max() < 0.05
        assert np.abs(a.probabilities - b.probabilities[pair]).max() < 2e-3
        assert np.abs(a.masks - b.masks[pair]).max() < 5e-3


def test_only_the_trunk_computes_in_bfloat16(toy: Bundle, hints: dict[str, str]) -> None:
    engine = open_engine(toy, "openvino", "bf16", 1)
    assert engine.precision == "bf16"
    assert hints == {"trunk": "bf16", "heads": "f32", "masks": "f32"}


def test_a_cpu_with_bfloat16_computes_in_float32_unless_told(
    toy: Bundle, hints: dict[str, str]
) -> None:
    assert open_engine(toy, "openvino", threads=1).precision == "fp32"
    assert set(hints.values()) == {"f32"}


def test_bfloat16_alone_is_enough_to_choose_openvino(toy: Bundle, hints: dict[str, str]) -> None:
    engine = open_engine(toy, "auto", "bf16", 1)
    assert (engine.name, engine.precision) == ("openvino", "bf16")


def test_a_cpu_without_bfloat16(toy: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openvino", reason="OpenVINO is not installed")
    monkeypatch.setattr(backend, "_capabilities", lambda _: ["FP32", "INT8"])
    with pytest.raises(EngineError, match=r"no bfloat16.*--precision fp32"):
        open_engine(toy, "openvino", "bf16")


def test_not_installed(toy: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    monkeypatch.setattr(backend, "_core", backend._core.__wrapped__)
    with pytest.raises(EngineError, match=r'pip install "nuhtc\[openvino\]"'):
        open_engine(toy, "openvino")


def test_a_precision_that_the_bundle_lacks(toy: Bundle) -> None:
    with pytest.raises(BundleError, match=r"no int8 graphs.*--int8"):
        open_engine(toy, "openvino", "int8")


def test_a_graph_that_does_not_load(toy: Bundle) -> None:
    pytest.importorskip("openvino", reason="OpenVINO is not installed")
    toy.path("heads.onnx").write_bytes(b"no graph")
    with pytest.raises(EngineError) as caught:
        open_engine(toy, "openvino")
    message = str(caught.value)
    assert message.startswith(str(toy.path("heads.onnx"))) and "\n" not in message
    assert "Exception from" not in message


SIGNALLED = """
import gc, os, signal, sys
from pathlib import Path
from nuhtc.runtime.bundle.load import load_bundle
from nuhtc.runtime.engines.open import open_engine

bundle = load_bundle(Path(sys.argv[1]))
first, second = (open_engine(bundle, "openvino", threads=1) for _ in range(2))
del first
gc.collect()
del second
gc.collect()
kept = [bytearray(11_000) for _ in range(2000)]  # takes memory that was given back
signal.signal(signal.SIGUSR1, lambda *_: print("handled"))
os.kill(os.getpid(), signal.SIGUSR1)
"""


def test_signals_are_handled_after_engines_have_ended(toy: Bundle) -> None:
    pytest.importorskip("openvino", reason="OpenVINO is not installed")
    command = [sys.executable, "-X", "faulthandler", "-c", SIGNALLED, str(toy.folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "handled\n"), done.stderr
