"""Plans for a bundle, in the precisions that it has: what ``nuhtc-export --tensorrt`` builds."""

import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from nuhtc.export.tensorrt.builder import BuildTarget, build_plan, destination
from nuhtc.export.tensorrt.int8 import symmetric
from nuhtc.export.tensorrt.rewrite import (
    Arrays,
    Prepared,
    agreement,
    as_declared,
    load,
    prepare,
    run,
    topk_inputs,
)
from nuhtc.export.tensorrt.roi_align import DEFAULT_SAMPLES, UnsupportedNode
from nuhtc.runtime.bundle.card import GRAPHS, file_digest
from nuhtc.runtime.bundle.load import Bundle
from nuhtc.runtime.ground.errors import EngineError, OutputError
from nuhtc.runtime.ground.whole_files import explain
from nuhtc.runtime.plans.plan import FOLDER, Binding, Plan, Span
from nuhtc.runtime.plans.tensorrt_module import load_tensorrt

BATCH = Span(1, 8, 16)

REGIONS = Span(1, 1024, 4096)


@dataclass(frozen=True)
class EngineOptions:
    """What to build."""

    tensorrt: str = "tensorrt"
    """of MODULES"""
    precisions: tuple[str, ...] = ()
    """empty for all that the bundle has"""
    tile: int | None = None
    """side of the tiles in pixels; None takes the bundle's"""
    batch: Span = BATCH
    regions: Span = REGIONS
    samples: int = DEFAULT_SAMPLES
    """most RoIAlign samples per bin side, where the graph adapts their number"""
    target: BuildTarget = field(default_factory=BuildTarget)


LIMITS = {"fp32": 2e-3, "fp16": 0.1, "int8": 0.5}
"""Largest change, in standard deviations of an output, that preparing a graph may make; in int8
a value on the brink between two steps may fall on either side."""

INT8_DRIFT = 0.2
"""Mean change, in standard deviations of an output, that TensorRT's integers may make."""


def build_engines(
    bundle: Bundle, options: EngineOptions, report: Callable[[str], None] = lambda line: None
) -> list[Path]:
    """Build the plans of a bundle into its folder ``engines``, all of them or none.

    Parameters
    ----------
    bundle
        A checked bundle.
    options
        What to build.
    report
        Called with a line for each plan built.

    Returns
    -------
    list of Path
        The plans; the card of each lies beside it.

    Raises
    ------
    EngineError
        TensorRT is missing, cannot take a layer or cannot build.
    BundleError
        The bundle lacks a precision asked for.
    OutputError
        The folder cannot be written.
    """
    tile = options.tile or bundle.card.tile
    if tile % bundle.card.multiple:
        raise EngineError(
            f"--tensorrt-tile {tile}: must be a multiple of {bundle.card.multiple} pixels"
        )
    tensorrt = load_tensorrt(options.tensorrt)
    where = destination(tensorrt, options.target)
    final = bundle.folder / FOLDER
    try:
        final.mkdir(exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=".new.", dir=final))
    except OSError as error:
        raise OutputError(explain(error, final)) from error
    try:
        for precision in options.precisions or tuple(bundle.card.precisions):
            values = _example(tile)
            for graph in GRAPHS:
                source = bundle.graph(graph, precision)
                prepared, inputs, outputs = _prepare(source, graph, values, options, precision)
                values.update(outputs)
                span = {"batch": options.batch, "regions": options.regions}
                open_side = {name: _open_side(name) for name in inputs}
                built = build_plan(
                    tensorrt,
                    prepared.model.SerializeToString(),
                    f"{source.name} in {precision}",
                    {name: span[side] for name, side in open_side.items()},
                    options.target,
                )
                path = work / "plan"
                path.write_bytes(built)
                plan = Plan(
                    graph=graph,
                    precision=precision,
                    graph_sha256=bundle.card.files[source.name].sha256,
                    tensorrt=tensorrt.kind,
                    version=tensorrt.version,
                    version_compatible=options.target.version_compatible,
                    gpu=where.gpu,
                    compute_capabilities=where.compute_capabilities,
                    compatibility=where.compatibility,
                    tile=tile,
                    batch=options.batch,
                    regions=options.regions,
                    exact_side=prepared.exact_side if np.isfinite(prepared.exact_side) else 0.0,
                    inputs=tuple(_binding(name, value) for name, value in inputs.items()),
                    outputs=tuple(_binding(name, value, graph) for name, value in outputs.items()),
                    file=file_digest(path),
                )
                path.rename(work / plan.name)
                (work / f"{plan.name}.json").write_bytes(plan.to_json())
                report(f"{plan.name}: {plan.file.size / 1e6:.1f} MB")
        plans = sorted(path.name for path in work.glob("*.plan"))
        for name in plans:
            (work / name).replace(final / name)
            (work / f"{name}.json").replace(final / f"{name}.json")
    except OSError as error:
        raise OutputError(explain(error, final)) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
        if not any(final.iterdir()):
            final.rmdir()
    return [final / name for name in plans]


