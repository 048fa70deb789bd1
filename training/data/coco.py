"""Any COCO instance-segmentation JSON, NuHTC's among them.

``images``, ``annotations`` and ``categories`` as COCO has them; masks are polygons or run
lengths. Two things besides, where the file has them: ``mpp`` in ``info`` and ``tissue`` in an
image. Pictures are looked for beside the JSON, in ``images`` and ``rgb`` beside it, and,
for NuHTC's ``coco/PanNuke/PanNuke_annt_RLE_fold1.json``, in ``rgb`` beside ``coco`` and in
``datasets/PanNuke/rgb``.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from nuhtc.runtime.bundle.card import DataSource, NucleusClass
from nuhtc.runtime.ground.errors import DataError
from nuhtc.runtime.ground.strict_json import load
from nuhtc.training.data.categories import read_categories
from nuhtc.training.data.classes import describe
from nuhtc.training.data.images import DEFAULT_MPP, AnnotatedImage
from nuhtc.training.data.numbering import renumber
from nuhtc.training.data.reading import read_mpp, read_rgb
from nuhtc.training.data.rle import paint

PLAIN = {"annotations", "instances", "coco", "labels"}
"""Names of JSON files that say nothing; the folder's name says more."""


@dataclass
class Picture:
    """One entry of ``images`` with its annotations."""

    name: str
    file: str
    """relative to the folder of pictures"""
    height: int
    width: int
    tissue: str | None
    nuclei: list[tuple[object, int, object]] = field(default_factory=list)
    """(annotation id, class index, segmentation), in the file's order"""


class CocoSet:
    """The pictures of a COCO JSON.

    Parameters
    ----------
    path
        The JSON.
    images
        The folder of the pictures; None looks for it.

    Raises
    ------
    DataError
        The JSON is damaged or empty, contradicts itself, or its pictures are nowhere.
    """

    def __init__(self, path: Path, images: Path | None = None) -> None:
        self.path = path.resolve()
        raw = load(path, DataError)
        lists = [raw.get(key) for key in ("images", "annotations")] if isinstance(raw, dict) else []
        if len(lists) != 2 or not all(isinstance(one, list) for one in lists):
            raise DataError(f"{path}: no COCO file; it needs images, annotations and categories")
        if not raw["images"]:
            raise DataError(f"{path}: lists no images; an annotation file needs one at least")
        info = raw.get("info")
        info = info if isinstance(info, dict) else {}
        self.mpp = read_mpp(info["mpp"], path) if "mpp" in info else DEFAULT_MPP
        self.name = _text(info.get("name")) or _name_of(self.path)
        known = describe(self.name)
        self.info = DataSource(
            _text(info.get("title")) or known.name,
            _text(info.get("licence")) or known.licence,
            _text(info.get("source")) or known.source,
        )
        self.classes: tuple[NucleusClass, ...] | None
        self.classes, index_of = read_categories(raw.get("categories"), path)
        self._pictures, place_of = _read_images(raw["images"], path)
        self._add(raw["annotations"], place_of, index_of)
        self.images = _find_images(self.path, self._pictures[0].file, images)

    def _add(
        self, annotations: list[Any], place_of: dict[object, int], index_of: dict[object, int]
    ) -> None:
        """Add each picture's annotations; crowds are left out."""
        for number, item in enumerate(annotations, 1):
            if not isinstance(item, dict):
                raise DataError(f"{self.path}: annotation number {number} is no object")
            called = item.get("id", f"number {number}")
            if item.get("iscrowd"):
                continue
            for key, known in (("image_id", place_of), ("category_id", index_of)):
                value = item.get(key)
                if isinstance(value, list | dict) or value not in known:
                    raise DataError(
                        f"{self.path}: annotation {called} has {key} {value}, which the file "
                        "does not list"
                    )
            picture = self._pictures[place_of[item["image_id"]]]
            picture.nuclei.append((called, index_of[item["category_id"]], item.get("segmentation")))

    def names(self) -> Sequence[str]:
        """Return the pictures' names: their files' without ending, folders joined by ``_``."""
        return [picture.name for picture in self._pictures]

    def __len__(self) -> int:
        return len(self._pictures)

    def __getitem__(self, index: int) -> AnnotatedImage:
        picture = self._pictures[index]
        file = self.images / picture.file
        if not file.is_file():
            raise DataError(f"{file}: missing; {self.path.name} lists it")
        rgb = read_rgb(file)
        if rgb.shape[:2] != (picture.height, picture.width):
            raise DataError(
                f"{file}: is {rgb.shape[1]}x{rgb.shape[0]}, but {self.path.name} says "
                f"{picture.width}x{picture.height}"
            )
        canvas = np.zeros(rgb.shape[:2], np.int32, order="F")
        for number, (called, _, segmentation) in enumerate(picture.nuclei, 1):
            try:
                paint(canvas, segmentation, number)
            except ValueError as error:
                raise DataError(
                    f"{self.path}: annotation {called} of {picture.file}: {error}"
                ) from error
        instances, numbers = renumber(np.ascontiguousarray(canvas, np.int64))
        types = None
        if self.classes is not None:
            given = np.array([0, *(index for _, index, _ in picture.nuclei)], np.int64)
            types = given[numbers]
        return AnnotatedImage(picture.name, rgb, instances, types, self.mpp, picture.tissue)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _name_of(path: Path) -> str:
    """Return ``pannuke-fold1`` for PanNuke_annt_RLE_fold1.json; else the file's or folder's."""
    stem = path.stem.lower()
    nuhtc = re.fullmatch(r"(.+?)_annt_rle(?:_(.+))?", stem)
    if nuhtc:
        return "-".join(part for part in nuhtc.groups() if part)
    return path.parent.name.lower() if stem in PLAIN else stem


