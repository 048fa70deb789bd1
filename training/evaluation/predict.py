"""Predict whole pictures with a model, whatever the model and the pictures' resolution."""

from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from nuhtc.training.any_checkpoint import open_checkpoint
from nuhtc.training.data.images import AnnotatedImage
from nuhtc.training.data.numbering import renumber
from nuhtc.training.errors import CheckpointError
from nuhtc.training.evaluation.prediction import Prediction
from nuhtc.training.evaluation.validation import segment
from nuhtc.training.info import ClassInfo

SAME_SCALE = 0.02
"""Relative difference of um/px below which nothing is resampled: a scanner's 0.2527 is 0.25."""


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
        The file cannot be used.
    """

    def __init__(
        self,
        path: Path,
        device: torch.device,
        tile: int | None = None,
        classes: tuple[ClassInfo, ...] | None = None,
    ) -> None:
        network, preset, info = open_checkpoint(path, classes=classes)
        self._network = network.to(device)
        self._settings = preset.inference
        self._tile = preset.tile if tile is None else tile
        self.mpp = preset.mpp
        self.classes = tuple(one.name for one in info.classes)

    def find(self, rgb: NDArray[np.uint8]) -> Prediction:
        """Find the nuclei of a picture, uint8 (H, W, 3)."""
        found = segment(self._network, rgb, self._tile, self._settings)
        return Prediction(found.instances, found.labels, found.scores)


def open_model(
    path: Path,
    *,
    device: str = "auto",
    tile: int | None = None,
    threads: int = 0,
    classes: tuple[ClassInfo, ...] | None = None,
) -> Model:
    """Open a bundle's folder or a checkpoint's file.

    Parameters
    ----------
    path
        A folder is a bundle and goes through the whole runtime, as a slide does; a file is
        a checkpoint and goes through PyTorch.
    device
        Of a checkpoint: ``auto``, ``cpu`` or ``cuda``.
    tile
        Side of a tile in pixels; None takes the model's.
    threads
        CPU threads; 0 takes every core.
    classes
        Of a checkpoint: names instead of the file's.

    Raises
    ------
    TrainingError
        The model cannot be used.
    """
    if path.is_dir():
        # ONNX Runtime and the slide readers are loaded for bundles only.
        from nuhtc.training.evaluation.predict_bundle import BundleModel

        return BundleModel(path, tile, threads)
    if not path.exists():
        raise CheckpointError(f"{path}: no such bundle or checkpoint; give a model.pt or a bundle")
    if threads:
        torch.set_num_threads(threads)
    cuda = device == "cuda" or (device == "auto" and torch.cuda.is_available())
    return Checkpoint(path, torch.device("cuda" if cuda else "cpu"), tile, classes)


def predict(model: Model, image: AnnotatedImage) -> Prediction:
    """Find a picture's nuclei on its own grid, at the model's resolution.

    A picture of another um/px is resampled (bilinear, antialiased where it shrinks), and the
    label map brought back by taking the nearest pixel; nuclei that no pixel is left of are
    dropped.
    """
    scale = image.mpp / model.mpp
    if abs(scale - 1) <= SAME_SCALE:
        return model.find(image.rgb)
    height, width = image.rgb.shape[:2]
    size = (max(round(width * scale), 1), max(round(height * scale), 1))
    resized = Image.fromarray(image.rgb).resize(size, Image.Resampling.BILINEAR)
    return bring_back(model.find(np.asarray(resized)), height, width)


def bring_back(found: Prediction, height: int, width: int) -> Prediction:
    """A prediction on another grid over the same area.

    Parameters
    ----------
    found
        On any grid.
    height, width
        Of the wanted grid.
    """
    rows, columns = (
        ((np.arange(wanted) + 0.5) * have / wanted).astype(np.int64)
        for have, wanted in zip(found.instances.shape, (height, width), strict=True)
    )
    instances, numbers = renumber(found.instances[rows][:, columns])
    return Prediction(
        instances,
        None if found.types is None else found.types[numbers],
        None if found.scores is None else found.scores[numbers],
    )
