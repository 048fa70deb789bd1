"""The engine asked for, or the fastest that works here."""

import logging
from collections.abc import Callable
from typing import Final

from nuhtc.runtime.bundle.load import Bundle
from nuhtc.runtime.engines.cascade import CascadeEngine
from nuhtc.runtime.engines.graphs import Graphs
from nuhtc.runtime.engines.names import AUTO_ORDER, ENGINES, GPU_ENGINES, PRECISIONS, PRECISIONS_OF
from nuhtc.runtime.ground.errors import EngineError, UsageError

LOG = logging.getLogger(__name__)


def open_engine(
    bundle: Bundle, name: str = "auto", precision: str = "auto", threads: int = 0
) -> CascadeEngine:
    """Load a bundle's graphs into the engine asked for.

    ``auto`` takes a GPU before a CPU, and on a CPU ONNX Runtime, or OpenVINO for what only that
    computes in. Its precision is the bundle's fp16 on a GPU and fp32 otherwise: bf16 has no
    proof of parity in the bundle, and int8 costs accuracy, so both must be named.

    Parameters
    ----------
    bundle
        A checked bundle.
    name
        One of ENGINES.
    precision
        One of PRECISIONS.
    threads
        CPU threads of the engine; 0 takes every core.

    Raises
    ------
    BundleError
        The bundle has no graphs of this precision.
    EngineError
        The engine named does not work here, or cannot load the graphs.
    UsageError
        Engine or precision is not known, or the engine does not compute in this precision.
    """
    if name not in ENGINES:
        raise UsageError(f"no engine is called {name!r}; choose from {', '.join(ENGINES)}")
    if precision not in PRECISIONS:
        raise UsageError(
            f"no precision is called {precision!r}; choose from {', '.join(PRECISIONS)}"
        )
    if name == "auto":
        return _open_fastest(bundle, precision, threads)
    chosen = _precision(bundle, name, precision)
    if chosen is None:
        raise UsageError(
            f"--engine {name} does not compute in {precision}; it has "
            f"{', '.join(PRECISIONS_OF[name])}"
        )
    graphs = _BACKENDS[name](bundle, chosen, threads)
    return CascadeEngine(bundle.card, graphs, chosen, "named")


def _open_fastest(bundle: Bundle, precision: str, threads: int) -> CascadeEngine:
    failures: dict[str, EngineError] = {}
    for name, reason in AUTO_ORDER:
        chosen = _precision(bundle, name, precision)
        if chosen is None:
            continue
        try:
            graphs = _BACKENDS[name](bundle, chosen, threads)
        except EngineError as error:
            failures[name] = error
            LOG.info("not taken: %s", error)
            continue
        if failures:
            reason += f"; not taken: {' / '.join(map(str, failures.values()))}"
        return CascadeEngine(bundle.card, graphs, chosen, reason)
    # The CPU needs nothing that could be missing, so what it says is the bundle's fault.
    if "cpu" in failures:
        raise failures["cpu"]
    raise EngineError("; ".join(map(str, failures.values())))


def _precision(bundle: Bundle, engine: str, precision: str) -> str | None:
    """Return the precision to open an engine with, None if it does not have the one named."""
    if precision != "auto":
        return precision if precision in PRECISIONS_OF[engine] else None
    stored = bundle.card.precisions
    if engine in GPU_ENGINES and "fp16" in stored:
        return "fp16"
    return "fp32" if "fp32" in stored else next(iter(stored))


def _onnxruntime(engine: str) -> Callable[[Bundle, str, int], Graphs]:
    def load(bundle: Bundle, precision: str, threads: int) -> Graphs:
        from nuhtc.runtime.engines.onnxruntime import OnnxRuntimeGraphs

        return OnnxRuntimeGraphs(bundle, precision, threads, engine)

    return load


def _openvino(bundle: Bundle, precision: str, threads: int) -> Graphs:
    from nuhtc.runtime.engines.openvino import OpenVinoGraphs

    return OpenVinoGraphs(bundle, precision, threads)


def _tensorrt(bundle: Bundle, precision: str, threads: int) -> Graphs:
    from nuhtc.runtime.engines.tensorrt import TensorRtGraphs

    return TensorRtGraphs(bundle, precision)


_BACKENDS: Final[dict[str, Callable[[Bundle, str, int], Graphs]]] = {
    "tensorrt-rtx": _onnxruntime("tensorrt-rtx"),
    "cuda": _onnxruntime("cuda"),
    "tensorrt": _tensorrt,
    "openvino": _openvino,
    "cpu": _onnxruntime("cpu"),
}
