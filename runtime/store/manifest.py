"""The manifest: which slide, model, grid and settings a store's candidates come from."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray

from nuhtc.runtime.bundle.card import BundleFacts, NucleusClass
from nuhtc.runtime.ground.errors import StoreError
from nuhtc.runtime.ground.strict_json import build
from nuhtc.runtime.ground.whole_files import whole_file
from nuhtc.runtime.slides.slide import SlideFacts
from nuhtc.runtime.tiles.grid import Grid

MANIFEST: Final = "manifest.json"
FORMAT: Final = "nuhtc-store"
VERSION: Final = 1
"""Raised when an older reader could misunderstand a newer store."""

PART_TILES: Final = 128
"""Tiles per part: what a kill can lose, a few seconds of work."""

_BEFORE: Final = {"flips": 1}
"""What was done before there was a choice."""


@dataclass(frozen=True)
class Manifest:
    """What a store was made from; it never changes once written."""

    slide: SlideFacts
    """which slide: level-0 pixels, um/px"""
    bundle: BundleFacts
    """which model"""
    engine: str
    """what ran the model"""
    precision: str
    """what it computed in"""
    engine_reason: str
    """why that engine was taken"""
    classes: tuple[NucleusClass, ...]
    """names and colours, by label"""
    grid: Grid
    """the tiles, in model pixels"""
    scale: float
    """level-0 pixels per model pixel"""
    settings: Mapping[str, float]
    """whatever else changes the candidates: least score, batch, flips"""
    tiles: NDArray[np.int64]
    """int64 (T,): the tiles with tissue, row * columns + column, ascending. Part ``i`` holds tiles
    ``128 * i`` to ``128 * i + 127`` of these"""
    tissue_mm2: float
    """area of the tissue"""
    versions: Mapping[str, str]
    """of the programs that made it"""

    @property
    def parts(self) -> int:
        """How many parts a finished store has."""
        return -(-len(self.tiles) // PART_TILES)

    def part_tiles(self, part: int) -> NDArray[np.int64]:
        """Return the tiles of one part, int64."""
        return self.tiles[part * PART_TILES : (part + 1) * PART_TILES]

    def ran(self, skipped: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which tiles of the grid were run, bool (rows, columns), all but some skipped."""
        ran = np.zeros(self.grid.count, np.bool_)
        ran[self.tiles] = True
        ran[skipped] = False
        return ran.reshape(self.grid.rows, self.grid.cols)

    def setting(self, name: str) -> float | None:
        """Return one of the settings, also of a store older than the setting."""
        return self.settings.get(name, _BEFORE.get(name))

    def differences(self, other: "Manifest") -> list[str]:
        """Say what keeps a run described by `other` from continuing this one."""
        pairs = {
            "slide": (self.slide.digest, other.slide.digest),
            "um/px": (self.slide.mpp, other.slide.mpp),
            "model": (self.bundle.digest, other.bundle.digest),
            "engine": (self.engine, other.engine),
            "precision": (self.precision, other.precision),
            "tile": (self.grid.tile, other.grid.tile),
            "overlap": (self.grid.overlap, other.grid.overlap),
            **{
                name: (self.setting(name), other.setting(name))
                for name in sorted({*self.settings, *other.settings})
            },
        }
        found = [
            f"{name} {here}, not {there}" for name, (here, there) in pairs.items() if here != there
        ]
        same = np.array_equal(self.tiles, other.tiles) and self.grid == other.grid
        if not found and not (same and self.scale == other.scale):
            found.append("other tiles with tissue")
        return found

    def to_json(self) -> bytes:
        """Return the manifest's file."""
        document = {
            "format": FORMAT,
            "version": VERSION,
            "slide": vars(self.slide),
            "bundle": vars(self.bundle),
            "engine": self.engine,
            "precision": self.precision,
            "engine_reason": self.engine_reason,
            "classes": [{"name": one.name, "color": list(one.color)} for one in self.classes],
            "grid": vars(self.grid),
            "scale": self.scale,
            "settings": dict(self.settings),
            "tiles": _to_ranges(self.tiles),
            "part_tiles": PART_TILES,
            "tissue_mm2": self.tissue_mm2,
            "versions": dict(self.versions),
        }
        return orjson.dumps(document, option=orjson.OPT_INDENT_2) + b"\n"


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest of a store's folder, whole or not at all.

    Raises
    ------
    OutputError
        When it cannot be written.
    """
    with whole_file(folder / MANIFEST) as partial:
        partial.write_bytes(manifest.to_json())


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of a store's folder.

    Raises
    ------
    StoreError
        When the folder is no store, its manifest is damaged, or a newer version made it.
    """
    path = folder / MANIFEST
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise StoreError(
            f"{folder}: is no store (it has no {MANIFEST}); give the .nuclei folder that "
            "nuhtc-run left"
        ) from error
    except OSError as error:
        raise StoreError(f"{path}: cannot be read: {error.strerror}") from error
    try:
        document = orjson.loads(data)
        version = document["version"] if document["format"] == FORMAT else None
        if isinstance(version, int) and version > VERSION:
            raise StoreError(
                f"{folder}: was made by a newer nuhtc (store version {version}; this one reads "
                f"up to {VERSION}): upgrade nuhtc"
            )
        if version != VERSION or document["part_tiles"] != PART_TILES:
            raise ValueError("another format")
        return _from_document(document)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(
            f"{path}: is damaged or no manifest of a store; run nuhtc-run with --fresh to make "
            "the store again"
        ) from error


def _from_document(document: dict[str, Any]) -> Manifest:
    written: _Document = build(
        _Document,
        {k: v for k, v in document.items() if k not in ("format", "version", "part_tiles")},
        "manifest",
    )
    return Manifest(**{**vars(written), "tiles": _from_ranges(written.tiles)})


@dataclass(frozen=True)
class _Document:
    """A manifest as its file holds it."""

    slide: SlideFacts
    bundle: BundleFacts
    engine: str
    precision: str
    engine_reason: str
    classes: tuple[NucleusClass, ...]
    grid: Grid
    scale: float
    settings: dict[str, int | float]
    tiles: tuple[tuple[int, int], ...]
    """first and last of each run without a gap"""
    tissue_mm2: float
    versions: dict[str, str]


def _to_ranges(tiles: NDArray[np.int64]) -> list[list[int]]:
    """Return ascending numbers as [first, last] of each run without a gap."""
    breaks = np.flatnonzero(np.diff(tiles) != 1)
    first = tiles[np.concatenate([[0], breaks + 1])] if len(tiles) else tiles
    last = tiles[np.concatenate([breaks, [len(tiles) - 1]])] if len(tiles) else tiles
    return [[int(low), int(high)] for low, high in zip(first, last, strict=True)]


def _from_ranges(ranges: tuple[tuple[int, int], ...]) -> NDArray[np.int64]:
    return np.concatenate(
        [np.zeros(0, np.int64), *(np.arange(low, high + 1) for low, high in ranges)]
    )
