"""The ledger: which parts are finished, one checksummed line each.

A line is JSON, a space, and the CRC-32 of the JSON in eight hex digits. Whatever follows the
first line that is torn, damaged or out of turn was never finished.
"""

import zlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import orjson

from nuhtc.runtime.ground.errors import StoreError
from nuhtc.runtime.ground.strict_json import build
from nuhtc.runtime.slides.slide import Area

LEDGER: Final = "ledger.jsonl"


@dataclass(frozen=True)
class Entry:
    """One finished part."""

    part: int
    """its number, from 0"""
    size: int
    """bytes of its file"""
    sha256: str
    """digest of its file"""
    candidates: int
    """how many it holds"""
    skipped: tuple[int, ...]
    """its tiles that could not be read, row * columns + column"""
    damaged: tuple[Area, ...]
    """areas of its other tiles that were taken as white: x, y, width, height in level-0 pixels"""

    @property
    def name(self) -> str:
        """The part's file."""
        return f"{self.part:06d}.arrow"

    def line(self) -> bytes:
        """Return the ledger's line, newline included."""
        text = orjson.dumps(asdict(self))
        return b"%b %08x\n" % (text, zlib.crc32(text))


def read_ledger(folder: Path) -> tuple[list[Entry], int]:
    """Return the entries up to the first that cannot be trusted, and how many bytes they take.

    Raises
    ------
    StoreError
        When the ledger is there and cannot be read.
    """
    try:
        data = (folder / LEDGER).read_bytes()
    except FileNotFoundError:
        return [], 0
    except OSError as error:
        raise StoreError(f"{folder / LEDGER}: cannot be read: {error.strerror}") from error
    entries: list[Entry] = []
    length = 0
    for line in data.splitlines(keepends=True):
        entry = _parse(line)
        if entry is None or entry.part != len(entries):
            break
        entries.append(entry)
        length += len(line)
    return entries, length


def _parse(line: bytes) -> Entry | None:
    text, _, check = line.rpartition(b" ")
    if check != b"%08x\n" % zlib.crc32(text):
        return None
    try:
        entry: Entry = build(Entry, orjson.loads(text), "entry")
    except (ValueError, TypeError):
        return None
    return entry
