"""``nuhtc-export``: a checkpoint to a bundle, with a proof of parity."""

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from nuhtc.export.bundle import write_bundle
from nuhtc.export.parity import LIMITS, Difference, compare
from nuhtc.export.tensorrt import build_engines
from nuhtc.export.tensorrt_options import add_options, options_of
from nuhtc.runtime.bundle import Bundle, load_bundle
from nuhtc.runtime.errors import NuhtcError, SlideError
from nuhtc.training.any_checkpoint import open_checkpoint, parse_classes
from nuhtc.training.errors import TrainingError
from nuhtc.training.info import ClassInfo
from nuhtc.training.presets import PRESETS
from nuhtc.training.published import PRESET


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(
        prog="nuhtc-export",
        description="Turn a checkpoint into a bundle (trunk.onnx, heads.onnx, masks.onnx and "
        "card.json), then run both and report how far they are apart.",
    )
    result.add_argument(
        "checkpoint",
        type=Path,
        help="model.pt of nuhtc-train, or a published checkpoint (.pth); with --tensorrt also a "
        "bundle, to build plans for it where it is",
    )
    result.add_argument("--out", type=Path, metavar="BUNDLE", help="a folder")
    result.add_argument(
        "--preset",
        choices=sorted(PRESETS),
        help="what the checkpoint must be for (default: what it is for; published ones are for "
        f"{PRESET.name})",
    )
    result.add_argument(
        "--classes",
        type=_classes,
        metavar="NAME[=#RRGGBB],...",
        help="names and colours of the classes, in order (default: the checkpoint's own)",
    )
    result.add_argument(
        "--storage",
        choices=("float16", "float32"),
        help="how weights are stored; arithmetic is float32 (default: float32 for "
        f"{PRESET.name}, whose numbers are then the published ones, else float16)",
    )
    result.add_argument(
        "--tiles",
        type=Path,
        metavar="DIR",
        help="pictures to compare on (default: noise and shapes made by code)",
    )
    for name, metavar, meaning in (
        ("feature", "SD", "of features, in standard deviations of each output"),
        ("box", "PX", "of boxes, in tile pixels"),
        ("probability", "P", "of scores, classes and masks"),
    ):
        field = {"feature": "features", "box": "boxes", "probability": "probabilities"}[name]
        defaults = ", ".join(f"{getattr(LIMITS[k], field):g} for {k}" for k in LIMITS)
        result.add_argument(
            f"--max-{name}-difference",
            type=float,
            metavar=metavar,
            dest=field,
            help=f"largest difference {meaning} that passes (default: {defaults})",
        )
    add_options(result)
    result.add_argument("--version", action="version", version=f"nuhtc {version('nuhtc')}")
    return result


def _classes(text: str) -> tuple[ClassInfo, ...]:
    try:
        return parse_classes(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def example_tiles(side: int) -> NDArray[np.uint8]:
    """Two made-up tiles, uint8 (2, side, side, 3): dark discs on pink, and noise."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:side, :side]
    discs = np.full((side, side, 3), (225, 170, 200), np.float64)
    for _ in range(side * side // 1600):
        cx, cy, radius = rng.uniform(0, side), rng.uniform(0, side), rng.uniform(6, 14)
        inside = (x - cx) ** 2 + (y - cy) ** 2 < radius**2
        discs[inside] = rng.uniform((70, 40, 110), (120, 80, 170))
    discs += rng.normal(0, 8, discs.shape)
    noise = rng.integers(0, 256, (side, side, 3))
    return np.stack([discs.clip(0, 255), noise]).astype(np.uint8)


def read_tiles(folder: Path, side: int) -> NDArray[np.uint8]:
    """The middle tile of up to eight pictures of a folder, uint8 (B, side, side, 3).

    Raises
    ------
    SlideError
        The folder has no picture that is large enough and readable.
    """
    endings = {".png", ".jpg", ".jpeg", ".tif", ".tiff"}
    found: list[NDArray[np.uint8]] = []
    for path in sorted(folder.glob("*")) if folder.is_dir() else []:
        if path.suffix.lower() not in endings or len(found) == 8:
            continue
        try:
            with Image.open(path) as picture:
                rgb = np.asarray(picture.convert("RGB"))
        except (OSError, UnidentifiedImageError) as error:
            raise SlideError(f"{path}: cannot be read as a picture ({error})") from error
        y, x = (rgb.shape[0] - side) // 2, (rgb.shape[1] - side) // 2
        if min(x, y) >= 0:
            found.append(rgb[y : y + side, x : x + side])
    if not found:
        raise SlideError(f"{folder}: holds no picture of {side}x{side} pixels or more")
    return np.stack(found)


def table(differences: Sequence[Difference]) -> str:
    """The differences as text, one line for each output."""
    lines = [f"{'output':<22}{'largest':>12}{'mean':>12}{'limit':>10}"]
    lines += [
        f"{d.output:<22}{d.largest:>12.2e}{d.mean:>12.2e}{d.limit:>10.2g}"
        + ("" if d.passes else "  TOO FAR")
        for d in differences
    ]
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``nuhtc-export``; returns the exit code."""
    arguments = parser().parse_args(argv)
    if arguments.tensorrt and (arguments.checkpoint / "card.json").exists():
        return _plans_of_bundle(arguments)
    if arguments.out is None:
        parser().error("the following arguments are required: --out")
    wanted = {
        name: getattr(arguments, name)
        for name in ("features", "boxes", "probabilities")
        if getattr(arguments, name) is not None
    }
    try:
        network, preset, info = open_checkpoint(
            arguments.checkpoint, preset=arguments.preset, classes=arguments.classes
        )
        storage = arguments.storage or ("float32" if preset is PRESET else "float16")
        limits = dataclasses.replace(LIMITS[storage], **wanted)
        tiles = (
            example_tiles(preset.tile)
            if arguments.tiles is None
            else read_tiles(arguments.tiles, preset.tile)
        )

        def close_enough(bundle: Bundle) -> bool:
            differences = compare(network, bundle, preset.inference, tiles, limits)
            print(table(differences))
            passes = all(difference.passes for difference in differences)
            if passes and arguments.tensorrt:
                build_engines(bundle, options_of(arguments), print)
            return passes

        bundle = write_bundle(
            network,
            preset,
            info,
            arguments.out,
            storage=storage,
            accept=close_enough,
        )
    except (NuhtcError, TrainingError) as error:
        print(f"nuhtc-export: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("nuhtc-export: stopped; nothing was written", file=sys.stderr)
        return 130
    if bundle is None:
        print(
            f"nuhtc-export: too far from PyTorch, so {arguments.out} was not written",
            file=sys.stderr,
        )
        return 1
    size = sum(item.size for item in bundle.card.files.values())
    print(f"{bundle.folder}: {size / 1e6:.1f} MB, weights stored as {storage}")
    return 0


def _plans_of_bundle(arguments: argparse.Namespace) -> int:
    """Build plans for a bundle that exists."""
    try:
        build_engines(load_bundle(arguments.checkpoint), options_of(arguments), print)
    except NuhtcError as error:
        print(f"nuhtc-export: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("nuhtc-export: stopped; nothing was written", file=sys.stderr)
        return 130
    return 0
