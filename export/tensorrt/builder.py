"""One graph to one plan by TensorRT's own parser and builder.

Networks are strongly typed: each layer computes in the precision that the graph gives it, so
an fp16 plan is built from fp16 graphs and an int8 plan from graphs with Q and DQ. TensorRT 11
knows no other kind; in TensorRT 10 it is a flag.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nuhtc.runtime.ground.errors import EngineError
from nuhtc.runtime.ground.whole_files import whole_file
from nuhtc.runtime.plans.plan import Span
from nuhtc.runtime.plans.tensorrt_module import TensorRt, describe_gpu

RTX_CAPABILITIES = ("8.0", "8.6", "8.9", "12.0")
"""What TensorRT for RTX builds for unless told otherwise: Ampere to Blackwell."""

GPUS = {"this": "NONE", "capability": "SAME_COMPUTE_CAPABILITY", "ampere+": "AMPERE_PLUS"}
"""``HardwareCompatibilityLevel`` by what the command line calls it."""


@dataclass(frozen=True)
class BuildTarget:
    """What plans are for."""

    gpus: str = "this"
    """of GPUS; TensorRT only"""
    compute_capabilities: tuple[str, ...] = RTX_CAPABILITIES
    """TensorRT for RTX only"""
    version_compatible: bool = False
    """whether later versions may run them; TensorRT only"""
    workspace: int | None = None
    """most bytes of scratch memory on the GPU; None leaves it to TensorRT"""
    timing_cache: Path | None = None
    """remembers how fast kernels were; TensorRT only"""


@dataclass(frozen=True)
class Destination:
    """The target as a plan's card says it."""

    gpu: str
    compute_capabilities: tuple[str, ...]
    compatibility: str


def destination(tensorrt: TensorRt, target: BuildTarget) -> Destination:
    """Return what plans will run on.

    Raises
    ------
    EngineError
        The target asks for something that this TensorRT does not do, or there is no GPU and
        this TensorRT needs one to build.
    """
    if tensorrt.kind == "tensorrt-rtx":
        wrong = {
            "--tensorrt-gpus": target.gpus != "this",
            "--tensorrt-version-compatible": target.version_compatible,
            "--tensorrt-timing-cache": target.timing_cache is not None,
        }
        if any(wrong.values()):
            given = ", ".join(name for name, is_given in wrong.items() if is_given)
            raise EngineError(f"{given}: for --tensorrt tensorrt only, not for TensorRT for RTX")
        known = tensorrt.module.ComputeCapability.__members__
        for text in target.compute_capabilities:
            if _sm(text) not in known:
                names = ", ".join(f"{n[2:-1]}.{n[-1]}" for n in known if n.startswith("SM"))
                raise EngineError(
                    f"TensorRT for RTX {tensorrt.version} does not build for compute capability "
                    f"{text}; choose from {names}"
                )
        return Destination("", target.compute_capabilities, "listed")
    if target.compute_capabilities != RTX_CAPABILITIES:
        raise EngineError(
            "--tensorrt-compute-capabilities: for TensorRT for RTX only; TensorRT builds for "
            "the GPU that it runs on"
        )
    gpu, capability = describe_gpu()
    return Destination(gpu, (capability,), GPUS[target.gpus].lower())


def build_plan(
    tensorrt: TensorRt, graph: bytes, name: str, spans: Mapping[str, Span], target: BuildTarget
) -> bytes:
    """Parse a graph and build its plan.

    Parameters
    ----------
    tensorrt
        A loaded module.
    graph
        ONNX, prepared for the parser.
    name
        What messages call it.
    spans
        The open first side of each input.
    target
        What the plan is for.

    Raises
    ------
    EngineError
        TensorRT cannot take a layer, or cannot build; says which layer and why.
    """
    trt = tensorrt.module
    tensorrt.messages.clear()
    builder = trt.Builder(tensorrt.log)
    flags = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    network = builder.create_network(0 if flags is None else 1 << int(flags))
    parser = trt.OnnxParser(network, tensorrt.log)
    if not parser.parse(graph):
        raise EngineError(f"{name}: {_refusal(parser)}")
    config = builder.create_builder_config()
    if target.workspace is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, target.workspace)
    if tensorrt.kind == "tensorrt-rtx":
        config.num_compute_capabilities = len(target.compute_capabilities)
        for index, text in enumerate(target.compute_capabilities):
            capability = getattr(trt.ComputeCapability, _sm(text))
            config.set_compute_capability(capability, index)
    else:
        level = getattr(trt.HardwareCompatibilityLevel, GPUS[target.gpus], None)
        if level is None:
            raise EngineError(
                f"--tensorrt-gpus {target.gpus}: TensorRT {tensorrt.version} has no such level; "
                "update it, or choose another"
            )
        config.hardware_compatibility_level = level
        if target.version_compatible:
            config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
    cache = _timing_cache(config, target.timing_cache)
    profile = builder.create_optimization_profile()
    for index in range(network.num_inputs):
        given = network.get_input(index)
        span, rest = spans[given.name], tuple(given.shape)[1:]
        profile.set_shape(given.name, (span.least, *rest), (span.best, *rest), (span.most, *rest))
    config.add_optimization_profile(profile)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        # Without a driver TensorRT for RTX also reports that, which is no reason here.
        reasons = [text for text in tensorrt.messages if "CUDA driver version" not in text]
        reason = _one_line(reasons[0]) if reasons else "it gives no reason"
        raise EngineError(f"{name}: {tensorrt.kind} cannot build it ({reason})")
    if cache is not None and target.timing_cache is not None:
        with whole_file(target.timing_cache) as path:
            path.write_bytes(bytes(cache.serialize()))
    return bytes(plan)


def _timing_cache(config: Any, path: Path | None) -> Any:
    if path is None:
        return None
    try:
        content = path.read_bytes() if path.exists() else b""
    except OSError as error:
        raise EngineError(f"{path}: cannot be read ({error.strerror})") from error
    cache = config.create_timing_cache(content)
    if cache is None or not config.set_timing_cache(cache, False):
        raise EngineError(
            f"{path}: no timing cache of this TensorRT and GPU; remove it or choose another file"
        )
    return cache


def _refusal(parser: Any) -> str:
    """Return the first layer that the parser does not take, and its reason."""
    if parser.num_errors == 0:
        return "the parser refuses it and gives no reason"
    error = parser.get_error(0)
    operator = getattr(error, "node_operator", str)() or "layer"
    lines = [line for line in error.desc().splitlines() if not line.startswith("Invalid Node")]
    reason = _one_line(" ".join(lines) or error.desc())
    return f"TensorRT's parser does not take {operator} {error.node_name()!r}: {reason}"


def _one_line(text: str) -> str:
    short = " ".join(text.split())
    return short if len(short) <= 300 else f"{short[:297]}..."


def _sm(capability: str) -> str:
    return f"SM{capability.replace('.', '')}"
