"""``nuhtc-train``: train a preset on folders of annotated pictures."""

import argparse
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import torch

from nuhtc.training import checkpoint, datasets
from nuhtc.training.augment import AugmentSettings
from nuhtc.training.backbone import EfficientNetLite0
from nuhtc.training.checkpoint import CheckpointInfo, ClassInfo, DataInfo
from nuhtc.training.datasets import AnnotatedImage
from nuhtc.training.errors import DataError, TrainingError
from nuhtc.training.loop import Run, TrainingData, TrainSettings
from nuhtc.training.network import NuHTC
from nuhtc.training.presets import PRESETS

CLASS_COLORS = ((255, 255, 0), (0, 255, 0), (255, 0, 0), (0, 176, 255))
"""Other, Inflammatory, Epithelial, Spindle: as viewers colour their like, but spindle cells in a
blue that stands out from haematoxylin."""

KNOWN_DATA = {
    "consep": DataInfo(
        "CoNSeP",
        "no explicit licence; research use only",
        "Graham et al., HoVer-Net, Medical Image Analysis 58, 2019",
    ),
    "monuseg": DataInfo(
        "MoNuSeg 2018",
        "CC BY-NC-SA 4.0",
        "Kumar et al., IEEE Transactions on Medical Imaging 36, 2017",
    ),
    "tnbc": DataInfo(
        "TNBC",
        "CC BY 4.0",
        "Naylor et al., IEEE Transactions on Medical Imaging 38, 2019",
    ),
}

DEFAULTS = TrainSettings()


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(
        prog="nuhtc-train",
        description="Train a network on folders of annotated pictures (images/*.png with "
        "labels/*.npz of the same names). A run that was stopped continues from --out.",
    )
    result.add_argument("--preset", choices=sorted(PRESETS), default="lite0")
    result.add_argument(
        "--data",
        type=Path,
        nargs="+",
        required=True,
        metavar="DIR",
        help="data sets; validation PQ is followed on the first",
    )
    result.add_argument("--out", type=Path, required=True, metavar="DIR", help="the run's folder")
    result.add_argument("--steps", type=int, default=DEFAULTS.steps, help="batches to train")
    result.add_argument("--batch", type=int, default=DEFAULTS.batch, help="tiles per batch")
    result.add_argument("--learning-rate", type=float, default=DEFAULTS.learning_rate)
    result.add_argument("--seed", type=int, default=DEFAULTS.seed)
    result.add_argument(
        "--validate-every", type=int, default=DEFAULTS.validate_every, metavar="STEPS"
    )
    result.add_argument("--save-every", type=int, default=DEFAULTS.save_every, metavar="STEPS")
    result.add_argument(
        "--workers", type=int, default=DEFAULTS.workers, help="processes that prepare tiles"
    )
    result.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="auto", help="auto takes a GPU if any"
    )
    result.add_argument("--no-imagenet", action="store_true", help="start from random weights")
    result.add_argument("--version", action="version", version=f"nuhtc {version('nuhtc')}")
    return result


def read_data(roots: Sequence[Path], classes: int) -> TrainingData:
    """Read every data set, split into training and held-out pictures.

    Raises
    ------
    DataError
        A folder or file cannot be used.
    """
    train: dict[str, list[AnnotatedImage]] = {}
    validation: dict[str, list[AnnotatedImage]] = {}
    for root in roots:
        files = datasets.find_images(root.resolve())
        name = files[0].dataset
        if name in train:
            raise DataError(f"{root}: a data set named {name} was given already")
        train[name] = datasets.load([f for f in files if not datasets.is_validation(f)], classes)
        validation[name] = datasets.load([f for f in files if datasets.is_validation(f)], classes)
        if not train[name]:
            raise DataError(f"{root}: every picture is held out; nothing to train on")
    # Typed pictures teach twice as much, so the first data set is drawn as often as the rest.
    rest = max(1, len(train) - 1)
    weights = {name: 1.0 if i == 0 else 1.0 / rest for i, name in enumerate(train)}
    return TrainingData(train, validation, weights)


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``nuhtc-train``; returns the exit code."""
    command = parser()
    arguments = command.parse_args(argv)
    for name in ("steps", "batch", "validate_every", "save_every"):
        if getattr(arguments, name) < 1:
            command.error(f"--{name.replace('_', '-')} must be 1 or more")
    if arguments.workers < 0:
        command.error("--workers must be 0 or more")
    if not 0 < arguments.learning_rate < 1:
        command.error("--learning-rate must be above 0 and below 1")
    if arguments.device == "cuda" and not torch.cuda.is_available():
        command.error("--device cuda: PyTorch sees no CUDA device here")
    try:
        _train(arguments)
    except TrainingError as error:
        print(f"nuhtc-train: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(
            f"nuhtc-train: stopped; the same command continues from {arguments.out}",
            file=sys.stderr,
        )
        return 130
    return 0


def _train(arguments: argparse.Namespace) -> None:
    cuda = torch.cuda.is_available() and arguments.device != "cpu"
    device = torch.device("cuda" if cuda else "cpu")
    torch.manual_seed(arguments.seed)
    preset = PRESETS[arguments.preset]
    names = datasets.CONSEP_CLASSES
    data = read_data(arguments.data, len(names))
    info = CheckpointInfo(
        preset=preset.name,
        classes=tuple(ClassInfo(n, c) for n, c in zip(names, CLASS_COLORS, strict=True)),
        data=tuple(KNOWN_DATA.get(n, DataInfo(n, "unknown", "unknown")) for n in data.train),
    )
    network = preset.build(len(names))
    if not arguments.no_imagenet:
        load_imagenet(network)
    settings = TrainSettings(
        steps=arguments.steps,
        batch=arguments.batch,
        learning_rate=arguments.learning_rate,
        seed=arguments.seed,
        workers=arguments.workers,
        validate_every=arguments.validate_every,
        save_every=arguments.save_every,
    )
    run = Run(
        preset,
        info,
        network,
        settings,
        AugmentSettings(),
        data,
        arguments.out,
        device,
    )
    counts = ", ".join(
        f"{name} {len(data.train[name])}+{len(data.validation[name])}" for name in data.train
    )
    print(
        f"{preset.name} on {device}: pictures for training + validation: {counts}; "
        f"step {run.step} of {settings.steps}",
        file=sys.stderr,
    )
    run.train(progress=sys.stderr.isatty())
    final, _ = checkpoint.read(arguments.out / "model.pt")
    print(f"{arguments.out / 'model.pt'}: step {final.steps}")
    for name, values in final.metrics:
        print(f"  {name}: " + ", ".join(f"{key} {value:g}" for key, value in values))


def load_imagenet(network: NuHTC) -> None:
    """Start the backbone from ImageNet weights.

    Raises
    ------
    TrainingError
        No package brings ImageNet weights for this backbone.
    """
    if not isinstance(network.backbone, EfficientNetLite0):
        raise TrainingError(
            f"no ImageNet weights for {type(network.backbone).__name__} come with a package; "
            "give --no-imagenet to start from random ones"
        )
    network.backbone.load_imagenet()