def _read_images(items: list[Any], path: Path) -> tuple[list[Picture], dict[object, int]]:
    """Return the pictures, and where each id is among them."""
    pictures: list[Picture] = []
    place_of: dict[object, int] = {}
    names: set[str] = set()
    for number, item in enumerate(items, 1):
        if not isinstance(item, dict):
            raise DataError(f"{path}: image number {number} is no object")
        file, called = item.get("file_name"), item.get("id")
        height, width = item.get("height"), item.get("width")
        if not isinstance(file, str) or not isinstance(called, int | str):
            raise DataError(f"{path}: image number {number} needs an id and a file_name")
        if type(height) is not int or type(width) is not int or min(height, width) < 1:
            raise DataError(f"{path}: image {file} needs its height and width in pixels")
        parts = PurePosixPath(file).parts
        if not parts or PurePosixPath(file).is_absolute() or ".." in parts or "\\" in file:
            raise DataError(
                f"{path}: image {file!r} is outside the folder of pictures; file_name must be "
                "a path inside it"
            )
        # Two folders may hold pictures of the same name.
        name = "_".join((*parts[:-1], PurePosixPath(file).stem))
        if name in names:
            raise DataError(f"{path}: two images are called {name}; give them different names")
        if called in place_of:
            raise DataError(f"{path}: two images have the id {called}")
        names.add(name)
        place_of[called] = len(pictures)
        pictures.append(Picture(name, file, height, width, _text(item.get("tissue"))))
    return pictures, place_of


def _find_images(path: Path, first: str, given: Path | None) -> Path:
    """Return the folder that the pictures are in, judged by the first one."""
    if given is not None:
        if not given.is_dir():
            raise DataError(f"{given}: no such folder of pictures")
        return given.resolve()
    folders = [path.parent, path.parent / "images", path.parent / "rgb"]
    if path.parent.parent.name == "coco":
        top = path.parent.parent.parent
        folders += [top / "rgb", top / "datasets" / path.parent.name / "rgb"]
    for folder in folders:
        if (folder / first).is_file():
            return folder
    raise DataError(
        f"{path}: its first picture, {first}, is missing; looked in "
        + ", ".join(str(folder) for folder in folders)
        + "; name the folder of the pictures (nuhtc-prepare --images)"
    )
