"""PanNuke as it is downloaded: three arrays for each fold, read picture by picture.

One fold is ``images.npy`` (N, H, W, 3), ``masks.npy`` (N, H, W, 6), with the nuclei of one
class numbered in each of the first five channels and the background in the last, and
``types.npy`` (N,), the tissues' names, which may be missing (Gamper et al. 2020). Found are

- a folder that holds the three files;
- the download, ``Fold 1/images/fold1/{images,types}.npy`` with ``Fold 1/masks/fold1/masks.npy``;
- NuHTC's, ``images/fold1/images.npy`` with ``masks/fold1/{masks,types}.npy``, where the path
  may also be ``.../fold1`` beside ``images`` and ``masks``;
- a folder of several such folds, which are read one after the other.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from nuhtc.runtime.ground.errors import DataError
from nuhtc.training.data.classes import PANNUKE, describe
from nuhtc.training.data.images import DEFAULT_MPP, AnnotatedImage
from nuhtc.training.data.numbering import flatten, whole_numbers
from nuhtc.training.data.reading import open_npy, picture_values

EXPECTED = "images.npy, masks.npy and types.npy, or images/fold1/images.npy and masks/fold1/..."


@dataclass(frozen=True)
class Fold:
    """Where the arrays of one fold are."""

    label: str
    """``fold1``: begins the names of its pictures"""
    images: Path
    masks: Path
    types: Path | None
    """None where tissues are not known"""


class PanNukeSet:
    """The pictures of one fold of PanNuke, or of several.

    Parameters
    ----------
    path
        In any of the layouts above.

    Raises
    ------
    DataError
        A file is missing or damaged, or arrays do not belong together.
    """

    classes = PANNUKE
    mpp = DEFAULT_MPP

    def __init__(self, path: Path) -> None:
        self.folds = find_folds(path)
        if not self.folds:
            raise DataError(f"{path}: no fold of PanNuke; expected are {EXPECTED}")
        self.path = path.resolve()
        self.name = "pannuke" if len(self.folds) > 1 else f"pannuke-{self.folds[0].label}"
        self.info = describe("pannuke")
        self._where: list[tuple[Fold, int]] = []
        self._tissues: list[str | None] = []
        for fold in self.folds:
            tissues = _check(fold)
            self._where += [(fold, index) for index in range(len(tissues))]
            self._tissues += tissues

    def names(self) -> Sequence[str]:
        """Return the pictures' names: fold1_1 is the first of fold 1."""
        return [f"{fold.label}_{index + 1}" for fold, index in self._where]

    def __len__(self) -> int:
        return len(self._where)

    def __getitem__(self, index: int) -> AnnotatedImage:
        fold, row = self._where[index]
        # Mapped anew each time, so that the set can be sent to other processes as it is.
        images, masks = _open_images(fold), _open_masks(fold)
        rgb = picture_values(images[row], f"{fold.images}: picture {row + 1}")
        channels = whole_numbers(masks[row, ..., :-1], f"{fold.masks}: picture {row + 1}")
        instances, types = flatten(channels)
        name = f"{fold.label}_{row + 1}"
        return AnnotatedImage(name, rgb, instances, types, self.mpp, self._tissues[index])


def find_folds(path: Path) -> list[Fold]:
    """Return the folds at a path, in order of their names; none where there are none."""
    if not path.exists():
        return [fold for fold in _below(path.parent) if fold.label == _label(path.name)]
    found = _at(path)
    if path.is_dir() and not found:
        for inner in path.iterdir():
            if "fold" in inner.name.lower():
                found += _at(inner)
    labels = [fold.label for fold in found]
    for label in labels:
        if labels.count(label) > 1:
            raise DataError(f"{path}: holds {label} twice; give the folder of one of them")
    return sorted(found, key=lambda fold: (len(fold.label), fold.label))


def _at(path: Path) -> list[Fold]:
    if (path / "masks.npy").exists() or (path / "types.npy").exists():
        return [_fold(_label(path.resolve().name), path, path)]
    return _below(path)


def _below(root: Path) -> list[Fold]:
    """Return the folds of ``images/*`` with ``masks/*``."""
    inner = {file.parent.name for file in root.glob("images/*/images.npy")}
    inner |= {file.parent.name for file in root.glob("masks/*/masks.npy")}
    return [_fold(_label(n), root / "images" / n, root / "masks" / n) for n in sorted(inner)]


def _fold(label: str, images: Path, masks: Path) -> Fold:
    types = [folder / "types.npy" for folder in (masks, images)]
    found = next((path for path in types if path.exists()), None)
    return Fold(label, images / "images.npy", masks / "masks.npy", found)


def _label(folder: str) -> str:
    """Return ``fold1`` for a folder of any such name; else the folder's name without spaces."""
    number = re.search(r"fold[ _-]*(\d+)", folder, re.IGNORECASE)
    return f"fold{int(number[1])}" if number else re.sub(r"[^\w.-]+", "_", folder)


def _open_images(fold: Fold) -> NDArray[Any]:
    return open_npy(fold.images, "PanNuke's pictures (N, 256, 256, 3)")


def _open_masks(fold: Fold) -> NDArray[Any]:
    return open_npy(fold.masks, "PanNuke's masks (N, 256, 256, 6)")


def _check(fold: Fold) -> list[str | None]:
    """Return the tissue of each picture, once it is clear that the arrays belong together."""
    images, masks = _open_images(fold), _open_masks(fold)
    if images.ndim != 4 or images.shape[3] != 3:
        raise DataError(f"{fold.images}: must be (N, H, W, 3), not {images.shape}")
    if masks.ndim != 4 or masks.shape[3] != len(PANNUKE) + 1:
        raise DataError(f"{fold.masks}: must be (N, H, W, {len(PANNUKE) + 1}), not {masks.shape}")
    if len(images) != len(masks):
        raise DataError(
            f"{fold.masks}: has masks of {len(masks)} pictures, but {fold.images} holds "
            f"{len(images)}; are they of the same fold?"
        )
    if images.shape[1:3] != masks.shape[1:3]:
        raise DataError(
            f"{fold.masks}: masks are {masks.shape[2]}x{masks.shape[1]}, but the pictures of "
            f"{fold.images} are {images.shape[2]}x{images.shape[1]}"
        )
    if len(images) == 0:
        raise DataError(f"{fold.images}: holds no pictures")
    if fold.types is None:
        return [None] * len(images)
    types = open_npy(fold.types, "the tissues' names (N,)")
    if types.dtype.kind != "U" or types.shape != images.shape[:1]:
        raise DataError(
            f"{fold.types}: must hold the names of {len(images)} tissues as text, not "
            f"{types.dtype} {types.shape}"
        )
    return [str(one) or None for one in types]
