"""The engine asked for, or the fastest that works here."""

from nuhtc.runtime.bundle import Bundle
from nuhtc.runtime.engines.cascade import CascadeEngine
from nuhtc.runtime.errors import EngineError

ENGINES = ("auto", "cpu")
"""Names that ``open_engine`` takes."""


def open_engine(
    bundle: Bundle, name: str = "auto", precision: str = "auto", threads: int = 0
) -> CascadeEngine:
    """Load a bundle's graphs into the engine asked for.

    Parameters
    ----------
    bundle
        A checked bundle.
    name
        One of ENGINES; ``auto`` takes the fastest that works here.
    precision
        ``auto``, or one that the bundle has graphs for.
    threads
        CPU threads of the engine; 0 takes every core.

    Raises
    ------
    BundleError
        The bundle has no graphs of this precision.
    EngineError
        The engine is not known, or cannot load the graphs.
    """
    from nuhtc.runtime.engines.onnxruntime import OnnxRuntimeGraphs

    if name not in ENGINES:
        raise EngineError(f"no engine is called {name!r}; choose from {', '.join(ENGINES)}")
    chosen = "fp32" if precision == "auto" else precision
    return CascadeEngine(bundle.card, OnnxRuntimeGraphs(bundle, chosen, threads), chosen)
