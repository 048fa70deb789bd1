"""TensorRT in a process of its own, as in real use.

Its libraries are large, have threads of their own and one logger for the whole process; what
goes wrong in there must not reach the tests after it. Everything here runs in that process:
functions that take and give what can be pickled.
"""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing import get_context
from typing import Any, TypeVar

from nuhtc.export.tensorrt import builder as tensorrt_builder
from nuhtc.export.tensorrt.builder import BuildTarget, Destination
from nuhtc.runtime.plans.plan import Span
from nuhtc.runtime.plans.tensorrt_module import TensorRt, load_tensorrt

Result = TypeVar("Result")


class Elsewhere:
    """Calls functions in the other process, which is started by the first call."""

    def __init__(self, pool: ProcessPoolExecutor) -> None:
        self._pool = pool

    def __call__(self, work: Callable[..., Result], *arguments: Any) -> Result:
        """Do ``work(*arguments)`` over there; what it raises is raised here."""
        return self._pool.submit(work, *arguments).result()


@contextmanager
def other_process() -> Iterator[Elsewhere]:
    """A fresh Python, not a copy of this one."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        yield Elsewhere(pool)


def load(kind: str) -> TensorRt:
    """TensorRT for RTX; as ``tensorrt``, whose interface is the same, if that is wanted."""
    return replace(load_tensorrt("tensorrt-rtx"), kind=kind)


def version() -> str:
    """The version of TensorRT for RTX."""
    return load_tensorrt("tensorrt-rtx").version


def plan_of(
    kind: str, graph: bytes, name: str, spans: Mapping[str, Span], target: BuildTarget
) -> int:
    """Build a plan; its size in bytes."""
    return len(tensorrt_builder.build_plan(load(kind), graph, name, spans, target))


def target_of(kind: str, target: BuildTarget, gpu: tuple[str, str] | None = None) -> Destination:
    """What plans for a target are for, with this GPU at hand."""
    before = tensorrt_builder.describe_gpu
    if gpu is not None:
        tensorrt_builder.describe_gpu = lambda: gpu
    try:
        return tensorrt_builder.destination(load(kind), target)
    finally:
        tensorrt_builder.describe_gpu = before


def errors_of_a_load() -> tuple[bool, bool, list[str]]:
    """Whether it loads once, and takes its logger, and which of two messages it keeps."""
    found = load_tensorrt("tensorrt-rtx")
    builds = found.module.Builder(found.log) is not None
    found.messages.clear()
    found.log.log(found.module.ILogger.Severity.WARNING, "mind this")
    found.log.log(found.module.ILogger.Severity.ERROR, "this failed")
    return found is load_tensorrt("tensorrt-rtx"), builds, list(found.messages)
