"""ONNX Runtime: a bundle's graphs on the CPU, CUDA or TensorRT for RTX."""

from pathlib import Path
from typing import Any, cast

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from nuhtc.runtime.bundle.card import FEATURES, GRAPHS
from nuhtc.runtime.bundle.load import Bundle
from nuhtc.runtime.engines.graphs import Trunk, check_classes
from nuhtc.runtime.engines.providers import CPU_EP, Provider, find_provider
from nuhtc.runtime.ground.errors import EngineError, first_line

onnxruntime.disable_telemetry_events()


class OnnxRuntimeGraphs:
    """A bundle's graphs in ONNX Runtime; features stay on the device, in its buffers.

    Parameters
    ----------
    bundle
        A checked bundle.
    precision
        Whose graphs to load.
    threads
        CPU threads; 0 takes every core.
    engine
        ``cpu``, ``cuda`` or ``tensorrt-rtx``.

    Raises
    ------
    BundleError
        The bundle has no graphs of this precision.
    EngineError
        The engine does not work here, cannot load the graphs, or they are not the card's.
    """

    def __init__(
        self, bundle: Bundle, precision: str = "fp32", threads: int = 0, engine: str = "cpu"
    ) -> None:
        self.name = engine
        paths = [bundle.graph(name, precision) for name in GRAPHS]
        self._provider = find_provider(engine)
        self._trunk, self._heads, self._masks = (
            _session(path, self._provider, threads) for path in paths
        )
        shape = next(o.shape for o in self._heads.get_outputs() if o.name == "probabilities")
        check_classes(bundle, shape[-1])

    def trunk(self, tiles: NDArray[np.uint8]) -> Trunk:
        """Run the trunk; see ``Graphs.trunk``."""
        found = self._call(self._trunk, {"tiles": tiles}, kept=FEATURES)
        return Trunk(
            {key: found[key] for key in FEATURES},
            found["boxes"].numpy(),
            found["scores"].numpy(),
            found["levels"].numpy(),
            found["foreground"].numpy(),
        )

    def heads(
        self, features: object, regions: NDArray[np.float32], region_tile: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Run the box stages; see ``Graphs.heads``."""
        found = self._call(self._heads, _inputs(features, regions, region_tile))
        return found["boxes"].numpy(), found["probabilities"].numpy()

    def masks(
        self, features: object, regions: NDArray[np.float32], region_tile: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Run the mask stages; see ``Graphs.masks``."""
        found = self._call(self._masks, _inputs(features, regions, region_tile))
        return cast(NDArray[np.float32], found["masks"].numpy())

    def _call(
        self, session: Any, inputs: dict[str, Any], kept: tuple[str, ...] = ()
    ) -> dict[str, Any]:
        """Return outputs by name, those ``kept`` on the device and the others in CPU memory."""
        device = self._provider.device
        binding = session.io_binding()
        for name, value in inputs.items():
            if isinstance(value, np.ndarray):
                value = onnxruntime.OrtValue.ortvalue_from_numpy(value)
            binding.bind_ortvalue_input(name, value)
        names = [output.name for output in session.get_outputs()]
        for name in names:
            binding.bind_output(name, device if name in kept else "cpu")
        try:
            session.run_with_iobinding(binding)
        except Exception as error:  # ONNX Runtime raises many kinds, without a common root
            raise EngineError(f"ONNX Runtime failed ({first_line(error)})") from error
        return dict(zip(names, binding.get_outputs(), strict=True))


def _inputs(
    features: object, regions: NDArray[np.float32], region_tile: NDArray[np.int64]
) -> dict[str, Any]:
    return {
        **cast(dict[str, Any], features),
        "regions": regions,
        "region_tile": region_tile,
    }


def _session(path: Path, provider: Provider, threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    # Each graph has its own threads, which by default spin for a while after a call and so
    # take the cores from the next graph's. lite0's whole tile on two cores: 203 ms as it comes,
    # 126 without spinning, 101 with one pool for the whole process, 104 like this, which
    # leaves other users of ONNX Runtime in the process alone.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    wanted = provider.execution_provider
    try:
        if provider.plugin_devices:
            options.add_provider_for_devices(list(provider.plugin_devices), provider.options)
            session = onnxruntime.InferenceSession(str(path), options)
        else:
            providers: list[Any] = [(wanted, provider.options)]
            if wanted != CPU_EP:
                providers.append(CPU_EP)
            session = onnxruntime.InferenceSession(str(path), options, providers=providers)
    except Exception as error:  # as above
        raise EngineError(
            f"{path}: ONNX Runtime cannot load it ({first_line(error)}); export the model again"
        ) from error
    # Where CUDA's libraries or its driver are missing, ONNX Runtime quietly takes the CPU.
    if wanted not in session.get_providers():
        raise EngineError(
            f"{provider.engine}: ONNX Runtime found no usable GPU and fell back to the CPU; see "
            "what `nvidia-smi` lists, or name --engine cpu"
        )
    return session
