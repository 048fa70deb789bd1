"""Write a data set in another layout: our folder, COCO, or the files that NuHTC reads."""

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from nuhtc.runtime.ground.errors import DataError, OutputError
from nuhtc.runtime.ground.whole_files import explain, whole_folder
from nuhtc.training.data.categories import NUHTC_NAMES
from nuhtc.training.data.folder import DESCRIPTION
from nuhtc.training.data.images import AnnotatedImage, AnnotatedSet
from nuhtc.training.data.rle import encode

Format = Literal["folder", "coco", "nuhtc"]
FORMATS: tuple[Format, ...] = get_args(Format)

WHOLE = ""
"""Names the group of all pictures of a set that has no folds."""


def write_set(
    source: AnnotatedSet, out: Path, layout: Format, step: Callable[[], object] = lambda: None
) -> None:
    """Write a data set to a new folder, whole or not at all.

    ``folder`` keeps everything. ``coco`` keeps everything too. ``nuhtc`` gives ``rgb``,
    ``rgb_seg`` (1 for nucleus) and ``coco/PanNuke/PanNuke_annt_RLE_fold1.json``, one for each
    fold, under the class names that NuHTC looks for.

    Parameters
    ----------
    source
        What to write.
    out
        A folder that does not exist yet, or is empty.
    layout
        One of FORMATS.
    step
        Called after each picture.

    Raises
    ------
    DataError
        A picture cannot be read, or its name is no file name.
    OutputError
        The folder is in use, or cannot be written.
    """
    names = source.names()
    if len(set(names)) < len(names):
        raise DataError(f"{source.path}: two pictures have the same name; give them different ones")
    for name in names:
        if name in ("", ".", "..") or "/" in name or "\0" in name:
            raise DataError(f"{source.path}: the picture's name {name!r} cannot name a file")
    check_free(out)
    with whole_folder(out) as folder:
        if layout == "folder":
            _write_folder(source, folder, step)
        else:
            _write_coco(source, folder, layout, step)


def check_free(out: Path) -> None:
    """Check that a folder does not exist yet, or is empty.

    Raises
    ------
    OutputError
        Something is there, or nobody may look.
    """
    try:
        taken = out.exists() and (not out.is_dir() or any(out.iterdir()))
    except OSError as error:
        raise OutputError(explain(error, out)) from error
    if taken:
        raise OutputError(f"{out}: is there already and not empty; choose another --out")


def _write_folder(source: AnnotatedSet, folder: Path, step: Callable[[], object]) -> None:
    for name in ("images", "labels"):
        (folder / name).mkdir()
    tissues: dict[str, str] = {}
    for index in range(len(source)):
        image = source[index]
        _write_png(folder / "images" / f"{image.name}.png", image.rgb)
        arrays = {"inst_map": _small(image.instances)}
        if image.types is not None:
            classes = np.concatenate([[0], image.types[1:] + 1])
            arrays["type_map"] = _small(classes[image.instances])
        with (folder / "labels" / f"{image.name}.npz").open("wb") as file:
            # Its stubs take the arrays for its own options.
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
        if image.tissue is not None:
            tissues[image.name] = image.tissue
        step()
    listed = source.classes and [
        {"name": cls.name, "color": list(cls.color)} for cls in source.classes
    ]
    content = {**_info(source), "classes": listed, "tissues": tissues}
    _write_json(folder / DESCRIPTION, content, indent=1)


