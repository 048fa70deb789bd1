"""Read a store: its parts in the order of the tiles, and whether they are whole."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nuhtc.runtime.ground.errors import StoreError
from nuhtc.runtime.nuclei.candidates import Candidates
from nuhtc.runtime.nuclei.nuclei import Nuclei
from nuhtc.runtime.nuclei.view import View
from nuhtc.runtime.slides.slide import Area
from nuhtc.runtime.stitching.stream import iter_nuclei
from nuhtc.runtime.store.ledger import Entry, read_ledger
from nuhtc.runtime.store.manifest import Manifest, read_manifest
from nuhtc.runtime.store.schema import decode

_AGAIN = "run nuhtc-run again with the same arguments"


@dataclass(frozen=True)
class Store:
    """A finished store, open for reading; nothing is ever written to it."""

    folder: Path
    """where it is"""
    manifest: Manifest
    """what it was made from"""
    entries: tuple[Entry, ...]
    """its parts, in order"""

    @property
    def skipped(self) -> NDArray[np.int64]:
        """The tiles that could not be read, row * columns + column, ascending."""
        return np.array([tile for entry in self.entries for tile in entry.skipped], np.int64)

    @property
    def damaged(self) -> list[Area]:
        """The areas that were taken as white: x, y, width, height in level-0 pixels."""
        return [area for entry in self.entries for area in entry.damaged]

    @property
    def ran(self) -> NDArray[np.bool_]:
        """The tiles that were run, bool (rows, columns)."""
        return self.manifest.ran(self.skipped)

    @property
    def candidates(self) -> int:
        """How many candidates there are."""
        return sum(entry.candidates for entry in self.entries)

    def parts(self) -> Iterator[Candidates]:
        """Read the candidates, part by part, in the order of the tiles.

        Raises
        ------
        StoreError
            When a part is missing or damaged.
        """
        for entry in self.entries:
            yield read_part(self.folder, entry, self.manifest)

    def iter_nuclei(self, view: View) -> Iterator[Nuclei]:
        """Return each nucleus that a view shows once, some thousands at a time.

        Raises
        ------
        StoreError
            When a part is missing or damaged.
        """
        manifest = self.manifest
        return iter_nuclei(
            self.parts(), manifest.grid, manifest.scale, manifest.slide, self.ran, view
        )

    def verify(self) -> int:
        """Check every checksum and decode every part; return the bytes checked.

        Raises
        ------
        StoreError
            At the first part that is missing or damaged.
        """
        for _ in self.parts():
            pass
        return sum(entry.size for entry in self.entries)


def open_store(folder: Path) -> Store:
    """Open a finished store.

    Raises
    ------
    StoreError
        When it is none, damaged, newer than this program, or unfinished.
    """
    manifest = read_manifest(folder)
    entries, _ = read_ledger(folder)
    if len(entries) < manifest.parts:
        raise StoreError(
            f"{folder}: is unfinished, {len(entries)} of {manifest.parts} parts are whole: {_AGAIN}"
        )
    return Store(folder, manifest, tuple(entries))


def read_part(folder: Path, entry: Entry, manifest: Manifest) -> Candidates:
    """Read one part and check it against its entry.

    Raises
    ------
    StoreError
        When it is missing or not what the ledger says.
    """
    path = folder / entry.name
    try:
        data = path.read_bytes()
    except OSError as error:
        raise StoreError(f"{path}: cannot be read ({error.strerror}): {_AGAIN}") from error
    if not is_whole(data, entry):
        raise StoreError(
            f"{path}: is damaged: {len(data):,} bytes that are not the {entry.size:,} of the "
            f"ledger: {_AGAIN}"
        )
    try:
        candidates = decode(data, manifest.grid, len(manifest.classes))
    except StoreError as error:
        raise StoreError(f"{path}: {error}: {_AGAIN}") from error
    expected = manifest.part_tiles(entry.part)
    if len(candidates) != entry.candidates or not np.isin(candidates.tile, expected).all():
        raise StoreError(f"{path}: holds other tiles than the manifest says: {_AGAIN}")
    return candidates


def is_whole(data: bytes, entry: Entry) -> bool:
    """Tell whether a part's bytes are those the ledger names."""
    return len(data) == entry.size and hashlib.sha256(data).hexdigest() == entry.sha256
