import sys
from types import SimpleNamespace

import pytest
from programs.elsewhere import Elsewhere, errors_of_a_load, version

from nuhtc.runtime.ground.errors import EngineError
from nuhtc.runtime.plans.tensorrt_module import describe_gpu, load_tensorrt


def test_tensorrt_for_rtx_loads_without_a_library_path_and_keeps_errors(
    elsewhere: Elsewhere,
) -> None:
    once, builds, messages = elsewhere(errors_of_a_load)
    assert once and builds
    assert messages == ["this failed"], "warnings are about our intentions"
    assert elsewhere(version).split(".")[:2] == ["1", "7"]


def test_a_tensorrt_that_nobody_makes() -> None:
    with pytest.raises(EngineError, match="no TensorRT is called 'tensorflow'; choose from"):
        load_tensorrt("tensorflow")


def test_a_tensorrt_that_does_not_load(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(EngineError, match=r"tensorrt is not installed; pip install 'nuhtc\["):
        load_tensorrt("tensorrt")


def fake_driver(devices: int) -> SimpleNamespace:
    class DriverError(Exception):
        pass

    class Device:
        def __init__(self, index: int) -> None:
            if index >= devices:
                raise DriverError("no CUDA-capable device is detected")

        def name(self) -> str:
            return "NVIDIA L4"

        def compute_capability(self) -> tuple[int, int]:
            return 8, 9

    return SimpleNamespace(Error=DriverError, Device=Device, init=lambda: None)


@pytest.mark.parametrize("devices", [0, 1])
def test_the_gpu_is_described(monkeypatch: pytest.MonkeyPatch, devices: int) -> None:
    driver = fake_driver(devices)
    monkeypatch.setitem(sys.modules, "pycuda", SimpleNamespace(driver=driver))
    monkeypatch.setitem(sys.modules, "pycuda.driver", driver)
    if devices:
        assert describe_gpu() == ("NVIDIA L4", "8.9")
    else:
        with pytest.raises(EngineError, match=r"no NVIDIA GPU is usable here \(no CUDA-capable"):
            describe_gpu()


def test_no_pycuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycuda", None)
    monkeypatch.setitem(sys.modules, "pycuda.driver", None)
    with pytest.raises(EngineError, match=r"pip install 'nuhtc\[tensorrt\]'"):
        describe_gpu()
