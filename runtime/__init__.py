"""Run a bundle on slides: tiles in, outlines out. Never imports torch.

The names below are the public Python API, described in docs/python.md; each is loaded when it is
first asked for. Everything else may change between versions.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from nuhtc.runtime.api import NucleiStore, load_bundle, open_store, segment
    from nuhtc.runtime.engines.open import open_engine
    from nuhtc.runtime.ground.errors import (
        BundleError,
        EngineError,
        NuhtcError,
        OutputError,
        ReaderError,
        ResolutionError,
        SlideError,
        SlideReadError,
        StoreError,
        UsageError,
    )
    from nuhtc.runtime.slide_nuclei import Outlines, SlideNuclei
    from nuhtc.runtime.slides.open import open_slide

_WHERE: Final[dict[str, str]] = {
    "BundleError": "nuhtc.runtime.ground.errors",
    "EngineError": "nuhtc.runtime.ground.errors",
    "NucleiStore": "nuhtc.runtime.api",
    "NuhtcError": "nuhtc.runtime.ground.errors",
    "Outlines": "nuhtc.runtime.slide_nuclei",
    "OutputError": "nuhtc.runtime.ground.errors",
    "ReaderError": "nuhtc.runtime.ground.errors",
    "ResolutionError": "nuhtc.runtime.ground.errors",
    "SlideError": "nuhtc.runtime.ground.errors",
    "SlideNuclei": "nuhtc.runtime.slide_nuclei",
    "SlideReadError": "nuhtc.runtime.ground.errors",
    "StoreError": "nuhtc.runtime.ground.errors",
    "UsageError": "nuhtc.runtime.ground.errors",
    "load_bundle": "nuhtc.runtime.api",
    "open_engine": "nuhtc.runtime.engines.open",
    "open_slide": "nuhtc.runtime.slides.open",
    "open_store": "nuhtc.runtime.api",
    "segment": "nuhtc.runtime.api",
}
"""Every public name, and the module that has it."""

__all__ = [
    "BundleError",
    "EngineError",
    "NucleiStore",
    "NuhtcError",
    "Outlines",
    "OutputError",
    "ReaderError",
    "ResolutionError",
    "SlideError",
    "SlideNuclei",
    "SlideReadError",
    "StoreError",
    "UsageError",
    "load_bundle",
    "open_engine",
    "open_slide",
    "open_store",
    "segment",
]


def __getattr__(name: str) -> Any:
    """Return a public name, loading its module when it is first asked for."""
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_WHERE[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_WHERE})
