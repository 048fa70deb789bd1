"""Checkpoints of either kind, ours or published, as a network and what it is."""

from dataclasses import replace
from pathlib import Path

from nuhtc.runtime.bundle.card import DataSource, NucleusClass
from nuhtc.runtime.ground.errors import CheckpointError
from nuhtc.training.checkpoints import checkpoint
from nuhtc.training.checkpoints.info import CheckpointInfo
from nuhtc.training.checkpoints.published import PRESET, Published, load_published
from nuhtc.training.checkpoints.tensors_only import load_tensors
from nuhtc.training.data.classes import PANNUKE, _colored
from nuhtc.training.network.nuhtc import NuHTC
from nuhtc.training.network.presets import Preset


def is_ours(path: Path) -> bool:
    """Whether a file was written by nuhtc-train; if not, it may be a published one.

    Raises
    ------
    CheckpointError
        The file is missing, damaged, or holds more than tensors and plain values.
    """
    content = load_tensors(path)
    return isinstance(content, dict) and content.get("format") == checkpoint.FORMAT


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
    if is_ours(path):
        network, found, info = checkpoint.load_network(path)
        check_preset(path, found.name, preset)
    else:
        check_preset(path, PRESET.name, preset)
        network, published = load_published(path)
        found = PRESET
        info = CheckpointInfo(
            preset=PRESET.name,
            classes=classes or _classes_of(path, published),
            data=_unknown_data(path),
        )
    if classes is not None:
        if len(classes) != network.classes:
            raise CheckpointError(
                f"{path}: the network has {network.classes} classes, --classes names {len(classes)}"
            )
        info = replace(info, classes=classes)
    return network, found, info


def data_of(path: Path) -> tuple[DataSource, ...]:
    """The data that a checkpoint learned from, as far as it says.

    Raises
    ------
    CheckpointError
        The file cannot be read.
    """
    return checkpoint.read(path)[0].data if is_ours(path) else _unknown_data(path)


def _unknown_data(path: Path) -> tuple[DataSource, ...]:
    return (DataSource(f"{path.stem} (a published checkpoint)", "unknown", "unknown"),)


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
    """The classes that a published file names."""
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
