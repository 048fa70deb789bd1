"""Annotated pictures on disk, and the tiles that training draws from them.

A data set is a folder with ``images/*.png`` and ``labels/*.npz`` of the same stems.
Each label file holds ``inst_map`` (H, W), 0 for background and one number per nucleus,
and, where the nuclei have classes, ``type_map`` (H, W), 1 for the first class.
"""

import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nuhtc.training.errors import DataError

CONSEP_CLASSES = ("Other", "Inflammatory", "Epithelial", "Spindle")
"""CoNSeP's usual merge of seven types into four, in the order of ``type_map`` 1 to 4."""


@dataclass(frozen=True)
class AnnotatedImage:
    """One picture and its nuclei."""

    name: str
    rgb: NDArray[np.uint8]
    """(H, W, 3)"""
    instances: NDArray[np.int32]
    """(H, W), 0 is background, nuclei are numbered from 1 without gaps"""
    types: NDArray[np.int64] | None
    """(nuclei + 1,), class index of each nucleus (entry 0 is unused); None if untyped"""


def read_image(image: Path, label: Path, classes: int) -> AnnotatedImage:
    """Read one picture with its label file.

    Parameters
    ----------
    image, label
        The PNG and the NPZ.
    classes
        Number of classes; a ``type_map`` beyond it is refused.

    Raises
    ------
    DataError
        A file is missing, damaged, or the two do not belong together.
    """
    try:
        with Image.open(image) as picture:
            rgb = np.asarray(picture.convert("RGB"))
    except Exception as error:  # Pillow raises many kinds over damaged bytes
        raise DataError(f"{image}: cannot be read as a picture ({_reason(error)})") from error
    arrays = _read_arrays(label)
    if "inst_map" not in arrays:
        raise DataError(f"{label}: has no array inst_map")
    raw, type_map = arrays["inst_map"], arrays.get("type_map")
    if raw.shape != rgb.shape[:2]:
        raise DataError(
            f"{label}: inst_map is {_size(raw)}, but {image.name} is {_size(rgb[..., 0])}"
        )
    numbers, flat = np.unique(raw, return_inverse=True)
    instances = flat.reshape(raw.shape).astype(np.int32)
    if numbers[0] != 0:
        instances += 1
    types = None if type_map is None else _majority(label, instances, type_map, classes)
    return AnnotatedImage(image.stem, rgb, instances, types)


def _read_arrays(label: Path) -> dict[str, NDArray[np.int64]]:
    """The maps of a label file."""
    try:
        # From memory: over a damaged file NumPy would leave the file open.
        with np.load(io.BytesIO(label.read_bytes()), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in ("inst_map", "type_map") if name in archive}
    except FileNotFoundError as error:
        raise DataError(f"{label}: missing; every picture needs a label file") from error
    except Exception as error:  # NumPy and zipfile raise many kinds over damaged bytes
        raise DataError(f"{label}: damaged or no NPZ file ({_reason(error)})") from error
    for name, array in arrays.items():
        # Some tools store whole numbers as floats; a NaN fails the last comparison.
        countable = array.dtype.kind in "iuf" and bool(((array >= 0) & (array < 2**31)).all())
        if not countable or bool((array != np.floor(array)).any()):
            raise DataError(f"{label}: {name} must hold whole numbers from 0")
    return {name: array.astype(np.int64) for name, array in arrays.items()}


def _reason(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def _size(array: NDArray[np.generic]) -> str:
    """Width x height; whatever there is of an array of another kind."""
    return "x".join(str(side) for side in reversed(array.shape)) or "a single number"


def _majority(
    label: Path, instances: NDArray[np.int32], type_map: NDArray[np.int64], classes: int
) -> NDArray[np.int64]:
    """The commonest class of each nucleus's pixels."""
    if type_map.shape != instances.shape:
        raise DataError(f"{label}: type_map and inst_map differ in size")
    highest = int(type_map.max(initial=0))
    if highest > classes:
        raise DataError(f"{label}: type_map holds class {highest}, but there are only {classes}")
    count = int(instances.max(initial=0)) + 1
    votes = np.zeros((count, classes + 1), np.int64)
    np.add.at(votes, (instances.ravel(), type_map.ravel()), 1)
    if (votes[1:, 1:].sum(axis=1) == 0).any():
        raise DataError(f"{label}: a nucleus has no class in type_map")
    return cast("NDArray[np.int64]", votes[:, 1:].argmax(axis=1))


@dataclass(frozen=True)
class ImageFile:
    """A picture and its labels on disk, and what they may be used for."""

    image: Path
    label: Path
    dataset: str
    """``consep``, ``monuseg``, ``tnbc``, or the folder's name."""

    @property
    def stem(self) -> str:
        """The picture's name without its ending."""
        return self.image.stem


def find_images(root: Path) -> list[ImageFile]:
    """Every annotated picture below a data set's folder.

    Parameters
    ----------
    root
        A folder with ``images`` and ``labels``, or one whose ``train`` has them.

    Raises
    ------
    DataError
        The folder is missing or has no pictures.
    """
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; --data takes folders of annotated pictures")
    base = root if (root / "images").is_dir() else root / "train"
    images = sorted((base / "images").glob("*.png"), key=lambda path: path.name)
    if not images:
        raise DataError(f"{root}: holds no images/*.png (nor train/images/*.png)")
    name = root.name if root.name != "train" else root.parent.name
    return [ImageFile(path, base / "labels" / f"{path.stem}.npz", name) for path in images]


def is_validation(file: ImageFile) -> bool:
    """Whether a picture is held out: never trained on, used for every number reported.

    CoNSeP: images whose number leaves 3 when divided by 5 (5 of the 27, every kind of
    tissue among them). TNBC: patients 3 and 8, whole. Others: every sixth image by name,
    by a checksum that does not depend on which other files are present.
    """
    number = file.stem.rsplit("_", 1)[-1]
    if file.dataset == "consep" and number.isdecimal():
        return int(number) % 5 == 3
    if file.dataset == "tnbc":
        return file.stem.split("_")[0] in {"03", "08"}
    return sum(os.fsencode(file.stem)) % 6 == 0


def load(files: Sequence[ImageFile], classes: int) -> list[AnnotatedImage]:
    """Read pictures into memory, in order."""
    return [read_image(file.image, file.label, classes) for file in files]
