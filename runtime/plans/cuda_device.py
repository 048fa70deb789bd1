"""The first NVIDIA GPU: memory, copies, streams and CUDA graphs.

PyCUDA gives the first three. It has no CUDA graphs, so those five calls go to the driver's own
library; its interface is stable.
"""

import contextlib
import ctypes
import importlib
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

from nuhtc.runtime.ground.errors import EngineError
from nuhtc.runtime.plans.tensorrt_module import describe_gpu

CAPTURE_MODE_THREAD_LOCAL = 1
"""Other threads may go on using the GPU while one captures (``CUstreamCaptureMode``)."""


class Device(Protocol):
    """What ``TensorRtGraphs`` asks of a GPU. Memory and streams are opaque."""

    gpu: str
    """its model"""
    compute_capability: str
    """such as 8.9"""

    def current(self) -> contextlib.AbstractContextManager[None]:
        """Let this thread use the GPU within the block."""

    def stream(self) -> Any:
        """Make a stream; its ``handle`` is an address."""

    def allocate(self, size: int) -> Any:
        """Reserve ``size`` bytes on the GPU; ``int`` of it is their address."""

    def pinned(self, size: int) -> NDArray[np.uint8]:
        """Reserve ``size`` bytes here that the GPU can reach while we go on."""

    def upload(self, memory: Any, values: NDArray[Any], stream: Any) -> None:
        """Begin to copy pinned values to the GPU."""

    def download(self, values: NDArray[Any], memory: Any, stream: Any) -> None:
        """Begin to copy from the GPU into pinned values."""

    def wait(self, stream: Any) -> None:
        """Wait until everything begun on a stream is done."""

    def capture(self, work: Callable[[], None], stream: Any) -> Callable[[], None]:
        """Record what ``work`` begins on a stream; the function given back begins all of it."""


class CudaDevice:
    """The first GPU, by PyCUDA.

    Raises
    ------
    EngineError
        There is no GPU, no driver, or no PyCUDA.
    """

    def __init__(self) -> None:
        self.gpu, self.compute_capability = describe_gpu()
        self._driver: Any = importlib.import_module("pycuda.driver")
        # The primary context is the one that TensorRT, too, uses.
        self._context = self._driver.Device(0).retain_primary_context()
        self._library = ctypes.CDLL("libcuda.so.1")

    @contextlib.contextmanager
    def current(self) -> Iterator[None]:
        """See ``Device.current``."""
        self._context.push()
        try:
            yield
        except self._driver.Error as error:
            raise EngineError(f"{self.gpu}: CUDA failed ({error})") from error
        finally:
            self._context.pop()

    def stream(self) -> Any:
        """See ``Device.stream``."""
        return self._driver.Stream()

    def allocate(self, size: int) -> Any:
        """See ``Device.allocate``."""
        return self._driver.mem_alloc(size)

    def pinned(self, size: int) -> NDArray[np.uint8]:
        """See ``Device.pinned``."""
        array: NDArray[np.uint8] = self._driver.pagelocked_empty(size, np.uint8)
        return array

    def upload(self, memory: Any, values: NDArray[Any], stream: Any) -> None:
        """See ``Device.upload``."""
        self._driver.memcpy_htod_async(memory, values, stream)

    def download(self, values: NDArray[Any], memory: Any, stream: Any) -> None:
        """See ``Device.download``."""
        self._driver.memcpy_dtoh_async(values, memory, stream)

    def wait(self, stream: Any) -> None:
        """See ``Device.wait``."""
        stream.synchronize()

    def capture(self, work: Callable[[], None], stream: Any) -> Callable[[], None]:
        """See ``Device.capture``."""
        handle = ctypes.c_void_p(stream.handle)
        self._call("cuStreamBeginCapture_v2", handle, ctypes.c_int(CAPTURE_MODE_THREAD_LOCAL))
        graph, ready = ctypes.c_void_p(), ctypes.c_void_p()
        try:
            work()
        finally:
            # Whatever happened, the stream must leave capture.
            self._call("cuStreamEndCapture", handle, ctypes.byref(graph))
        self._call("cuGraphInstantiateWithFlags", ctypes.byref(ready), graph, ctypes.c_ulonglong(0))
        self._call("cuGraphDestroy", graph)
        return lambda: self._call("cuGraphLaunch", ready, handle)

    def _call(self, name: str, *arguments: Any) -> None:
        code = getattr(self._library, name)(*arguments)
        if code != 0:
            raise EngineError(f"{self.gpu}: CUDA failed ({name} gives error {code})")


def view(pinned: NDArray[np.uint8], shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """Return the first bytes of a pinned buffer as an array."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return pinned[:size].view(dtype).reshape(shape)
