r"""The native engine of TensorRT: a bundle's plans on an NVIDIA GPU.

::

    tiles -> pinned -> GPU: trunk -> features, which stay
                                \-> boxes, scores, foreground -> pinned -> here
    regions -> pinned -> GPU: heads, masks on those features -> pinned -> here

There are two sets of buffers, contexts and streams (*lanes*). A lane belongs to the features
that its trunk made until nothing refers to them, so two threads may each have a batch under
way: the copies of one run beside the arithmetic of the other.
"""

import queue
import threading
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nuhtc.runtime.bundle.card import GRAPHS
from nuhtc.runtime.bundle.load import Bundle
from nuhtc.runtime.engines.graphs import Trunk, check_classes
from nuhtc.runtime.ground.errors import EngineError
from nuhtc.runtime.plans.cuda_device import CudaDevice, Device, view
from nuhtc.runtime.plans.layout import (
    Layout,
    check_layout,
    check_tiles,
    most_bytes,
    parts_of,
    shape_of,
)
from nuhtc.runtime.plans.plan import Here, Plan, build_command, choose_plans
from nuhtc.runtime.plans.tensorrt_module import TensorRt, load_tensorrt

LANES = 2
PATIENCE_S = 120.0
"""How long a batch waits for a lane before it says that features are being kept."""


class DeviceFeatures:
    """Features of one batch, on the GPU; dropping the last reference frees their lane."""

    def __init__(self, lane: "_Lane", batch: int) -> None:
        self.lane = lane
        self.batch = batch


