"""What ONNX Runtime computes on: the CPU, CUDA, or TensorRT for RTX through its plugin."""

from dataclasses import dataclass, field
from typing import Any

import onnxruntime

from nuhtc.runtime.ground.errors import EngineError, first_line

CUDA_EP = "CUDAExecutionProvider"
RTX_EP = "NvTensorRTRTXExecutionProvider"
CPU_EP = "CPUExecutionProvider"

CUDA_OPTIONS = {
    # The default tries every algorithm for each new shape, and the number of regions is new
    # in nearly every tile.
    "cudnn_conv_algo_search": "HEURISTIC",
    # float32 graphs compute in float32; who wants speed takes fp16.
    "use_tf32": "0",
}


@dataclass(frozen=True)
class Provider:
    """How sessions are made for one engine, and where what they give stays."""

    engine: str
    """the engine's name, as `--engine` takes it"""
    execution_provider: str
    """ONNX Runtime's name of what must run the graphs"""
    device: str
    """where features stay: ``cpu`` or ``cuda``"""
    options: dict[str, str] = field(default_factory=dict)
    """of the execution provider"""
    plugin_devices: tuple[Any, ...] = ()
    """for a plugin: the devices it runs on, ``OrtEpDevice``"""


def find_provider(engine: str) -> Provider:
    """Return the provider of an engine: ``cpu``, ``cuda`` or ``tensorrt-rtx``.

    Raises
    ------
    EngineError
        A package, a driver or a GPU is missing.
    """
    if engine == "cuda":
        return _cuda()
    if engine == "tensorrt-rtx":
        return _rtx()
    return Provider("cpu", CPU_EP, "cpu")


def _cuda() -> Provider:
    if CUDA_EP not in onnxruntime.get_available_providers():
        raise EngineError(
            "cuda: this ONNX Runtime has no CUDA; pip uninstall onnxruntime, then "
            'pip install "nuhtc[gpu]"'
        )
    # CUDA and cuDNN may have come from pip; the loader does not look there by itself.
    onnxruntime.preload_dlls(msvc=False)
    return Provider("cuda", CUDA_EP, "cuda", CUDA_OPTIONS)


def _rtx() -> Provider:
    try:
        import onnxruntime_ep_nv_tensorrt_rtx as plugin
    except ImportError as error:
        raise EngineError(
            'tensorrt-rtx: the plugin is not installed; pip install "nuhtc[tensorrt-rtx]"'
        ) from error
    devices = _rtx_devices()
    if not devices:
        try:
            onnxruntime.register_execution_provider_library(RTX_EP, plugin.get_library_path())
        except Exception as error:  # ONNX Runtime raises many kinds, without a common root
            raise EngineError(
                f"tensorrt-rtx: its libraries do not load ({first_line(error)}); it needs an "
                "NVIDIA RTX GPU and its driver"
            ) from error
        devices = _rtx_devices()
    if not devices:
        raise EngineError("tensorrt-rtx: no NVIDIA RTX GPU is here; see what `nvidia-smi` lists")
    return Provider("tensorrt-rtx", RTX_EP, "cuda", plugin_devices=devices[:1])


def _rtx_devices() -> tuple[Any, ...]:
    return tuple(one for one in onnxruntime.get_ep_devices() if one.ep_name == RTX_EP)
