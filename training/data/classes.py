"""The classes of data sets that people know, and the colours that viewers show them in."""

import colorsys
import re
from collections.abc import Sequence

from nuhtc.runtime.bundle.card import DataSource, NucleusClass

CONSEP = (
    NucleusClass("Other", (255, 255, 0)),
    NucleusClass("Inflammatory", (0, 255, 0)),
    NucleusClass("Epithelial", (255, 0, 0)),
    # A blue that stands out from haematoxylin.
    NucleusClass("Spindle", (0, 176, 255)),
)
"""CoNSeP's usual merge of seven types into four (Graham et al. 2019)."""

PANNUKE = (
    NucleusClass("Neoplastic", (255, 0, 0)),
    NucleusClass("Inflammatory", (0, 255, 0)),
    NucleusClass("Connective", (0, 0, 255)),
    NucleusClass("Dead", (255, 255, 0)),
    NucleusClass("Epithelial", (255, 0, 255)),
)
"""PanNuke's five classes, in the order of its channels, in NuHTC's colours."""

CONIC = (
    NucleusClass("Neutrophil", (255, 165, 0)),
    NucleusClass("Epithelial", (255, 0, 0)),
    NucleusClass("Lymphocyte", (0, 255, 0)),
    NucleusClass("Plasma", (0, 176, 255)),
    NucleusClass("Eosinophil", (255, 255, 0)),
    NucleusClass("Connective", (0, 0, 255)),
)
"""CoNIC's six classes, in the order of its class map."""

KNOWN = {
    "consep": DataSource(
        "CoNSeP",
        "no explicit licence; research use only",
        "Graham et al., HoVer-Net, Medical Image Analysis 58, 2019",
    ),
    "monuseg": DataSource(
        "MoNuSeg 2018",
        "CC BY-NC-SA 4.0",
        "Kumar et al., IEEE Transactions on Medical Imaging 36, 2017",
    ),
    "tnbc": DataSource(
        "TNBC",
        "CC BY 4.0",
        "Naylor et al., IEEE Transactions on Medical Imaging 38, 2019",
    ),
    "pannuke": DataSource(
        "PanNuke", "CC BY-NC-SA 4.0", "Gamper et al., PanNuke, arXiv:2003.10778, 2020"
    ),
    "conic": DataSource(
        "CoNIC",
        "CC BY-NC-SA 4.0",
        "Graham et al., CoNIC Challenge, Medical Image Analysis 92, 2024",
    ),
}
"""Licence and source of data sets, by the name of their folder."""


def describe(name: str) -> DataSource:
    """Return what is known of a data set; ``pannuke-fold1`` is PanNuke."""
    known = KNOWN.get(name.split("-", 1)[0])
    return known if known is not None else DataSource(name, "unknown", "unknown")


def parse_classes(text: str) -> tuple[NucleusClass, ...]:
    """Read classes from ``Name,Name=#rrggbb,...``.

    A class without a colour gets PanNuke's if PanNuke has one of that name, else one of as
    many evenly spaced hues.

    Raises
    ------
    ValueError
        An entry has no name or no such colour, or a name comes twice.
    """
    names, given = [], []
    for entry in text.split(","):
        name, equals, color = (part.strip() for part in entry.partition("="))
        if not name or not name.isprintable():
            raise ValueError(f"{entry!r}: a class needs a name, as in Name or Name=#rrggbb")
        if equals and not re.fullmatch(r"#[0-9a-fA-F]{6}", color):
            raise ValueError(f"{entry!r}: a colour is #rrggbb, as in {name}=#ff8000")
        names.append(name)
        given.append(color)
    if len(set(names)) < len(names):
        raise ValueError(f"{text!r}: a name comes twice")
    return tuple(
        NucleusClass(info.name, _rgb(color)) if color else info
        for info, color in zip(_colored(names), given, strict=True)
    )


def _colored(names: Sequence[str]) -> tuple[NucleusClass, ...]:
    known = {one.name.lower(): one.color for one in PANNUKE}
    return tuple(
        NucleusClass(name, known.get(name.lower(), _hue(i / len(names))))
        for i, name in enumerate(names)
    )


def _hue(turn: float) -> tuple[int, int, int]:
    red, green, blue = colorsys.hsv_to_rgb(turn, 1.0, 1.0)
    return round(255 * red), round(255 * green), round(255 * blue)


def _rgb(color: str) -> tuple[int, int, int]:
    red, green, blue = bytes.fromhex(color[1:])
    return red, green, blue
