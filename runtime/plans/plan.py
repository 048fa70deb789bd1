"""Plans: engines that TensorRT built from a bundle's graphs, each beside a card of its own.

A plan lies in the bundle's folder ``engines`` as
``<graph>.<precision>.<gpu>.<TensorRT version>.plan``, and beside it the same name with
``.json``. It runs only where it was built for, so the card is checked before TensorRT sees
the plan. Nothing here needs TensorRT or a GPU.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson

from nuhtc.runtime.bundle.card import GRAPHS, STORED, FileDigest, file_digest
from nuhtc.runtime.bundle.load import Bundle
from nuhtc.runtime.ground.errors import EngineError
from nuhtc.runtime.ground.strict_json import build

FORMAT = "nuhtc-plan"
VERSION = 1
FOLDER = "engines"
COMPATIBILITY = ("none", "same_compute_capability", "ampere_plus", "listed")
"""What GPUs a plan is for: its own model; its compute capability; compute capability 8.0 and
later; those with a listed compute capability (TensorRT for RTX)."""
DTYPES = ("uint8", "int32", "int64", "float16", "float32", "bool")
SIDES = ("batch", "regions")
"""Sides of arrays that a plan leaves open."""


@dataclass(frozen=True)
class Span:
    """A side of an array that may change from call to call."""

    least: int
    best: int
    """what TensorRT chose its kernels for"""
    most: int


@dataclass(frozen=True)
class Binding:
    """An array that goes into a plan or comes out of it."""

    name: str
    dtype: str
    """of DTYPES"""
    shape: tuple[int | str, ...]
    """numbers, and SIDES"""


@dataclass(frozen=True)
class Plan:
    """The card of a plan."""

    graph: str
    """trunk, heads or masks"""
    precision: str
    """fp32, fp16 or int8"""
    graph_sha256: str
    """of the graph that it was built from"""
    tensorrt: str
    """tensorrt or tensorrt-rtx"""
    version: str
    """of TensorRT: major.minor.patch"""
    version_compatible: bool
    """whether later versions may run it"""
    gpu: str
    """model that it was built on; empty where it was built without one"""
    compute_capabilities: tuple[str, ...]
    """of the GPU that it was built on, or all that it was built for"""
    compatibility: str
    """of COMPATIBILITY"""
    tile: int
    """side of the tiles in pixels"""
    batch: Span
    regions: Span
    exact_side: float
    """side of a region, in network-input pixels, up to which RoIAlign takes as many samples as
    the graph; 0 where there is no limit"""
    inputs: tuple[Binding, ...]
    outputs: tuple[Binding, ...]
    file: FileDigest
    """of the plan itself"""

    @property
    def name(self) -> str:
        """The plan's file name."""
        return plan_name(self)

    def to_json(self) -> bytes:
        """Return the text of the card."""
        content = {"format": FORMAT, "version_of_format": VERSION, **asdict(self)}
        return orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


@dataclass(frozen=True)
class Here:
    """What a plan would run on."""

    tensorrt: str
    version: str
    gpu: str
    compute_capability: str


def plan_name(plan: Plan) -> str:
    """Return ``<graph>.<precision>.<gpu>.<TensorRT version>.plan``."""
    capabilities = "-".join(f"sm{text.replace('.', '')}" for text in plan.compute_capabilities)
    gpu = {
        "none": re.sub(r"[^a-z0-9]+", "-", plan.gpu.lower()).strip("-"),
        "ampere_plus": "ampere-plus",
    }.get(plan.compatibility, capabilities)
    kind = {"tensorrt": "trt", "tensorrt-rtx": "rtx"}[plan.tensorrt]
    return f"{plan.graph}.{plan.precision}.{gpu}.{kind}-{plan.version}.plan"


def build_command(bundle: Bundle, precision: str, tensorrt: str) -> str:
    """Return the command that builds the plans that are missing."""
    flag = "" if tensorrt == "tensorrt" else f" {tensorrt}"
    return f"nuhtc-export {bundle.folder} --tensorrt{flag} --tensorrt-precision {precision}"


def read_plan(path: Path) -> Plan:
    """Read the card of a plan.

    Parameters
    ----------
    path
        Of the card, ``*.json``.

    Raises
    ------
    EngineError
        It cannot be read, or no ``nuhtc-export`` of this version wrote it.
    """
    try:
        content = orjson.loads(path.read_bytes())
        if content.pop("format") != FORMAT or content.pop("version_of_format") != VERSION:
            raise ValueError("another format")
        return _plan(content)
    except OSError as error:
        raise EngineError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise EngineError(f"{path}: damaged or of another version of nuhtc ({error})") from error


