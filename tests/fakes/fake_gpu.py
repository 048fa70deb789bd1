"""A GPU and a TensorRT made of arrays: what a test without hardware needs of both.

Memory is an array, a stream is a list of work that is done when someone waits for it, and a
plan is an ONNX graph that ONNX Runtime runs. Nothing begun is visible before the wait, so a
missing wait, a wrong address or a wrong shape gives wrong numbers, as on hardware.
"""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from nuhtc.runtime.plans.tensorrt_module import TensorRt

NOISE = 0xA5
"""What fresh memory holds."""


class Memory:
    def __init__(self, address: int, size: int) -> None:
        self.address = address
        self.bytes = np.full(size, NOISE, np.uint8)

    def __int__(self) -> int:
        return self.address


@dataclass
class Stream:
    handle: int
    work: list[Callable[[], None]] = field(default_factory=list)


class FakeDevice:
    """Implements ``Device``; counts what it was asked for."""

    def __init__(self, gpu: str = "Made-up 4090", compute_capability: str = "8.9") -> None:
        self.gpu, self.compute_capability = gpu, compute_capability
        self.memories: dict[int, Memory] = {}
        self.streams: dict[int, Stream] = {}
        self.captures = self.launches = 0
        self.inside = 0

    @contextlib.contextmanager
    def current(self) -> Iterator[None]:
        self.inside += 1
        try:
            yield
        finally:
            self.inside -= 1

    def stream(self) -> Stream:
        assert self.inside
        made = Stream(len(self.streams) + 1)
        self.streams[made.handle] = made
        return made

    def allocate(self, size: int) -> Memory:
        assert self.inside
        made = Memory((len(self.memories) + 1) << 32, size)
        self.memories[made.address] = made
        return made

    def pinned(self, size: int) -> NDArray[np.uint8]:
        assert self.inside
        return np.full(size, NOISE, np.uint8)

    def upload(self, memory: Memory, values: NDArray[Any], stream: Stream) -> None:
        raw = as_bytes(values)

        def copy() -> None:
            memory.bytes[: raw.size] = raw

        stream.work.append(copy)

    def download(self, values: NDArray[Any], memory: Memory, stream: Stream) -> None:
        raw = as_bytes(values)

        def copy() -> None:
            raw[:] = memory.bytes[: raw.size]

        stream.work.append(copy)

    def wait(self, stream: Stream) -> None:
        work, stream.work = stream.work, []
        for each in work:
            each()

    def capture(self, work: Callable[[], None], stream: Stream) -> Callable[[], None]:
        assert not stream.work, "work under way would be captured"
        work()
        recorded, stream.work = stream.work, []
        self.captures += 1

        def launch() -> None:
            self.launches += 1
            stream.work.extend(recorded)

        return launch


def as_bytes(values: NDArray[Any]) -> NDArray[np.uint8]:
    """The bytes under an array, not a copy."""
    assert values.flags.c_contiguous
    return values.reshape(-1).view(np.uint8)


class Context:
    def __init__(self, engine: "Engine") -> None:
        self.engine = engine
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.addresses: dict[str, int] = {}

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self.shapes[name] = shape
        return name in self.engine.inputs

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return True

    def execute_async_v3(self, handle: int) -> bool:
        if self.engine.module.fails:
            return False
        self.engine.module.executions.append(self.engine.name)
        # TensorRT takes shapes and addresses when it is called, not when it runs.
        shapes, addresses = dict(self.shapes), dict(self.addresses)
        memories = self.engine.module.device.memories

        def work() -> None:
            given = {}
            for name, dtype in self.engine.inputs.items():
                raw = memories[addresses[name]].bytes
                size = int(np.prod(shapes[name])) * dtype.itemsize
                assert size <= raw.size, f"{name} is larger than its memory"
                given[name] = raw[:size].view(dtype).reshape(shapes[name])
            found = self.engine.session.run(self.engine.outputs, given)
            for name, value in zip(self.engine.outputs, found, strict=True):
                raw = as_bytes(np.ascontiguousarray(value))
                memories[addresses[name]].bytes[: raw.size] = raw

        self.engine.module.device.streams[handle].work.append(work)
        return True


TYPES = {
    "tensor(float)": np.dtype(np.float32),
    "tensor(float16)": np.dtype(np.float16),
    "tensor(int64)": np.dtype(np.int64),
    "tensor(uint8)": np.dtype(np.uint8),
}


class Engine:
    def __init__(self, module: Any, plan: bytes) -> None:
        self.module = module
        self.session = onnxruntime.InferenceSession(plan, providers=["CPUExecutionProvider"])
        self.inputs = {item.name: TYPES[item.type] for item in self.session.get_inputs()}
        self.outputs = [item.name for item in self.session.get_outputs()]
        self.name = "trunk" if "tiles" in self.inputs else self.outputs[0]
        self.num_io_tensors = len(self.inputs) + len(self.outputs)

    def get_tensor_name(self, index: int) -> str:
        return [*self.inputs, *self.outputs][index]

    def create_execution_context(self) -> Context:
        return Context(self)


def fake_tensorrt(device: FakeDevice, kind: str, version: str) -> TensorRt:
    """A module whose plans are ONNX graphs; ``module.executions`` lists what ran."""
    messages: list[str] = []
    module = SimpleNamespace(device=device, executions=[], fails=False)

    class Runtime:
        def __init__(self, log: object) -> None:
            self.engine_host_code_allowed = True

        def deserialize_cuda_engine(self, plan: bytes) -> Engine | None:
            assert self.engine_host_code_allowed is False
            if plan.startswith(b"not a plan"):
                messages.append("Magic tag does not match")
                return None
            return Engine(module, plan)

    module.Runtime = Runtime
    return TensorRt(kind, module, version, None, messages)
