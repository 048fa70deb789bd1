"""``nuhtc-export``: a checkpoint to a bundle, with a proof of parity."""

import argparse
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from nuhtc.export.cli.tensorrt_options import add_options, options_of
from nuhtc.export.graphs.precisions import Wanted
from nuhtc.export.graphs.write_bundle import check_out, write_bundle
from nuhtc.export.proof.example_tiles import calibration_tiles, compared_tiles
from nuhtc.export.proof.limits import EXACT, HALF, INTEGER, ROUNDED
from nuhtc.export.proof.prove import prove_parity
from nuhtc.export.proof.tune import tune
from nuhtc.export.tensorrt.build import build_engines
from nuhtc.runtime.bundle.archive import is_archive_name
from nuhtc.runtime.bundle.card import PROOF_FILES, STORED, Card
from nuhtc.runtime.bundle.load import Bundle, is_bundle, load_bundle
from nuhtc.runtime.console.command import run_command
from nuhtc.runtime.console.options import checked
from nuhtc.runtime.console.terminal import complain, say
from nuhtc.runtime.ground.errors import EXIT_DONE, EXIT_FAILED
from nuhtc.training.checkpoints.open import open_checkpoint
from nuhtc.training.checkpoints.published import PRESET
from nuhtc.training.data.classes import parse_classes
from nuhtc.training.data.open import open_set
from nuhtc.training.network.presets import PRESETS, Preset

DEFAULTS = (EXACT, ROUNDED, HALF, INTEGER)
"""In the order that --help tells them."""

LIMIT_OPTIONS = {
    "features": ("--max-feature-difference", "SD", "largest, of features, in their deviations"),
    "boxes": ("--max-box-difference", "PX", "largest, of boxes, in tile pixels"),
    "probabilities": ("--max-probability-difference", "P", "largest, of scores and masks"),
    "agreement": ("--min-agreement", "F1", "least agreement on which nuclei there are"),
    "mask_iou": ("--min-mask-iou", "IOU", "least mean IoU of the masks of the same nuclei"),
    "pq_loss": ("--max-pq-loss", "PQ", "most that PQ may lose on any of --data"),
}
"""Every limit and its option."""


PROG = "nuhtc-export"


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    result = argparse.ArgumentParser(
        prog=PROG,
        epilog="Defaults of limits are for fp32 stored as float32, fp32 stored as float16, fp16 "
        "and int8.",
        description="Turn a checkpoint into a bundle (trunk, heads and masks as ONNX, and "
        "card.json), then run both and report how far they are apart.",
    )
    result.add_argument(
        "checkpoint",
        type=Path,
        help="model.pt of nuhtc-train, or a published checkpoint (.pth); with --tensorrt also a "
        "bundle, to build plans for it where it is",
    )
    result.add_argument("--out", type=Path, metavar="BUNDLE", help="a folder, or a .zip")
    result.add_argument(
        "--preset",
        choices=sorted(PRESETS),
        help="what the checkpoint must be for (default: what it is for; published ones are for "
        f"{PRESET.name})",
    )
    result.add_argument(
        "--classes",
        type=checked(parse_classes),
        metavar="NAME[=#RRGGBB],...",
        help="names and colours of the classes, in order (default: the checkpoint's own)",
    )
    for precision, meaning in (
        ("fp32", "graphs that compute in float32 (the default, where none is named)"),
        ("fp16", "graphs that compute in float16, for GPUs; half the size"),
        ("int8", "graphs whose convolutions compute in int8; made for lite0"),
    ):
        result.add_argument(f"--{precision}", action="store_true", help=meaning)
    result.add_argument(
        "--storage",
        choices=("float16", "float32"),
        help="how fp32 stores its weights; arithmetic is float32 (default: float32 for "
        f"{PRESET.name}, whose numbers are then the published ones, else float16)",
    )
    result.add_argument(
        "--calibration",
        type=Path,
        nargs="+",
        default=[],
        metavar="PATH",
        help="folders of pictures, or data sets (their training pictures), that int8 measures "
        "its ranges on (default: tiles made by code, which is worse)",
    )
    result.add_argument(
        "--tiles",
        type=Path,
        nargs="+",
        default=[],
        metavar="PATH",
        help="folders of pictures, or data sets (their held-out pictures), to compare on "
        "(default: noise and shapes made by code)",
    )
    result.add_argument(
        "--data",
        type=Path,
        nargs="+",
        default=[],
        metavar="PATH",
        help="annotated data sets whose held-out pictures PQ and mPQ are measured on",
    )
    result.add_argument(
        "--tune",
        type=Path,
        nargs="+",
        default=[],
        metavar="PATH",
        help="annotated data sets whose held-out pictures choose the least score and the scores' "
        "temperatures, and whose figures the card gets (default: the preset's and the training's)",
    )
    for field, (option, metavar, meaning) in LIMIT_OPTIONS.items():
        defaults = ", ".join(f"{getattr(limits, field):g}" for limits in DEFAULTS)
        result.add_argument(
            option,
            type=float,
            metavar=metavar,
            dest=field,
            help=f"{meaning}, of every precision (defaults: {defaults})",
        )
    add_options(result)
    result.add_argument("--version", action="version", version=f"nuhtc {version('nuhtc')}")
    return result


