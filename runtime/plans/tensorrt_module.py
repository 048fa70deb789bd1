r"""TensorRT and TensorRT for RTX: two modules with one interface.

Where they differ is written here and in ``nuhtc.export.tensorrt.builder``, nowhere else:

================================  =====================  ==================================
\                                 ``tensorrt`` 10, 11    ``tensorrt_rtx_bindings`` 1.7
================================  =====================  ==================================
libraries                         found by the wheel     in ``onnxruntime_ep_nv_tensorrt_rtx``
building needs a GPU              yes, that kind of GPU  no
a plan runs on                    that kind of GPU       the compute capabilities asked for
timing cache                      saves hours            without effect, and asks for a GPU
================================  =====================  ==================================
"""

import ctypes
import importlib
import importlib.util
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from nuhtc.runtime.ground.errors import EngineError, first_line

MODULES = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx_bindings"}
"""Python module of each kind of TensorRT."""

LIBRARIES = ("libtensorrt_rtx.so.*", "libtensorrt_onnxparser_rtx.so.*")
"""Of TensorRT for RTX, in the order in which they need one another."""


@dataclass(frozen=True)
class TensorRt:
    """A TensorRT that could be loaded."""

    kind: str
    """a key of MODULES"""
    module: Any
    version: str
    """major.minor.patch"""
    log: Any
    """the process's ``ILogger``; TensorRT takes only one"""
    messages: list[str]
    """what TensorRT called an error since this was last cleared"""


@cache
def load_tensorrt(kind: str) -> TensorRt:
    """Import a TensorRT.

    Parameters
    ----------
    kind
        A key of MODULES.

    Raises
    ------
    EngineError
        It is not installed, or its libraries do not load.
    """
    if kind not in MODULES:
        raise EngineError(f"no TensorRT is called {kind!r}; choose from {', '.join(MODULES)}")
    try:
        if kind == "tensorrt-rtx":
            _preload()
        module = importlib.import_module(MODULES[kind])
    except ModuleNotFoundError as error:
        raise EngineError(
            f"{kind} is not installed; pip install 'nuhtc[{kind}]' ({error})"
        ) from error
    except (ImportError, OSError) as error:
        raise EngineError(
            f"{kind} does not load ({first_line(error)}); pip install --force-reinstall "
            f"'nuhtc[{kind}]'"
        ) from error
    messages: list[str] = []
    version = ".".join(str(module.__version__).split(".")[:3])
    return TensorRt(kind, module, version, _logger(module, messages), messages)


def _preload() -> None:
    """Load the libraries of TensorRT for RTX by name, so that its bindings find them loaded."""
    if importlib.util.find_spec("tensorrt_rtx_libs") is not None:
        return  # NVIDIA's own wheel of libraries, which the bindings load themselves
    spec = importlib.util.find_spec("onnxruntime_ep_nv_tensorrt_rtx")
    for place in (spec.submodule_search_locations or ()) if spec is not None else ():
        for pattern in LIBRARIES:
            for path in sorted(Path(place).glob(pattern)):
                ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)


def _logger(module: Any, messages: list[str]) -> Any:
    severe = (module.ILogger.Severity.INTERNAL_ERROR, module.ILogger.Severity.ERROR)

    class Log(module.ILogger):  # type: ignore[misc]
        """Keeps errors for our own message; TensorRT's warnings are about our intentions."""

        def __init__(self) -> None:
            module.ILogger.__init__(self)

        def log(self, severity: Any, text: str) -> None:
            if severity in severe:
                messages.append(text)

    return Log()


def describe_gpu() -> tuple[str, str]:
    """Return the name and compute capability of the first GPU.

    Raises
    ------
    EngineError
        There is no GPU, no driver, or no PyCUDA.
    """
    try:
        driver = importlib.import_module("pycuda.driver")
    except ModuleNotFoundError as error:
        raise EngineError("PyCUDA is not installed; pip install 'nuhtc[tensorrt]'") from error
    except ImportError as error:
        raise EngineError(
            f"PyCUDA does not load ({error}); install NVIDIA's driver, or choose --engine cpu"
        ) from error
    try:
        driver.init()
        device = driver.Device(0)
        major, minor = device.compute_capability()
        return str(device.name()), f"{major}.{minor}"
    except driver.Error as error:
        raise EngineError(
            f"no NVIDIA GPU is usable here ({error}); check nvidia-smi, or choose --engine cpu"
        ) from error
