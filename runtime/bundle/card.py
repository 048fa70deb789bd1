"""The card of a bundle: everything a runtime must know of a model, as data."""

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import orjson

from nuhtc.runtime.ground.errors import BundleError
from nuhtc.runtime.ground.strict_json import build
from nuhtc.runtime.ground.whole_files import digest

FORMAT = "nuhtc-bundle"

VERSION = 2

CARD = "card.json"
"""What a card is called in a bundle."""

GRAPHS = ("trunk", "heads", "masks")

FEATURES = ("fine4", "fine8", "summary16", "summary32", "semantic")
"""Outputs of the trunk that heads and masks take as they are."""

INPUTS = {
    "trunk": ("tiles",),
    "heads": ("regions", "region_tile"),
    "masks": ("regions", "region_tile"),
}
"""What each graph takes besides features."""

OUTPUTS = {
    "trunk": ("boxes", "scores", "levels", "foreground"),
    "heads": ("boxes", "probabilities"),
    "masks": ("masks",),
}
"""What each graph gives besides features."""

STORED = ("fp32", "fp16", "int8")
"""Arithmetic that a bundle may have graphs for."""

PROOF_FILES = ("parity.json", "parity.md")
"""What the report is called in a bundle."""

CARD_MOST_BYTES = 1 << 20
"""A card is a few kilobytes; whatever is longer than this is none."""


@dataclass(frozen=True)
class NucleusClass:
    """A class of nuclei and how viewers show it."""

    name: str
    color: tuple[int, int, int]
    """RGB, 0 to 255"""


@dataclass(frozen=True)
class ProposalSettings:
    """How proposals are chosen between trunk and heads; lengths in network-input pixels."""

    count: int
    """RPN boxes kept for each tile of the card's size; larger tiles keep more, by area"""
    min_side: float
    """boxes with a side of this or less are dropped"""
    nms: float
    """IoU above which the lesser of two boxes of one level is dropped"""
    watershed_opening: int
    """erosions, then as many dilations, of the foreground map by a 5x5 square"""
    watershed_split: float = field(default=0.0, metadata={"optional": True})
    """least rise between touching nuclei for them to be taken apart; 0: never, as published"""
    score: float = field(default=0.0, metadata={"optional": True})
    """least score of an RPN box; 0, as published, takes the best ones whatever their scores"""


@dataclass(frozen=True)
class DetectionSettings:
    """How regions become nuclei."""

    score: float
    """least class probability"""
    nms: float
    """IoU above which the lesser of two boxes is dropped"""
    nms_per_class: bool
    """whether two classes may claim one nucleus, as published"""
    count: int
    """most nuclei of a tile of the card's size; larger tiles hold more, by area"""
    mask_threshold: float
    """least mask probability of a pixel inside"""
    object_temperature: float = field(default=1.0, metadata={"optional": True})
    """divides the logit of being a nucleus; see :mod:`nuhtc.runtime.engines.calibration`"""
    object_bias: float = field(default=0.0, metadata={"optional": True})
    """added to that logit afterwards"""
    class_temperature: float = field(default=1.0, metadata={"optional": True})
    """divides the classes' logits"""


@dataclass(frozen=True)
class DataSource:
    """A data set that the model was trained on."""

    name: str
    licence: str
    source: str
    """whom to cite"""


@dataclass(frozen=True)
class GraphSet:
    """The three graphs of one precision: names of files in the bundle."""

    trunk: str
    heads: str
    masks: str
    storage: str
    """of the weights on disk: float32, float16 or int8"""
    calibration: str = ""
    """what int8 ranges were measured on; empty for other precisions"""


@dataclass(frozen=True)
class FileDigest:
    """A file of the bundle."""

    sha256: str
    size: int
    """bytes"""


