"""Checkpoints: weights and what they are, as plain tensors and plain values.

A file is written whole or not at all, and read with ``weights_only=True``: nothing in it
can run. ``model.pt`` holds what export needs; ``last.pt`` holds what a resumed run needs
besides.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nuhtc.runtime.bundle.card import DataSource, NucleusClass
from nuhtc.runtime.ground.errors import CheckpointError, OutputError
from nuhtc.runtime.ground.whole_files import whole_file
from nuhtc.training.checkpoints.fit import check_fit
from nuhtc.training.checkpoints.info import CheckpointInfo
from nuhtc.training.checkpoints.tensors_only import load_tensors
from nuhtc.training.network.nuhtc import NuHTC
from nuhtc.training.network.presets import PRESETS, Preset

FORMAT = "nuhtc-checkpoint"
VERSION = 1


def save(path: Path, info: CheckpointInfo, weights: dict[str, Tensor], **more: Any) -> None:
    """Write a checkpoint whole or not at all.

    Parameters
    ----------
    path
        The file.
    info
        What the weights are.
    weights
        The network's ``state_dict``.
    more
        Further tensors, numbers and containers of them (optimiser, counters).

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    content = {
        "format": FORMAT,
        "version": VERSION,
        "info": _plain(asdict(info)),
        "state_dict": weights,
        **more,
    }
    try:
        with whole_file(path) as partial, partial.open("wb") as file:
            torch.save(content, file)
    except RuntimeError as error:  # PyTorch's writer makes one of a full disk
        raise OutputError(f"{path}: cannot be written ({error})") from error


def _plain(value: Any) -> Any:
    """Turn tuples into lists, all the way down."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def is_ours(content: object) -> bool:
    """Tell whether what a file holds was written by nuhtc-train."""
    return isinstance(content, dict) and content.get("format") == FORMAT


def read(path: Path) -> tuple[CheckpointInfo, dict[str, Any]]:
    """Read a checkpoint: its description, and everything in the file.

    Raises
    ------
    CheckpointError
        The file is missing, damaged, or no checkpoint of ours.
    """
    return parse(path, load_tensors(path))


def parse(path: Path, content: Any) -> tuple[CheckpointInfo, dict[str, Any]]:
    """Return the description that a file's content has, and the content.

    Parameters
    ----------
    path
        Where it is from, for messages.
    content
        From `nuhtc.training.checkpoints.tensors_only.load_tensors`.

    Raises
    ------
    CheckpointError
        It is incomplete, or no checkpoint of ours.
    """
    if not is_ours(content):
        raise CheckpointError(f"{path}: no checkpoint written by nuhtc-train")
    try:
        newer = content["version"] > VERSION
        info = None if newer else _info(content["info"])
        weights = content["state_dict"]
        complete = isinstance(weights, dict) and all(
            isinstance(value, Tensor) for value in weights.values()
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{path}: damaged; its description is incomplete") from error
    if info is None:
        raise CheckpointError(f"{path}: written by a newer nuhtc; update this one")
    if not complete:
        raise CheckpointError(f"{path}: damaged; its weights are missing or not all tensors")
    return info, content


def _info(raw: dict[str, Any]) -> CheckpointInfo:
    """Return the description, back from plain values."""
    return CheckpointInfo(
        preset=raw["preset"],
        classes=tuple(NucleusClass(c["name"], tuple(c["color"])) for c in raw["classes"]),
        data=tuple(DataSource(**item) for item in raw["data"]),
        metrics=tuple(
            (name, tuple((key, value) for key, value in values)) for name, values in raw["metrics"]
        ),
        steps=raw["steps"],
    )


def load_network(path: Path) -> tuple[NuHTC, Preset, CheckpointInfo]:
    """Return the network of a checkpoint, with its weights, in evaluation mode.

    Raises
    ------
    CheckpointError
        The file cannot be used.
    """
    info, content = read(path)
    preset = preset_of(path, info)
    network = preset.build(len(info.classes))
    load_weights(network, content["state_dict"], path)
    return network.eval(), preset, info


def preset_of(path: Path, info: CheckpointInfo) -> Preset:
    """Return the preset that weights are for.

    Raises
    ------
    CheckpointError
        This program does not know it.
    """
    if info.preset not in PRESETS:
        raise CheckpointError(f"{path}: preset {info.preset} is not known; update nuhtc")
    return PRESETS[info.preset]


def load_weights(network: NuHTC, weights: dict[str, Tensor], path: Path) -> None:
    """Load weights that must fit the network exactly.

    Raises
    ------
    CheckpointError
        A tensor is missing, unknown, of another shape or not finite; the message lists them.
    """
    shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    check_fit(path, weights, shapes)
    network.load_state_dict(weights)
