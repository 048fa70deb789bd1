"""What can be shown of the CUDA calls without CUDA: their order, and that failures are told."""

import ctypes
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from nuhtc.runtime.ground.errors import EngineError
from nuhtc.runtime.plans import cuda_device
from nuhtc.runtime.plans.cuda_device import CudaDevice, view


class Library:
    """libcuda whose calls are listed; those in ``broken`` give an error."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.broken: set[str] = set()

    def __getattr__(self, name: str) -> Callable[..., int]:
        def call(*arguments: Any) -> int:
            self.calls.append(name)
            return 999 if name in self.broken else 0

        return call


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Library:
    made = Library()
    monkeypatch.setattr(ctypes, "CDLL", lambda name: made)
    return made


@pytest.fixture
def device(library: Library, monkeypatch: pytest.MonkeyPatch) -> CudaDevice:
    stack = library.calls

    class DriverError(Exception):
        pass

    context = SimpleNamespace(push=lambda: stack.append("push"), pop=lambda: stack.append("pop"))
    driver = SimpleNamespace(
        Error=DriverError,
        Device=lambda index: SimpleNamespace(retain_primary_context=lambda: context),
    )
    monkeypatch.setitem(sys.modules, "pycuda", SimpleNamespace(driver=driver))
    monkeypatch.setitem(sys.modules, "pycuda.driver", driver)
    monkeypatch.setattr(cuda_device, "describe_gpu", lambda: ("NVIDIA L4", "8.9"))
    return CudaDevice()


STREAM = SimpleNamespace(handle=7)


def test_work_is_recorded_once_and_launched_often(device: CudaDevice, library: Library) -> None:
    launch = device.capture(lambda: library.calls.append("work"), STREAM)
    recorded = [
        "cuStreamBeginCapture_v2",
        "work",
        "cuStreamEndCapture",
        "cuGraphInstantiateWithFlags",
        "cuGraphDestroy",
    ]
    assert library.calls == recorded
    launch()
    launch()
    assert library.calls == [*recorded, "cuGraphLaunch", "cuGraphLaunch"]


def test_a_stream_leaves_capture_whatever_happens(device: CudaDevice, library: Library) -> None:
    def fail() -> None:
        raise EngineError("the plan failed")

    with pytest.raises(EngineError, match="the plan failed"):
        device.capture(fail, STREAM)
    assert library.calls[-1] == "cuStreamEndCapture"


def test_a_call_that_fails_is_told(device: CudaDevice, library: Library) -> None:
    library.broken.add("cuGraphInstantiateWithFlags")
    with pytest.raises(
        EngineError, match=r"NVIDIA L4: CUDA failed \(cuGraphInst.* gives error 999"
    ):
        device.capture(lambda: None, STREAM)


def test_errors_of_the_driver_are_told_and_the_gpu_is_let_go(
    device: CudaDevice, library: Library
) -> None:
    with (
        pytest.raises(EngineError, match=r"NVIDIA L4: CUDA failed \(out of memory"),
        device.current(),
    ):
        raise sys.modules["pycuda.driver"].Error("out of memory")
    assert library.calls == ["push", "pop"]


def test_a_view_is_the_first_bytes_of_a_buffer() -> None:
    buffer = np.arange(64, dtype=np.uint8)
    found = view(buffer, (2, 3), np.float32)
    assert found.shape == (2, 3)
    found[:] = 0
    assert (buffer[:24] == 0).all()
    assert buffer[24:].tolist() == list(range(24, 64))