def _wanted(arguments: argparse.Namespace, preset: Preset) -> Wanted:
    named = tuple(name for name in STORED if getattr(arguments, name))
    storage = arguments.storage or ("float32" if preset is PRESET else "float16")
    if "int8" not in named:
        return Wanted(named or ("fp32",), storage)
    tiles = calibration_tiles(arguments.calibration, preset.tile)
    return Wanted(named, storage, tiles.rgb, tiles.source)


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``nuhtc-export``; returns the exit code."""
    command = parser()
    arguments = command.parse_args(argv)
    stopped = "stopped; nothing was written"
    if arguments.tensorrt and is_bundle(arguments.checkpoint):
        return run_command(PROG, lambda: _plans_of_bundle(arguments), stopped)
    if arguments.out is None:
        command.error("the following arguments are required: --out")
    if arguments.tensorrt and is_archive_name(arguments.out):
        command.error("--tensorrt: plans belong to a machine; give a folder as --out")
    if arguments.calibration and not arguments.int8:
        command.error("--calibration is for --int8; give both or neither")
    return run_command(PROG, lambda: _export(arguments), stopped)


def _export(arguments: argparse.Namespace) -> int:
    """Export a checkpoint, tune it where that is asked for, and prove what came of it."""
    changed = {
        field: getattr(arguments, field)
        for field in LIMIT_OPTIONS
        if getattr(arguments, field) is not None
    }
    check_out(arguments.out)
    network, preset, info = open_checkpoint(
        arguments.checkpoint, preset=arguments.preset, classes=arguments.classes
    )
    tiles = compared_tiles(arguments.tiles, preset.tile)
    data = [open_set(path) for path in arguments.data]
    tuned_on = [open_set(path) for path in arguments.tune]
    wanted = _wanted(arguments, preset)

    def tuned(bundle: Bundle) -> Card:
        return tune(bundle, tuned_on) if tuned_on else bundle.card

    def prove(bundle: Bundle) -> Mapping[str, bytes] | None:
        report = prove_parity(network, preset, bundle, tiles, data, changed)
        say(report.as_text())
        if report.failures():
            return None
        if arguments.tensorrt:
            build_engines(bundle, options_of(arguments), say)
        contents = report.as_json(), report.as_text().encode()
        return dict(zip(PROOF_FILES, contents, strict=True))

    bundle = write_bundle(network, preset, info, arguments.out, wanted, tune=tuned, prove=prove)
    if bundle is None:
        complain(PROG, f"too far from PyTorch, so {arguments.out} was not written")
        return EXIT_FAILED
    size = sum(item.size for item in bundle.card.files.values())
    each = ", ".join(
        f"{name} stored as {graphs.storage}" for name, graphs in bundle.card.precisions.items()
    )
    say(f"{arguments.out}: {size / 1e6:.1f} MB, {each}")
    return EXIT_DONE


def _plans_of_bundle(arguments: argparse.Namespace) -> int:
    """Build plans for a bundle that exists."""
    build_engines(load_bundle(arguments.checkpoint), options_of(arguments), say)
    return EXIT_DONE