@dataclass(frozen=True)
class Card:
    """Everything a runtime must know of a model."""

    name: str
    preset: str
    classes: tuple[NucleusClass, ...]
    mpp: float
    """um per pixel of the tiles"""
    input_scale: float
    """the graphs enlarge tiles by this; their boxes are in enlarged pixels"""
    tile: int
    """side of a tile in pixels, as trained"""
    multiple: int
    """a tile's side must be a multiple of this"""
    mean: tuple[float, float, float]
    """subtracted from RGB inside the graph"""
    std: tuple[float, float, float]
    """divides RGB inside the graph"""
    precisions: dict[str, GraphSet]
    """the graphs by precision, of STORED"""
    proposals: ProposalSettings
    detection: DetectionSettings
    licence: str
    """what the weights may be used for, following from the data's licences"""
    data: tuple[DataSource, ...] = ()
    metrics: dict[str, dict[str, float]] = field(default_factory=dict)
    """for each data set, measures on pictures never trained on"""
    files: dict[str, FileDigest] = field(default_factory=dict)

    def with_detection(self, **changes: float | bool) -> "Card":
        """Return the card with other values of `DetectionSettings`."""
        return replace(self, detection=replace(self.detection, **changes))  # type: ignore[arg-type]

    def to_json(self) -> bytes:
        """Return the text of ``card.json``."""
        content = {"format": FORMAT, "version": VERSION, **asdict(self)}
        return orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def file_digest(path: Path) -> FileDigest:
    """Return the size and SHA-256 of a file."""
    return FileDigest(digest(path), path.stat().st_size)


@dataclass(frozen=True)
class BundleFacts:
    """Which network it was."""

    name: str
    digest: str
    model_mpp: float


def parse_card(path: Path, text: bytes) -> Card:
    """Return the card that some bytes are.

    Parameters
    ----------
    path
        Where they are from, for messages.
    text
        The content of ``card.json``.

    Raises
    ------
    BundleError
        They are damaged, no card, of another version, or say what no export writes.
    """
    if len(text) > CARD_MOST_BYTES:
        raise BundleError(f"{path}: too long to be a card written by nuhtc-export")
    try:
        content = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise BundleError(f"{path}: damaged; export the model again ({error})") from error
    if not isinstance(content, dict) or content.pop("format", None) != FORMAT:
        raise BundleError(f"{path}: not a card written by nuhtc-export")
    version = content.pop("version", None)
    if version != VERSION:
        raise BundleError(
            f"{path}: version {version!r}, this nuhtc reads version {VERSION}; update nuhtc, "
            "or export the model again"
        )
    try:
        card: Card = build(Card, content, "card")
    except (TypeError, ValueError) as error:
        raise BundleError(f"{path}: {error}; export the model again") from error
    _check_values(path, card)
    return card


def _check_values(path: Path, card: Card) -> None:
    """Refuse numbers that no export writes and that would fail far from here."""
    rules = {
        "classes must not be empty": bool(card.classes),
        f"precisions must be some of {', '.join(STORED)}": (
            bool(card.precisions) and set(card.precisions) <= set(STORED)
        ),
        "mpp must be above 0": 0 < card.mpp < 100,
        "input_scale must be 1 to 8": 1 <= card.input_scale <= 8,
        "multiple must be 1 or more": card.multiple >= 1,
        "tile must be a multiple of `multiple`": (
            card.tile > 0 and card.tile % max(card.multiple, 1) == 0
        ),
        "detection.score must be 0 to 1": 0 <= card.detection.score <= 1,
        "detection.mask_threshold must be above 0 and at most 1": (
            0 < card.detection.mask_threshold <= 1
        ),
        "temperatures must be 0.01 to 100": (
            0.01 <= card.detection.object_temperature <= 100
            and 0.01 <= card.detection.class_temperature <= 100
        ),
        "object_bias must be -20 to 20": -20 <= card.detection.object_bias <= 20,
        "proposals.watershed_split must be 0 to 255": 0 <= card.proposals.watershed_split <= 255,
        "proposals.score must be 0 to 1": 0 <= card.proposals.score <= 1,
        "proposals.watershed_opening must be 0 to 16": 0 <= card.proposals.watershed_opening <= 16,
        "nms must be 0 to 1": 0 <= card.proposals.nms <= 1 and 0 <= card.detection.nms <= 1,
        "counts must be 1 or more": card.proposals.count >= 1 and card.detection.count >= 1,
        "colours must be 0 to 255": all(is_color(one.color) for one in card.classes),
    }
    broken = [rule for rule, holds in rules.items() if not holds]
    if broken:
        raise BundleError(f"{path}: {'; '.join(broken)}; export the model again")


def is_color(value: object) -> bool:
    """Tell whether a value is RGB: three whole numbers from 0 to 255."""
    return (
        isinstance(value, list | tuple)
        and len(value) == 3
        and all(type(part) is int and 0 <= part <= 255 for part in value)
    )


def plain_name(name: str) -> bool:
    """Tell whether a name is that of a file right in the bundle's folder, leading nowhere else."""
    return Path(name).name == name and name not in {"", ".", ".."} and not {"\\", "\0"} & set(name)
