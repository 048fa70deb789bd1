"""OpenVINO: a bundle's graphs on the CPU, in float32 or with a bfloat16 trunk."""

from functools import cache
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from nuhtc.runtime.bundle.card import FEATURES, GRAPHS
from nuhtc.runtime.bundle.load import Bundle
from nuhtc.runtime.engines.graphs import Trunk, check_classes
from nuhtc.runtime.ground.errors import EngineError, first_line

# Only OpenVINO's converter reports its use to its maker, and nothing here calls that: the
# core reads ONNX by itself.


class OpenVinoGraphs:
    """A bundle's graphs in OpenVINO; features stay in the trunk's own output buffers.

    Parameters
    ----------
    bundle
        A checked bundle.
    precision
        Whose graphs to load; ``bf16`` takes those of fp32 and computes the trunk in bfloat16.
    threads
        CPU threads; 0 takes every core.

    Raises
    ------
    BundleError
        The bundle has no graphs of this precision.
    EngineError
        OpenVINO is not installed or cannot load the graphs, or this CPU has no bfloat16.
    """

    name = "openvino"

    def __init__(self, bundle: Bundle, precision: str = "fp32", threads: int = 0) -> None:
        stored = "fp32" if precision == "bf16" else precision
        paths = [bundle.graph(name, stored) for name in GRAPHS]
        core = _core()
        if precision == "bf16" and "BF16" not in _capabilities(core):
            raise EngineError(
                "openvino: this CPU has no bfloat16 (AVX-512 BF16 or AMX); use --precision fp32"
            )
        # Heads and masks stay in float32: RoIAlign would round regions in bfloat16 too, and
        # at 256 pixels that moves them by up to 2.
        hints = ("bf16" if precision == "bf16" else "f32", "f32", "f32")
        requests = []
        for path, hint in zip(paths, hints, strict=True):
            settings: dict[str, Any] = {
                # By default OpenVINO takes bfloat16 wherever the CPU has it.
                "INFERENCE_PRECISION_HINT": hint,
                "PERFORMANCE_HINT": "LATENCY",
                "NUM_STREAMS": 1,
            }
            if threads:
                settings["INFERENCE_NUM_THREADS"] = threads
            try:
                compiled = core.compile_model(str(path), "CPU", settings)
            except Exception as error:  # OpenVINO raises RuntimeError and others
                raise EngineError(
                    f"{path}: OpenVINO cannot load it ({_told(error)}); export the model "
                    "again, or use --engine cpu"
                ) from error
            requests.append(compiled.create_infer_request())
        self._trunk, self._heads, self._masks = requests
        classes = _classes(self._heads)
        if classes is not None:
            check_classes(bundle, classes)

    def trunk(self, tiles: NDArray[np.uint8]) -> Trunk:
        """Run the trunk; see ``Graphs.trunk``."""
        _call(self._trunk, {"tiles": tiles})
        return Trunk(
            {name: self._trunk.get_tensor(name) for name in FEATURES},
            *(_copy(self._trunk, name) for name in ("boxes", "scores", "levels", "foreground")),
        )

    def heads(
        self, features: object, regions: NDArray[np.float32], region_tile: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Run the box stages; see ``Graphs.heads``."""
        _call(self._heads, _inputs(features, regions, region_tile))
        return _copy(self._heads, "boxes"), _copy(self._heads, "probabilities")

    def masks(
        self, features: object, regions: NDArray[np.float32], region_tile: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Run the mask stages; see ``Graphs.masks``."""
        _call(self._masks, _inputs(features, regions, region_tile))
        return cast(NDArray[np.float32], _copy(self._masks, "masks"))


def _classes(request: Any) -> int | None:
    """Return how many classes the heads give, None where the graph does not say."""
    last = request.get_compiled_model().output("probabilities").partial_shape[-1]
    return last.get_length() if last.is_static else None


def _told(error: Exception) -> str:
    """Return what OpenVINO says, without the places in its own sources that come first."""
    lines = [line for line in str(error).splitlines() if not line.startswith("Exception from")]
    return first_line(RuntimeError("\n".join(lines)))


@cache
def _core() -> Any:
    """Return the process's one core.

    Each core gives the thread a signal stack of its own and, when it ends, brings back the one
    from before. Of two that do not end in reverse order, the later one brings back memory that
    is no longer there, and the next signal (a child's end, Ctrl-C) kills the process.
    """
    try:
        import openvino
    except ImportError as error:
        raise EngineError('openvino: it is not installed; pip install "nuhtc[openvino]"') from error
    return openvino.Core()


def _capabilities(core: Any) -> list[str]:
    return list(core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"))


def _inputs(
    features: object, regions: NDArray[np.float32], region_tile: NDArray[np.int64]
) -> dict[str, Any]:
    return {
        **cast(dict[str, Any], features),
        "regions": regions,
        "region_tile": region_tile,
    }


def _call(request: Any, inputs: dict[str, Any]) -> None:
    try:
        request.infer(inputs, share_inputs=True)
    except Exception as error:  # as above
        raise EngineError(f"OpenVINO failed ({_told(error)})") from error


def _copy(request: Any, name: str) -> Any:
    # The next call writes into the same memory.
    return np.array(request.get_tensor(name).data)