def _write_coco(
    source: AnnotatedSet, folder: Path, layout: Format, step: Callable[[], object]
) -> None:
    pictures = folder / ("images" if layout == "coco" else "rgb")
    pictures.mkdir()
    if layout == "nuhtc":
        (folder / "rgb_seg").mkdir()
    names = source.names()
    groups = _folds(names) if layout == "nuhtc" else {WHOLE: range(len(names))}
    for fold, indices in groups.items():
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for index in indices:
            image = source[index]
            _write_png(pictures / f"{image.name}.png", image.rgb)
            if layout == "nuhtc":
                nuclei = (image.instances > 0).astype(np.uint8)
                _write_png(folder / "rgb_seg" / f"{image.name}.png", nuclei)
            images.append(_entry(image, len(images) + 1))
            annotations += _annotations(image, len(images), len(annotations) + 1)
            step()
        content = {
            "info": _info(source) | ({"name": f"{source.name}-{fold}"} if len(groups) > 1 else {}),
            "licenses": [{"id": 1, "name": source.info.licence, "url": ""}],
            "images": images,
            "annotations": annotations,
            "categories": _categories(source, layout),
        }
        path = folder / "annotations.json"
        if layout == "nuhtc":
            title = re.sub(r"[^\w.-]+", "_", source.info.name)
            file = f"{title}_annt_RLE" + (f"_{fold}" if fold else "")
            path = folder / "coco" / title / f"{file}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
        _write_json(path, content)


def _folds(names: Sequence[str]) -> dict[str, Sequence[int]]:
    """Return the pictures of each fold, by names such as fold1_7; all together without those."""
    folds: dict[str, Sequence[int]] = {}
    for index, name in enumerate(names):
        found = re.fullmatch(r"(fold\d+)_\d+", name)
        if found is None:
            return {WHOLE: range(len(names))}
        folds[found[1]] = [*folds.get(found[1], ()), index]
    return folds


def _info(source: AnnotatedSet) -> dict[str, Any]:
    return {
        "name": source.name,
        "mpp": source.mpp,
        "title": source.info.name,
        "licence": source.info.licence,
        "source": source.info.source,
    }


def _entry(image: AnnotatedImage, number: int) -> dict[str, Any]:
    height, width = image.instances.shape
    entry = {
        "id": number,
        "file_name": f"{image.name}.png",
        "height": height,
        "width": width,
        "license": 1,
    }
    return entry | ({} if image.tissue is None else {"tissue": image.tissue})


def _annotations(image: AnnotatedImage, picture: int, first: int) -> list[dict[str, Any]]:
    """Return one annotation for each nucleus, in order."""
    areas = np.bincount(image.instances.ravel())
    boxes = ndimage.find_objects(image.instances)
    types = np.zeros(len(image) + 1, np.int64) if image.types is None else image.types
    return [
        {
            "id": first + number - 1,
            "image_id": picture,
            "category_id": int(types[number]) + 1,
            "segmentation": segmentation,
            "area": int(areas[number]),
            "bbox": [x.start, y.start, x.stop - x.start, y.stop - y.start],
            "iscrowd": 0,
        }
        for number, (segmentation, (y, x)) in enumerate(
            zip(encode(image.instances), boxes, strict=True), 1
        )
    ]


def _categories(source: AnnotatedSet, layout: Format) -> list[dict[str, Any]]:
    if source.classes is None:
        return [{"id": 1, "name": "nucleus", "supercategory": "nucleus"}]
    if layout == "nuhtc" and source.classes in NUHTC_NAMES:
        # These names stand for the colours too.
        names = NUHTC_NAMES[source.classes]
        return [
            {"id": number, "name": name, "supercategory": "nucleus"}
            for number, name in enumerate(names, 1)
        ]
    return [
        {"id": number, "name": cls.name, "supercategory": "nucleus", "color": list(cls.color)}
        for number, cls in enumerate(source.classes, 1)
    ]


def _small(array: NDArray[Any]) -> NDArray[Any]:
    """Return the same numbers in the smallest of the types that other tools read."""
    highest = int(array.max(initial=0))
    return array.astype(np.min_scalar_type(highest) if highest < 2**16 else np.int32)


def _write_png(path: Path, pixels: NDArray[np.uint8]) -> None:
    # Half the time of the default, for a twentieth more bytes.
    Image.fromarray(pixels).save(path, compress_level=4)


def _write_json(path: Path, content: dict[str, Any], indent: int | None = None) -> None:
    separators = (",", ":") if indent is None else None
    text = json.dumps(content, ensure_ascii=False, indent=indent, separators=separators)
    path.write_text(text + "\n", encoding="utf-8")