class TensorRtGraphs:
    """A bundle's plans in TensorRT.

    Parameters
    ----------
    bundle
        A checked bundle, with plans in its folder ``engines``.
    precision
        Whose plans to load.
    tensorrt
        A TensorRT, loaded; by default ``tensorrt``.
    device
        Where to run; by default the first GPU.

    Raises
    ------
    BundleError
        The bundle has no graphs of this precision.
    EngineError
        TensorRT, the GPU or a plan for them is missing, or a plan does not load; says which
        command mends it.
    """

    name = "tensorrt"

    def __init__(
        self,
        bundle: Bundle,
        precision: str = "fp32",
        tensorrt: TensorRt | None = None,
        device: Device | None = None,
    ) -> None:
        found = tensorrt or load_tensorrt("tensorrt")
        self._device = device or CudaDevice()
        here = Here(found.kind, found.version, self._device.gpu, self._device.compute_capability)
        chosen = choose_plans(bundle, precision, here)
        self._command = build_command(bundle, precision, found.kind)
        self._layout = check_layout({graph: chosen[graph][1] for graph in GRAPHS})
        check_classes(bundle, int(self._layout.answers("heads")["probabilities"].shape[-1]))
        self._free: queue.SimpleQueue[_Lane] = queue.SimpleQueue()
        with self._device.current():
            # Plans live as long as the runtime that loaded them.
            self._runtime = found.module.Runtime(found.log)
            engines = {
                graph: _deserialise(found, self._runtime, *chosen[graph], self._command)
                for graph in GRAPHS
            }
            for _ in range(LANES):
                self._free.put(_Lane(self._device, engines, self._layout))

    def trunk(self, tiles: NDArray[np.uint8]) -> Trunk:
        """Run the trunk; see ``Graphs.trunk``.

        Raises
        ------
        EngineError
            The plans are for other tiles, CUDA fails, or features of LANES earlier batches are
            still in use.
        """
        check_tiles(tiles.shape, self._layout.plans["trunk"], self._command)
        try:
            lane = self._free.get(timeout=PATIENCE_S)
        except queue.Empty:
            raise EngineError(
                f"the features of {LANES} batches are still in use; let go of one before the "
                "next trunk"
            ) from None
        features = DeviceFeatures(lane, len(tiles))
        weakref.finalize(features, self._free.put, lane)
        with self._device.current():
            found = lane.trunk(tiles)
        return Trunk(
            features,
            found["boxes"].astype(np.float32, copy=False),
            found["scores"].astype(np.float32, copy=False),
            found["levels"].astype(np.int64, copy=False),
            found["foreground"].astype(np.float32, copy=False),
        )

    def heads(
        self, features: object, regions: NDArray[np.float32], region_tile: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Run the box stages; see ``Graphs.heads``."""
        found = self._on_regions("heads", features, regions, region_tile)
        return found["boxes"], found["probabilities"]

    def masks(
        self, features: object, regions: NDArray[np.float32], region_tile: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Run the mask stages; see ``Graphs.masks``."""
        return self._on_regions("masks", features, regions, region_tile)["masks"]

    def _on_regions(
        self,
        graph: str,
        features: object,
        regions: NDArray[np.float32],
        region_tile: NDArray[np.int64],
    ) -> dict[str, NDArray[np.float32]]:
        if not isinstance(features, DeviceFeatures):
            raise EngineError(f"{graph}: features must be those of this engine's trunk")
        answers = self._layout.answers(graph)
        # TensorRT is not asked about no regions at all.
        found = {
            name: np.empty(shape_of(item, features.batch, len(regions)), np.float32)
            for name, item in answers.items()
        }
        with self._device.current():
            for first, last, size in parts_of(len(regions), self._layout.plans[graph]):
                part = features.lane.regions(
                    graph, features.batch, regions[first:last], region_tile[first:last], size
                )
                for name, values in part.items():
                    found[name][first:last] = values[: last - first]
        return found


class _Lane:
    """Buffers, contexts and a stream for one batch under way."""

    def __init__(self, device: Device, engines: Mapping[str, Any], layout: Layout) -> None:
        self._device = device
        self._engines = engines
        self._layout = layout
        self._stream = device.stream()
        self._lock = threading.Lock()
        self._contexts: dict[str, Any] = {}
        self._launch: Callable[[], None] | None = None
        self._warm = False
        trunk = layout.plans["trunk"]
        self._features = {
            name: device.allocate(most_bytes(item, trunk)) for name, item in layout.features.items()
        }
        self._pinned: dict[tuple[str, str], NDArray[np.uint8]] = {}
        self._memory: dict[tuple[str, str], Any] = {}
        for graph, plan in layout.plans.items():
            for name, item in {**layout.inputs(graph), **layout.answers(graph)}.items():
                size = most_bytes(item, plan)
                self._pinned[graph, name] = device.pinned(size)
                self._memory[graph, name] = device.allocate(size)

    def trunk(self, tiles: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        """Return copies of the trunk's answers."""
        batch = len(tiles)
        with self._lock:
            self._here("trunk", "tiles", batch, 0)[:] = tiles
            if batch != self._layout.plans["trunk"].batch.best:
                self._begin("trunk", "trunk", batch, 0)
            elif self._launch is not None:
                self._launch()
            else:
                self._begin_fixed(batch)
            return self._finish("trunk", batch, 0)

    def regions(
        self,
        graph: str,
        batch: int,
        regions: NDArray[np.float32],
        region_tile: NDArray[np.int64],
        size: int,
    ) -> dict[str, NDArray[Any]]:
        """Return answers of heads or masks; regions up to ``size`` beyond those given are fill."""
        with self._lock:
            for name, values in (("regions", regions), ("region_tile", region_tile)):
                here = self._here(graph, name, batch, size)
                here[: len(values)] = values
                here[len(values) :] = values[-1]
            self._begin(graph, graph, batch, size)
            return self._finish(graph, batch, size)

    def _begin_fixed(self, batch: int) -> None:
        """Run the batch that plans are made for once, then record it as a CUDA graph.

        The first run lets TensorRT do what cannot be recorded. What is recorded holds on to
        its context, so that context serves nothing else.
        """
        if not self._warm:
            self._begin("trunk", "trunk for a fixed batch", batch, 0)
            self._warm = True
            return
        work = lambda: self._begin("trunk", "trunk for a fixed batch", batch, 0)  # noqa: E731
        self._launch = self._device.capture(work, self._stream)
        self._launch()

    def _begin(self, graph: str, use: str, batch: int, regions: int) -> None:
        """Begin copies up, the plan and copies down, one after the other on the stream."""
        for name in self._layout.inputs(graph):
            here = self._here(graph, name, batch, regions)
            self._device.upload(self._memory[graph, name], here, self._stream)
        context = self._context(graph, use)
        for item in self._layout.plans[graph].inputs:
            if not context.set_input_shape(item.name, shape_of(item, batch, regions)):
                raise EngineError(f"{graph}: TensorRT does not take this shape of {item.name}")
        if not context.execute_async_v3(self._stream.handle):
            raise EngineError(f"{graph}: TensorRT failed to run its plan")
        for name in self._layout.answers(graph):
            here = self._here(graph, name, batch, regions)
            self._device.download(here, self._memory[graph, name], self._stream)

    def _finish(self, graph: str, batch: int, regions: int) -> dict[str, NDArray[Any]]:
        self._device.wait(self._stream)
        # Copies, since the buffers serve the next call.
        return {
            name: self._here(graph, name, batch, regions).copy()
            for name in self._layout.answers(graph)
        }

    def _here(self, graph: str, name: str, batch: int, regions: int) -> NDArray[Any]:
        item = {**self._layout.inputs(graph), **self._layout.answers(graph)}[name]
        return view(self._pinned[graph, name], shape_of(item, batch, regions), item.dtype)

    def _context(self, graph: str, use: str) -> Any:
        """Return the execution context of a use, with every array's address set."""
        if use not in self._contexts:
            context = self._engines[graph].create_execution_context()
            if context is None:
                raise EngineError(
                    f"{graph}: TensorRT cannot make a context; the GPU has too little free memory"
                )
            addresses = dict(self._features)
            for (owner, name), memory in self._memory.items():
                if owner == graph:
                    addresses[name] = memory
            plan = self._layout.plans[graph]
            for item in (*plan.inputs, *plan.outputs):
                context.set_tensor_address(item.name, int(addresses[item.name]))
            self._contexts[use] = context
        return self._contexts[use]


def _deserialise(tensorrt: TensorRt, runtime: Any, path: Path, plan: Plan, command: str) -> Any:
    """Load a plan whose card fits."""
    # A plan that later versions may run brings its own small runtime along, which is code.
    runtime.engine_host_code_allowed = plan.version_compatible
    tensorrt.messages.clear()
    engine = runtime.deserialize_cuda_engine(path.read_bytes())
    if engine is None:
        reason = tensorrt.messages[0] if tensorrt.messages else "it gives no reason"
        raise EngineError(
            f"{path}: TensorRT does not load it ({' '.join(reason.split())}); build it again "
            f"with: {command}"
        )
    names = {engine.get_tensor_name(index) for index in range(engine.num_io_tensors)}
    if names != {item.name for item in (*plan.inputs, *plan.outputs)}:
        raise EngineError(f"{path}: is another plan than its card says; build it with: {command}")
    return engine
