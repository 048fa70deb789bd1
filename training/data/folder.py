"""Folders of pictures with label maps: the layout that ``nuhtc-prepare`` writes.

A data set is a folder with ``images/*.png`` and ``labels/*.npz`` of the same stems.
Each label file holds ``inst_map`` (H, W), 0 for background and one number per nucleus,
and, where the nuclei have classes, ``type_map`` (H, W), 1 for the first class.

``dataset.json`` beside ``images`` says what the set is. Every entry may be left out::

    {
      "name": "pannuke-fold1",
      "mpp": 0.25,
      "title": "PanNuke",
      "licence": "CC BY-NC-SA 4.0",
      "source": "whom to cite",
      "classes": [{"name": "Neoplastic", "color": [255, 0, 0]}],
      "tissues": {"fold1_1": "Breast"}
    }

Without it pictures are at 0.25 um/px, and typed nuclei have CoNSeP's four classes;
``"classes": null`` says that they have none.
"""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nuhtc.runtime.bundle.card import DataSource, NucleusClass, is_color
from nuhtc.runtime.ground.errors import DataError, first_line
from nuhtc.runtime.ground.strict_json import load
from nuhtc.training.data.classes import CONSEP, describe
from nuhtc.training.data.images import DEFAULT_MPP, AnnotatedImage
from nuhtc.training.data.numbering import majority_types, renumber, size_text, whole_numbers
from nuhtc.training.data.reading import find_pictures, read_mpp, read_rgb

DESCRIPTION = "dataset.json"


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
    rgb = read_rgb(image)
    arrays = _read_arrays(label)
    if "inst_map" not in arrays:
        raise DataError(f"{label}: has no array inst_map")
    raw, type_map = arrays["inst_map"], arrays.get("type_map")
    if raw.shape != rgb.shape[:2]:
        raise DataError(
            f"{label}: inst_map is {size_text(raw)}, but {image.name} is {size_text(rgb[..., 0])}"
        )
    instances, _ = renumber(raw)
    types = None
    if type_map is not None:
        types = majority_types(instances, type_map, classes, str(label))
    return AnnotatedImage(image.stem, rgb, instances, types)


def _read_arrays(label: Path) -> dict[str, NDArray[np.int64]]:
    """Return the maps of a label file."""
    try:
        # From memory: over a damaged file NumPy would leave the file open.
        with np.load(io.BytesIO(label.read_bytes()), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in ("inst_map", "type_map") if name in archive}
    except FileNotFoundError as error:
        raise DataError(f"{label}: missing; every picture needs a label file") from error
    except Exception as error:  # NumPy and zipfile raise many kinds over damaged bytes
        raise DataError(f"{label}: damaged or no NPZ file ({first_line(error)})") from error
    return {name: whole_numbers(array, f"{label}: {name}") for name, array in arrays.items()}


class FolderSet:
    """A data set of PNG pictures and NPZ labels.

    Parameters
    ----------
    root
        A folder with ``images`` and ``labels``, or one whose ``train`` has them.

    Raises
    ------
    DataError
        The folder is missing, has no pictures, or ``dataset.json`` cannot be used.
    """

    def __init__(self, root: Path) -> None:
        if not root.is_dir():
            raise DataError(f"{root}: no such folder; --data takes folders of annotated pictures")
        root = root.resolve()
        base = root if (root / "images").is_dir() else root / "train"
        self._labels = base / "labels"
        self._images = find_pictures(base / "images", self._labels, ".npz")
        if not self._images:
            raise DataError(f"{root}: holds no images/*.png (nor train/images/*.png)")
        description = _read_description(base / DESCRIPTION)
        self.path = root
        self.name: str = description.get(
            "name", root.name if root.name != "train" else root.parent.name
        )
        self.mpp: float = description.get("mpp", DEFAULT_MPP)
        known = describe(self.name)
        self.info = DataSource(
            description.get("title", known.name),
            description.get("licence", known.licence),
            description.get("source", known.source),
        )
        self._tissues: dict[str, str] = description.get("tissues", {})
        self.classes: tuple[NucleusClass, ...] | None
        if "classes" in description:
            self.classes = description["classes"]
        else:
            self.classes = CONSEP if "type_map" in _read_arrays(self._label(0)) else None

    def _label(self, index: int) -> Path:
        return self._labels / f"{self._images[index].stem}.npz"

    def names(self) -> Sequence[str]:
        """Return the pictures' names, in order."""
        return [path.stem for path in self._images]

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> AnnotatedImage:
        classes = 0 if self.classes is None else len(self.classes)
        found = read_image(self._images[index], self._label(index), classes)
        tissue = self._tissues.get(found.name)
        return AnnotatedImage(found.name, found.rgb, found.instances, found.types, self.mpp, tissue)


def _read_description(path: Path) -> dict[str, Any]:
    """Return what ``dataset.json`` says, checked; nothing where there is none."""
    if not path.exists():
        return {}
    raw = load(path, DataError)
    if not isinstance(raw, dict):
        raise DataError(f"{path}: must be an object, such as {{'mpp': 0.25}}")
    for key in ("name", "title", "licence", "source"):
        if key in raw and (not isinstance(raw[key], str) or not raw[key]):
            raise DataError(f"{path}: {key} must be text")
    description = dict(raw)
    if "mpp" in raw:
        description["mpp"] = read_mpp(raw["mpp"], path)
    if raw.get("classes") is not None:
        description["classes"] = _read_classes(raw["classes"], path)
    tissues = raw.get("tissues", {})
    if not isinstance(tissues, dict) or not all(isinstance(t, str) for t in tissues.values()):
        raise DataError(f"{path}: tissues must give an organ for each picture's name")
    return description


def _read_classes(raw: object, path: Path) -> tuple[NucleusClass, ...]:
    items = raw if isinstance(raw, list) else []
    classes = tuple(
        NucleusClass(item["name"], (item["color"][0], item["color"][1], item["color"][2]))
        for item in items
        if isinstance(item, dict)
        and isinstance(item.get("name"), str)
        and item["name"]
        and is_color(item.get("color"))
    )
    if not classes or len(classes) != len(items):
        raise DataError(
            f"{path}: classes must be a list of entries such as "
            '{"name": "Epithelial", "color": [255, 0, 0]}'
        )
    if len({one.name for one in classes}) != len(classes):
        raise DataError(f"{path}: two classes have the same name")
    return classes
