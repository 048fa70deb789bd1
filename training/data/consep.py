"""CoNSeP as it is downloaded, and other sets of pictures with ``.mat`` labels.

``Images/train_1.png`` goes with ``Labels/train_1.mat``, which holds ``inst_map`` (H, W) and
the seven types of the nuclei, as ``type_map`` (H, W) or as ``inst_type``, one for each
nucleus in the order of the numbers (Graham et al. 2019). A set without types is untyped.
"""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.io import loadmat

from nuhtc.runtime.bundle.card import NucleusClass
from nuhtc.runtime.ground.errors import DataError, first_line
from nuhtc.training.data.classes import CONSEP, describe
from nuhtc.training.data.images import DEFAULT_MPP, AnnotatedImage
from nuhtc.training.data.numbering import majority_types, renumber, size_text, whole_numbers
from nuhtc.training.data.reading import find_pictures, read_rgb

MERGED = np.array([0, 1, 2, 3, 3, 4, 4, 4])
"""Other, inflammatory, two kinds of epithelial and three of spindle, into CoNSeP's four."""

KEYS = ("inst_map", "type_map", "inst_type")


def find_base(path: Path) -> Path | None:
    """Return the folder of ``Images`` and of ``Labels`` with ``.mat`` files; Train before Test."""
    for base in (path, path / "Train", path / "train", path / "Test", path / "test"):
        if any((_inner(base, "labels")).glob("*.mat")):
            return base
    return None


class ConsepSet:
    """Pictures with MATLAB label files.

    Parameters
    ----------
    path
        ``Train`` or ``Test``, or the folder of both, of which ``Train`` is read.

    Raises
    ------
    DataError
        There are no pictures, or the first label file cannot be read.
    """

    mpp = DEFAULT_MPP

    def __init__(self, path: Path) -> None:
        base = find_base(path.resolve())
        if base is None:
            raise DataError(f"{path}: holds no Labels/*.mat (nor Train/Labels/*.mat)")
        self.path = base
        images, self._labels = _inner(base, "images"), _inner(base, "labels")
        self._images = find_pictures(images, self._labels, ".mat")
        if not self._images:
            raise DataError(f"{images}: holds no *.png to go with Labels/*.mat")
        typed = len(_read_mat(self._label(0))) > 1
        self.classes: tuple[NucleusClass, ...] | None = CONSEP if typed else None
        part = base.name.lower()
        root = base.parent if part in ("train", "test") else base
        name = "consep" if typed else root.name.lower()
        self.name = f"{name}-test" if part == "test" else name
        self.info = describe(self.name)

    def _label(self, index: int) -> Path:
        return self._labels / f"{self._images[index].stem}.mat"

    def names(self) -> Sequence[str]:
        """Return the pictures' names, in order."""
        return [path.stem for path in self._images]

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> AnnotatedImage:
        image, label = self._images[index], self._label(index)
        rgb, arrays = read_rgb(image), _read_mat(label)
        raw = arrays["inst_map"]
        if raw.shape != rgb.shape[:2]:
            raise DataError(
                f"{label}: inst_map is {size_text(raw)}, but {image.name} is "
                f"{size_text(rgb[..., 0])}"
            )
        instances, numbers = renumber(raw)
        types = None
        if "type_map" in arrays:
            types = majority_types(instances, _merge(arrays["type_map"], label), 4, str(label))
        elif "inst_type" in arrays:
            types = _types_in_order(_merge(arrays["inst_type"], label), numbers, label)
        return AnnotatedImage(image.stem, rgb, instances, types, self.mpp)


def _inner(base: Path, name: str) -> Path:
    """Return ``Images`` or ``images``, whichever there is."""
    given = base / name.capitalize()
    return given if given.is_dir() else base / name


def _read_mat(label: Path) -> dict[str, NDArray[np.int64]]:
    """Return the nuclei of a label file, and their types where it has any."""
    try:
        found: dict[str, Any] = loadmat(BytesIO(label.read_bytes()), variable_names=KEYS)
    except FileNotFoundError as error:
        raise DataError(f"{label}: missing; every picture needs a label file") from error
    except NotImplementedError as error:
        raise DataError(f"{label}: of MATLAB 7.3; save it again with '-v7'") from error
    except Exception as error:  # SciPy raises many kinds over damaged bytes
        raise DataError(f"{label}: damaged or no .mat file ({first_line(error)})") from error
    if "inst_map" not in found:
        raise DataError(f"{label}: has no array inst_map")
    kept = KEYS[:2] if "type_map" in found else (KEYS[0], KEYS[2])
    return {
        key: whole_numbers(np.asarray(found[key]), f"{label}: {key}")
        for key in kept
        if key in found
    }


def _merge(types: NDArray[np.int64], label: Path) -> NDArray[np.int64]:
    highest = int(types.max(initial=0))
    if highest >= len(MERGED):
        raise DataError(f"{label}: holds type {highest}, but CoNSeP has {len(MERGED) - 1}")
    return np.asarray(MERGED[types], np.int64)


def _types_in_order(
    merged: NDArray[np.int64], numbers: NDArray[np.int64], label: Path
) -> NDArray[np.int64]:
    """Return the class of each nucleus, from a list in the order of the numbers."""
    given = merged.ravel()
    if len(given) == len(numbers) - 1:
        types = given
    elif len(given) >= numbers[-1]:
        # Numbers that no pixel has keep their place in the list.
        types = given[numbers[1:] - 1]
    else:
        raise DataError(
            f"{label}: inst_type gives {len(given)} types, but inst_map has {len(numbers) - 1} "
            "nuclei"
        )
    if (types == 0).any():
        raise DataError(f"{label}: a nucleus has no class in inst_type")
    return np.concatenate([[0], types - 1])