def find_plans(bundle: Bundle, precision: str) -> Iterator[tuple[Path, Plan]]:
    """Give the plans of one precision and their cards, in order of name."""
    for path in sorted((bundle.folder / FOLDER).glob(f"*.{precision}.*.plan")):
        yield path, read_plan(path.with_name(path.name + ".json"))


def misfit(plan: Plan, bundle: Bundle, here: Here) -> str:
    """Return why a plan cannot run here, or nothing where it can."""
    graph = bundle.graph(plan.graph, plan.precision).name
    if plan.graph_sha256 != bundle.card.files[graph].sha256:
        return f"built from another {graph} than the bundle's"
    if plan.tensorrt != here.tensorrt:
        return f"built with {plan.tensorrt}, and this is {here.tensorrt}"
    if plan.version != here.version:
        newer = _numbers(here.version) > _numbers(plan.version)
        if not plan.version_compatible:
            return f"built with {plan.tensorrt} {plan.version}, and this is {here.version}"
        if not newer:
            return f"built with {plan.tensorrt} {plan.version}, later than this one, {here.version}"
    if plan.compatibility == "none" and plan.gpu != here.gpu:
        return f"built for {plan.gpu}, and this is {here.gpu}"
    if plan.compatibility == "ampere_plus":
        if _numbers(here.compute_capability) < (8, 0):
            return f"built for compute capability 8.0 and later, and {here.gpu} has " + (
                here.compute_capability
            )
    elif here.compute_capability not in plan.compute_capabilities:
        return (
            f"built for compute capability {', '.join(plan.compute_capabilities)}, and "
            f"{here.gpu} has {here.compute_capability}"
        )
    return ""


def choose_plans(bundle: Bundle, precision: str, here: Here) -> dict[str, tuple[Path, Plan]]:
    """Return the plan of each graph that runs here, with its file checked.

    Raises
    ------
    EngineError
        A graph has no such plan, plans of the three graphs do not belong together, or a file
        differs from its card. The message gives the reason and the command that builds plans.
    """
    command = build_command(bundle, precision, here.tensorrt)
    chosen: dict[str, tuple[Path, Plan]] = {}
    reasons: list[str] = []
    for path, plan in find_plans(bundle, precision):
        reason = misfit(plan, bundle, here)
        if reason:
            reasons.append(f"{path.name} is {reason}")
        else:
            chosen[plan.graph] = path, plan
    missing = [graph for graph in GRAPHS if graph not in chosen]
    if missing:
        found = "; ".join(reasons) or "none is there"
        raise EngineError(
            f"{bundle.folder / FOLDER}: no {precision} plan of {', '.join(missing)} for {here.gpu} "
            f"and {here.tensorrt} {here.version} ({found}); build them with: {command}"
        )
    plans = [chosen[graph][1] for graph in GRAPHS]
    if len({(plan.tile, plan.batch, plan.regions) for plan in plans}) > 1:
        raise EngineError(
            f"{bundle.folder / FOLDER}: the plans were built for different tiles or batches; "
            f"build them together with: {command}"
        )
    for path, plan in chosen.values():
        if file_digest(path) != plan.file:
            raise EngineError(
                f"{path}: differs from its card, truncated or changed; build it again with: "
                f"{command}"
            )
    return chosen


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def _plan(content: Mapping[str, Any]) -> Plan:
    """Return a plan's card from JSON; TypeError or ValueError for what no export writes."""
    plan: Plan = build(Plan, content, "plan")
    rules = {
        "graph": plan.graph in GRAPHS,
        "precision": plan.precision in STORED,
        "tensorrt": plan.tensorrt in {"tensorrt", "tensorrt-rtx"},
        "version": bool(re.fullmatch(r"\d+\.\d+\.\d+", plan.version)),
        "compute_capabilities": bool(plan.compute_capabilities)
        and all(re.fullmatch(r"\d+\.\d+", text) for text in plan.compute_capabilities),
        "compatibility": plan.compatibility in COMPATIBILITY,
        "tile": plan.tile > 0,
        "batch": 0 < plan.batch.least <= plan.batch.best <= plan.batch.most,
        "regions": 0 < plan.regions.least <= plan.regions.best <= plan.regions.most,
        "inputs and outputs": all(map(_sound, (*plan.inputs, *plan.outputs))),
    }
    broken = [name for name, holds in rules.items() if not holds]
    if broken:
        raise ValueError(f"{', '.join(broken)} as no export writes")
    return plan


def _sound(binding: Binding) -> bool:
    return binding.dtype in DTYPES and all(
        side in SIDES if isinstance(side, str) else side > 0 for side in binding.shape
    )
