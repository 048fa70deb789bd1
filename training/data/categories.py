"""The categories of COCO files, as classes with the names and colours that viewers know."""

from pathlib import Path
from typing import Any

from nuhtc.runtime.bundle.card import NucleusClass, is_color
from nuhtc.runtime.ground.errors import DataError
from nuhtc.training.data.classes import CONIC, CONSEP, PANNUKE

NUHTC_NAMES = {
    PANNUKE: (
        "Neoplastic cells",
        "Inflammatory",
        "Connective/Soft tissue cells",
        "Dead Cells",
        "Epithelial",
    ),
    CONSEP: ("other", "inflammatory", "epithelial", "spindle-shaped"),
    CONIC: (
        "Neutrophil",
        "Epithelial",
        "Lymphocyte",
        "Plasma",
        "Eosinophil",
        "Connective tissue",
    ),
}
"""What NuHTC's data sets call their classes; it finds categories by these names."""

NUCLEUS_WORDS = {"nucleus", "nuclei", "cell", "cells"}
"""A file's only category by one of these names says no more than that it is a nucleus."""

PALETTE = (
    (230, 25, 75),
    (60, 180, 75),
    (255, 225, 25),
    (0, 130, 200),
    (245, 130, 48),
    (145, 30, 180),
    (70, 240, 240),
    (240, 50, 230),
    (210, 245, 60),
    (0, 128, 128),
)
"""Colours of classes that no table knows, over and over."""


def read_categories(
    raw: object, path: Path
) -> tuple[tuple[NucleusClass, ...] | None, dict[object, int]]:
    """Return the classes of a COCO file, in the order of the categories' ids.

    A category's ``color``, red, green and blue, is used where there is one. Otherwise the
    names are looked up, NuHTC's too, in upper or lower case.

    Returns
    -------
    classes
        None where the only category is called nucleus.
    index_of
        The class index of each category's id.

    Raises
    ------
    DataError
        There is no category, or one without a name or a whole-numbered id.
    """
    items = raw if isinstance(raw, list) else []
    for item in items:
        if (
            not isinstance(item, dict)
            or not isinstance(item.get("name"), str)
            or not item["name"].strip()
            or type(item.get("id")) is not int
        ):
            raise DataError(f"{path}: every category needs a whole-numbered id and a name")
    if not items:
        raise DataError(f"{path}: lists no categories")
    items = sorted(items, key=lambda item: int(item["id"]))
    index_of: dict[object, int] = {item["id"]: index for index, item in enumerate(items)}
    names = [str(item["name"]).strip() for item in items]
    if len(index_of) < len(items) or len(set(names)) < len(items):
        raise DataError(f"{path}: two categories have the same id or name")
    if len(names) == 1 and names[0].lower() in NUCLEUS_WORDS:
        return None, index_of
    return _known_set(items, names) or _one_by_one(items, names), index_of


def _known_set(items: list[dict[str, Any]], names: list[str]) -> tuple[NucleusClass, ...] | None:
    """Return a known set's classes, if these are exactly they, without colours of their own."""
    if any(is_color(item.get("color")) for item in items):
        return None
    wanted = [name.lower() for name in names]
    for classes, theirs in NUHTC_NAMES.items():
        if wanted in ([one.name.lower() for one in classes], [name.lower() for name in theirs]):
            return classes
    return None


def _one_by_one(items: list[dict[str, Any]], names: list[str]) -> tuple[NucleusClass, ...]:
    known = {
        name.lower(): cls.color
        for classes, theirs in reversed(NUHTC_NAMES.items())
        for cls, other in zip(classes, theirs, strict=True)
        for name in (other, cls.name)
    }
    found: list[NucleusClass] = []
    for index, (item, name) in enumerate(zip(items, names, strict=True)):
        color = known.get(name.lower(), PALETTE[index % len(PALETTE)])
        if is_color(item.get("color")):
            red, green, blue = item["color"]
            color = (red, green, blue)
        found.append(NucleusClass(name, color))
    return tuple(found)
