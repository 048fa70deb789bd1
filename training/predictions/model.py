"""Predict whole pictures with a model, whatever the model and the pictures' resolution."""

from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from nuhtc.runtime.bundle.card import NucleusClass
from nuhtc.runtime.bundle.load import is_bundle
from nuhtc.runtime.ground.errors import CheckpointError
from nuhtc.training.checkpoints.open import open_checkpoint
from nuhtc.training.data.images import AnnotatedImage
from nuhtc.training.network.resize import tile_multiple
from nuhtc.training.network.torch_graphs import torch_engine
from nuhtc.training.predictions.prediction import Prediction
from nuhtc.training.predictions.rescale import find_at
from nuhtc.training.predictions.validation import segment


class Model(Protocol):
    """What finds nuclei in a picture at its own resolution."""

    classes: tuple[str, ...]
    mpp: float

    def find(self, rgb: NDArray[np.uint8]) -> Prediction:
        """Find the nuclei of a picture, uint8 (H, W, 3)."""


class Checkpoint:
    """A network as trained, in PyTorch.

    Parameters
    ----------
    path
        A ``model.pt`` from ``nuhtc-train``, or a published ``.pth``.
    device
        Where to run it.
    tile
        Side of a tile in pixels; None takes the preset's.
    classes
        Names instead of the file's.

    Raises
    ------
    CheckpointError
        The file cannot be used, or not with this tile.
    """

    def __init__(
        self,
        path: Path,
        device: torch.device,
        tile: int | None = None,
        classes: tuple[NucleusClass, ...] | None = None,
    ) -> None:
        network, preset, info = open_checkpoint(path, classes=classes)
        self._engine = torch_engine(network.to(device), preset, info.classes)
        self._mask_threshold = preset.detection.mask_threshold
        self._tile = preset.tile if tile is None else tile
        multiple = tile_multiple(preset.network.input_scale)
        if self._tile % multiple:
            raise CheckpointError(f"--tile {tile}: {path} needs a multiple of {multiple} pixels")
        self.mpp = preset.mpp
        self.classes = tuple(one.name for one in info.classes)

    def find(self, rgb: NDArray[np.uint8]) -> Prediction:
        """Find the nuclei of a picture, uint8 (H, W, 3)."""
        return segment(self._engine, rgb, self._tile, self._mask_threshold)


def open_model(
    path: Path,
    *,
    device: str = "auto",
    tile: int | None = None,
    threads: int = 0,
    classes: tuple[NucleusClass, ...] | None = None,
    flips: int = 1,
    engine: str = "auto",
    precision: str = "auto",
) -> Model:
    """Open a bundle or a checkpoint.

    Parameters
    ----------
    path
        A folder or ``.zip`` is a bundle and goes through the whole runtime, as a slide does;
        any other file is a checkpoint and goes through PyTorch.
    device
        Of a checkpoint: ``auto``, ``cpu`` or ``cuda``.
    tile
        Side of a tile in pixels; None takes the model's.
    threads
        CPU threads; 0 takes every core.
    classes
        Of a checkpoint: names instead of the file's.
    flips
        Of a bundle: how many mirror images of a tile are looked at, the tile itself included.
    engine, precision
        Of a bundle: what runs it, and in which precision.

    Raises
    ------
    NuhtcError
        The model cannot be used.
    """
    if is_bundle(path):
        # ONNX Runtime and the slide readers are loaded for bundles only.
        from nuhtc.training.predictions.bundle_model import open_bundle_model

        return open_bundle_model(path, tile, threads, flips, engine, precision)
    if not path.exists():
        raise CheckpointError(f"{path}: no such bundle or checkpoint; give a model.pt or a bundle")
    for option, given, unset in (
        ("--flips", flips, 1),
        ("--engine", engine, "auto"),
        ("--precision", precision, "auto"),
    ):
        if given != unset:
            raise CheckpointError(
                f"{option} {given}: {path} is no bundle; make one with nuhtc-export"
            )
    if threads:
        torch.set_num_threads(threads)
    cuda = device == "cuda" or (device == "auto" and torch.cuda.is_available())
    return Checkpoint(path, torch.device("cuda" if cuda else "cpu"), tile, classes)


def predict(model: Model, image: AnnotatedImage) -> Prediction:
    """Find a picture's nuclei on its own grid, at the model's resolution."""
    return find_at(model.find, image, model.mpp)
