"""The options of ``nuhtc-export --tensorrt``."""

import argparse
from pathlib import Path

from nuhtc.export.tensorrt.build import BATCH, REGIONS, EngineOptions
from nuhtc.export.tensorrt.builder import GPUS, RTX_CAPABILITIES, BuildTarget
from nuhtc.export.tensorrt.roi_align import DEFAULT_SAMPLES
from nuhtc.runtime.bundle.card import STORED
from nuhtc.runtime.console.options import names_of, whole
from nuhtc.runtime.plans.plan import Span
from nuhtc.runtime.plans.tensorrt_module import MODULES


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of TensorRT to a command line."""
    group = parser.add_argument_group(
        "TensorRT", "build plans beside the graphs; see docs/tensorrt.md"
    )
    group.add_argument(
        "--tensorrt",
        nargs="?",
        const="tensorrt",
        choices=sorted(MODULES),
        help="which one builds: tensorrt (the default) on the GPU that will run the plans, "
        "tensorrt-rtx on any machine",
    )
    group.add_argument(
        "--tensorrt-precision",
        type=names_of(STORED),
        default=(),
        metavar="P[,P]",
        help=f"of {', '.join(STORED)} (default: all that the bundle has)",
    )
    group.add_argument(
        "--tensorrt-tile", type=int, metavar="PX", help="side of the tiles (default: the bundle's)"
    )
    for name, default, what in (
        ("batch", BATCH, "tiles of a call"),
        ("regions", REGIONS, "regions of a call, of all its tiles"),
    ):
        text = f"{default.least},{default.best},{default.most}"
        group.add_argument(
            f"--tensorrt-{name}",
            type=_span,
            default=default,
            metavar="LEAST,BEST,MOST",
            help=f"{what}: kernels are chosen for the middle one (default: {text})",
        )
    group.add_argument(
        "--tensorrt-samples",
        type=whole(1),
        default=DEFAULT_SAMPLES,
        metavar="N",
        help="most RoIAlign samples per bin side, where their number adapts to the region "
        "(default: %(default)s)",
    )
    group.add_argument(
        "--tensorrt-workspace",
        type=float,
        metavar="GIB",
        help="most scratch memory on the GPU (default: TensorRT's own)",
    )
    group.add_argument(
        "--tensorrt-timing-cache",
        type=Path,
        metavar="FILE",
        help="remember how fast kernels were, for the next build (tensorrt only)",
    )
    group.add_argument(
        "--tensorrt-gpus",
        choices=list(GPUS),
        default="this",
        help="run on this model of GPU, on all of its compute capability, or on Ampere and later "
        "(tensorrt only; default: %(default)s)",
    )
    group.add_argument(
        "--tensorrt-version-compatible",
        action="store_true",
        help="later versions of TensorRT may run the plans, somewhat slower (tensorrt only)",
    )
    group.add_argument(
        "--tensorrt-compute-capabilities",
        type=_capabilities,
        default=RTX_CAPABILITIES,
        metavar="X.Y[,X.Y]",
        help=f"GPUs to build for (tensorrt-rtx only; default: {','.join(RTX_CAPABILITIES)})",
    )


def options_of(arguments: argparse.Namespace) -> EngineOptions:
    """Return what a parsed command line with ``--tensorrt`` asks for."""
    workspace = arguments.tensorrt_workspace
    return EngineOptions(
        tensorrt=arguments.tensorrt,
        precisions=arguments.tensorrt_precision,
        tile=arguments.tensorrt_tile,
        batch=arguments.tensorrt_batch,
        regions=arguments.tensorrt_regions,
        samples=arguments.tensorrt_samples,
        target=BuildTarget(
            gpus=arguments.tensorrt_gpus,
            compute_capabilities=arguments.tensorrt_compute_capabilities,
            version_compatible=arguments.tensorrt_version_compatible,
            workspace=None if workspace is None else int(workspace * 2**30),
            timing_cache=arguments.tensorrt_timing_cache,
        ),
    )


def _span(text: str) -> Span:
    try:
        least, best, most = (int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: three numbers are needed: 1,8,16") from None
    if not 1 <= least <= best <= most:
        raise argparse.ArgumentTypeError(f"{text!r}: must rise from 1 or more")
    return Span(least, best, most)


def _capabilities(text: str) -> tuple[str, ...]:
    parts = tuple(text.split(","))
    if not all(len(p.split(".")) == 2 and p.replace(".", "").isdigit() for p in parts):
        raise argparse.ArgumentTypeError(f"{text!r}: compute capabilities are needed: 8.6,8.9")
    return parts