def _example(tile: int) -> Arrays:
    """Return two tiles of noise."""
    rng = np.random.default_rng(0)
    return {"tiles": rng.integers(0, 256, (2, tile, tile, 3)).astype(np.uint8)}


def _prepare(
    source: Path, graph: str, values: Arrays, options: EngineOptions, precision: str
) -> tuple[Prepared, Arrays, Arrays]:
    """Return a graph for the parser, what it took and gave; proven equal to the one exported."""
    model = load(source)
    if graph != "trunk":
        values = {**values, **_example_regions(values)}
    inputs = as_declared(model, values)
    if precision == "int8":
        model = _around_zero(model, inputs, source)
    counted = topk_inputs(model)
    before = run(model, inputs, counted)
    counts = {name: int(before.pop(name).ravel()[0]) for name in counted}
    shapes = {name: (_open_side(name), *value.shape[1:]) for name, value in inputs.items()}
    try:
        prepared = prepare(model, shapes, counts, options.samples)
    except UnsupportedNode as error:
        raise EngineError(f"{source.name}: cannot be written for TensorRT: {error}") from error
    after = run(prepared.model, inputs, ())
    gap = agreement(_in_any_order(before), _in_any_order(after))
    if not gap <= LIMITS[precision]:
        raise EngineError(
            f"{source.name}: written for TensorRT it gives other numbers, by {gap:.2g} standard "
            "deviations; this is a fault of nuhtc-export"
        )
    return prepared, inputs, after


def _around_zero(model: onnx.ModelProto, inputs: Arrays, source: Path) -> onnx.ModelProto:
    """Return an int8 graph with TensorRT's coarser integers; proven to be near."""
    result = symmetric(model)
    before, after = (run(one, inputs, ()) for one in (model, result))
    # Boxes are those of the best scores, and with other scores are others.
    drift = max(
        float(np.abs(after[name] - value).mean()) / max(float(value.std()), 1e-6)
        for name, value in before.items()
        if name not in {"boxes", "levels"}
    )
    if not drift <= INT8_DRIFT:
        raise EngineError(
            f"{source.name}: TensorRT's integers change it by {drift:.2g} standard deviations on "
            "average; build fp16 plans, or calibrate on other tiles"
        )
    return result


def _in_any_order(outputs: Arrays) -> Arrays:
    """Return outputs with the trunk's boxes by place: nearly equal scores may change ranks."""
    if "levels" not in outputs:
        return outputs
    return {**outputs, "boxes": np.sort(outputs["boxes"], axis=1)}


def _example_regions(values: Mapping[str, NDArray[np.generic]]) -> Arrays:
    """Return regions of nuclear sizes on both tiles, for which every RoIAlign is exact."""
    rng = np.random.default_rng(1)
    side = values["fine4"].shape[-1] * 4
    size = rng.uniform(4, min(64, side), (32, 2))
    first = rng.uniform(0, side - size)
    regions = np.concatenate([first, first + size], axis=1).astype(np.float32)
    return {"regions": regions, "region_tile": np.arange(32, dtype=np.int64) % 2}


def _open_side(name: str) -> str:
    return "regions" if name in {"regions", "region_tile"} else "batch"


def _binding(name: str, value: NDArray[np.generic], graph: str = "trunk") -> Binding:
    """Return how a card describes an input, or an output of ``graph``."""
    if name == "levels":
        return Binding(name, value.dtype.name, value.shape)
    side = _open_side(name) if graph == "trunk" else "regions"
    return Binding(name, value.dtype.name, (side, *value.shape[1:]))
