"""Annotated pictures on disk, and the tiles that training draws from them.

A data set is a folder with ``images/*.png`` and ``labels/*.npz`` of the same stems.
Each label file holds ``inst_map`` (H, W), 0 for background and one number per nucleus,
and, where the nuclei have classes, ``type_map`` (H, W), 1 for the first class.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

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
    except (OSError, UnidentifiedImageError) as error:
        raise DataError(f"{image}: cannot be read as a picture ({error})") from error
    try:
        with np.load(label, allow_pickle=False) as archive:
            raw = archive["inst_map"]
            type_map = archive["type_map"] if "type_map" in archive else None
    except FileNotFoundError as error:
        raise DataError(f"{label}: missing; every picture needs a label file") from error
    except KeyError as error:
        raise DataError(f"{label}: has no array inst_map") from error
    except (OSError, ValueError, BadZipFile) as error:
        raise DataError(f"{label}: damaged or no NPZ file ({error})") from error
    if raw.shape != rgb.shape[:2]:
        raise DataError(
            f"{label}: inst_map is {raw.shape[1]}x{raw.shape[0]}, "
            f"but {image.name} is {rgb.shape[1]}x{rgb.shape[0]}"
        )
    numbers, flat = np.unique(raw, return_inverse=True)
    instances = flat.reshape(raw.shape).astype(np.int32)
    if numbers[0] != 0:
        instances += 1
    types = None if type_map is None else _majority(label, instances, type_map, classes)
    return AnnotatedImage(image.stem, rgb, instances, types)


def _majority(
    label: Path, instances: NDArray[np.int32], type_map: NDArray[np.uint8], classes: int
) -> NDArray[np.int64]:
    """The commonest class of each nucleus's pixels."""
    if type_map.shape != instances.shape:
        raise DataError(f"{label}: type_map and inst_map differ in size")
    if int(type_map.max()) > classes:
        raise DataError(
            f"{label}: type_map holds class {int(type_map.max())}, but there are only {classes}"
        )
    count = int(instances.max()) + 1
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
    if file.dataset == "consep":
        return int(file.stem.rsplit("_", 1)[-1]) % 5 == 3
    if file.dataset == "tnbc":
        return file.stem.split("_")[0] in {"03", "08"}
    return sum(file.stem.encode()) % 6 == 0


def load(files: Sequence[ImageFile], classes: int) -> list[AnnotatedImage]:
    """Read pictures into memory, in order."""
    return [read_image(file.image, file.label, classes) for file in files]
