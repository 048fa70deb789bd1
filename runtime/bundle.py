"""A bundle: what export writes and the runtime reads.

A bundle is a folder, or that folder packed into one ``.zip`` file. It holds ``card.json`` and
three ONNX graphs, ``trunk``, ``heads`` and ``masks``, in one precision or several (fp32, fp16,
int8), which may share files. It is data: nothing in it is unpickled or executed as code. Every
file's SHA-256 is in the card and is checked before the file is used.
"""

import hashlib
from dataclasses import asdict, dataclass, field, replace
from importlib import resources
from pathlib import Path

import orjson

from nuhtc.runtime.ground.errors import BundleError
from nuhtc.runtime.ground.strict_json import build

FORMAT = "nuhtc-bundle"
VERSION = 2
GRAPHS = ("trunk", "heads", "masks")
PRECISIONS = ("fp32", "fp16", "int8")
"""Arithmetic that a bundle may have graphs for."""
DEFAULT_MODEL = "lite0"
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
    """divides the logit of being a nucleus; see :mod:`nuhtc.runtime.calibration`"""
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
    """the graphs by precision, of PRECISIONS"""
    proposals: ProposalSettings
    detection: DetectionSettings
    licence: str
    """what the weights may be used for, following from the data's licences"""
    data: tuple[DataSource, ...] = ()
    metrics: dict[str, dict[str, float]] = field(default_factory=dict)
    """for each data set, measures on pictures never trained on"""
    files: dict[str, FileDigest] = field(default_factory=dict)

    def to_json(self) -> bytes:
        """The text of ``card.json``."""
        content = {"format": FORMAT, "version": VERSION, **asdict(self)}
        return orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


@dataclass(frozen=True)
class Bundle:
    """A bundle whose card has been read and whose files have been checked."""

    folder: Path
    card: Card
    digest: str
    """``sha256:`` of ``card.json``, which holds the digests of all other files"""
    archive: Path | None = None
    """the ``.zip`` that ``folder`` was unpacked from, if it was"""

    def path(self, name: str) -> Path:
        """Where a file of the bundle is."""
        return self.folder / name

    def graph(self, name: str, precision: str = "fp32") -> Path:
        """Where one of GRAPHS lies in a precision that the card lists.

        Raises
        ------
        BundleError
            The bundle has no graphs of this precision.
        """
        graphs = self.card.precisions.get(precision)
        if graphs is None:
            raise BundleError(
                f"{self.archive or self.folder}: has no {precision} graphs, only "
                f"{', '.join(self.card.precisions)}; export the model with --{precision}, or "
                f"choose another --precision"
            )
        return self.folder / str(getattr(graphs, name))


def default_bundle() -> Path:
    """The folder of the model that comes with the package."""
    return Path(str(resources.files("nuhtc.runtime"))) / "models" / DEFAULT_MODEL


def load_bundle(folder: Path) -> Bundle:
    """Read a bundle and check every file in it.

    Parameters
    ----------
    folder
        The bundle's folder, or a ``.zip`` of it, which is unpacked into a temporary folder that
        goes when the process ends.

    Raises
    ------
    BundleError
        The folder is missing or no bundle, its card is damaged or of a newer version, or a
        file is missing or differs from the card.
    """
    # It imports this module; and most bundles are folders.
    from nuhtc.runtime.bundle_archive import is_archive, unpack_bundle

    if is_archive(folder):
        return replace(load_bundle(unpack_bundle(folder)), archive=folder)
    text = _read_card(folder)
    card = parse_card(folder / "card.json", text)
    for graphs in card.precisions.values():
        for name in (graphs.trunk, graphs.heads, graphs.masks):
            if name not in card.files:
                raise BundleError(
                    f"{folder / 'card.json'}: lists no {name}; export the model again"
                )
    for name, expected in card.files.items():
        _check_file(folder, name, expected)
    return Bundle(folder, card, f"sha256:{hashlib.sha256(text).hexdigest()}")


def file_digest(path: Path) -> FileDigest:
    """Size and SHA-256 of a file."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return FileDigest(digest, path.stat().st_size)


def _read_card(folder: Path) -> bytes:
    if not folder.exists():
        raise BundleError(f"{folder}: no such bundle; --bundle takes a folder from nuhtc-export")
    if not folder.is_dir():
        raise BundleError(f"{folder}: a bundle is a folder with card.json, and this is a file")
    try:
        return (folder / "card.json").read_bytes()
    except FileNotFoundError as error:
        raise BundleError(
            f"{folder}: holds no card.json, so it is no bundle; nuhtc-export makes one"
        ) from error
    except OSError as error:
        raise BundleError(f"{folder / 'card.json'}: cannot be read ({error.strerror})") from error


def parse_card(path: Path, text: bytes) -> Card:
    """The card that some bytes are.

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
        f"precisions must be some of {', '.join(PRECISIONS)}": (
            bool(card.precisions) and set(card.precisions) <= set(PRECISIONS)
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
        "colours must be 0 to 255": all(0 <= c <= 255 for k in card.classes for c in k.color),
    }
    broken = [rule for rule, holds in rules.items() if not holds]
    if broken:
        raise BundleError(f"{path}: {'; '.join(broken)}; export the model again")


def plain_name(name: str) -> bool:
    """Whether a name is that of a file right in the bundle's folder, and leads nowhere else."""
    return Path(name).name == name and name not in {"", ".", ".."} and not {"\\", "\0"} & set(name)


def _check_file(folder: Path, name: str, expected: FileDigest) -> None:
    if not plain_name(name):
        raise BundleError(f"{folder / 'card.json'}: names a file outside the bundle: {name!r}")
    path = folder / name
    try:
        found = file_digest(path)
    except FileNotFoundError as error:
        raise BundleError(f"{path}: missing; copy the whole bundle again") from error
    except OSError as error:
        raise BundleError(f"{path}: cannot be read ({error.strerror})") from error
    if found != expected:
        raise BundleError(
            f"{path}: differs from what card.json says ({found.size} bytes, {expected.size} "
            "expected); truncated or changed: copy or export the bundle again"
        )
