"""Checkpoints of either kind, ours or published, as a network and what it is."""

from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from nuhtc.runtime.bundle.card import DataSource, NucleusClass
from nuhtc.runtime.ground.errors import CheckpointError
from nuhtc.training.checkpoints import checkpoint
from nuhtc.training.checkpoints.info import CheckpointInfo
from nuhtc.training.checkpoints.published import (
    PRESET,
    Published,
    build_published,
    parse_published,
    published_name,
)
from nuhtc.training.checkpoints.tensors_only import load_tensors
from nuhtc.training.data.classes import PANNUKE, _colored
from nuhtc.training.network.nuhtc import NuHTC
from nuhtc.training.network.presets import Preset


@dataclass(frozen=True)
class CheckpointFile:
    """A checkpoint that was read, once, and what it is."""

    path: Path
    preset: str
    """name of the one that it is for"""
    weights: dict[str, Tensor]
    """under our names"""
    data: tuple[DataSource, ...]
    """what it learned from, as far as it says"""
    info: CheckpointInfo | None
    """None for a published file"""
    published: Published | None
    """None for one of nuhtc-train"""

    def naming(self, name: str) -> str:
        """Return what the file calls a tensor of ours."""
        return name if self.published is None else published_name(name)

    def open(
        self, classes: tuple[NucleusClass, ...] | None
    ) -> tuple[NuHTC, Preset, CheckpointInfo]:
        """Return the network, in evaluation mode, its preset and what it is.

        Parameters
        ----------
        classes
            Names and colours instead of the file's; None takes the file's.

        Raises
        ------
        CheckpointError
            A tensor does not fit; there is another number of classes; or it is a published file
            that does not name its classes, and ``classes`` is None.
        """
        if self.published is not None:
            network = build_published(self.path, self.published)
            named = classes or _classes_of(self.path, self.published)
            preset, info = PRESET, CheckpointInfo(PRESET.name, named, self.data)
        else:
            assert self.info is not None
            preset, info = checkpoint.preset_of(self.path, self.info), self.info
            network = preset.build(len(info.classes))
            checkpoint.load_weights(network, self.weights, self.path)
            network.eval()
        if classes is None:
            return network, preset, info
        if len(classes) != network.classes:
            raise CheckpointError(
                f"{self.path}: the network has {network.classes} classes, --classes names "
                f"{len(classes)}"
            )
        return network, preset, replace(info, classes=classes)


def read_checkpoint(path: Path) -> CheckpointFile:
    """Read a checkpoint of either kind.

    Parameters
    ----------
    path
        A ``model.pt`` of nuhtc-train, or a published ``.pth``.

    Raises
    ------
    CheckpointError
        The file is missing, damaged, holds more than tensors and plain values, or is neither.
    """
    content = load_tensors(path)
    if checkpoint.is_ours(content):
        info, content = checkpoint.parse(path, content)
        return CheckpointFile(path, info.preset, content["state_dict"], info.data, info, None)
    published = parse_published(path, content)
    unknown = DataSource(f"{path.stem} (a published checkpoint)", "unknown", "unknown")
    return CheckpointFile(path, PRESET.name, published.weights, (unknown,), None, published)


def open_checkpoint(
    path: Path, *, preset: str | None = None, classes: tuple[NucleusClass, ...] | None = None
) -> tuple[NuHTC, Preset, CheckpointInfo]:
    """Load the network of a checkpoint of either kind, in evaluation mode.

    Parameters
    ----------
    path
        A ``model.pt`` of nuhtc-train, or a published ``.pth``.
    preset
        The preset that the file must be for; None takes what it is for.
    classes
        Names and colours instead of the file's; None takes the file's.

    Raises
    ------
    CheckpointError
        The file cannot be used, is for another preset, or has another number of classes;
        or it is a published file that does not name its classes, and ``classes`` is None.
    """
    file = read_checkpoint(path)
    check_preset(path, file.preset, preset)
    return file.open(classes)


def check_preset(path: Path, found: str, wanted: str | None) -> None:
    """Refuse a file that is for another preset.

    Raises
    ------
    CheckpointError
        It is; the message names the preset that the file is for.
    """
    if wanted is not None and found != wanted:
        raise CheckpointError(f"{path}: is for --preset {found}, not for {wanted}")


def _classes_of(path: Path, published: Published) -> tuple[NucleusClass, ...]:
    """Return the classes that a published file names."""
    names, colors = published.class_names, published.class_colors
    if names is None:
        example = ",".join(one.name for one in PANNUKE)
        raise CheckpointError(
            f"{path}: does not name its {published.class_count} classes; give them in the order "
            f"they were trained in, as Name or Name=#rrggbb; for PanNuke: --classes {example}"
        )
    if colors is None:
        return _colored(names)
    return tuple(NucleusClass(name, color) for name, color in zip(names, colors, strict=True))
