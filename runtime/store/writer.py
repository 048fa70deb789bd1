"""Write a store while the network runs, or continue one that was stopped."""

import contextlib
import hashlib
import os
import shutil
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Final

from nuhtc.runtime.ground.errors import OutputError, StoreError
from nuhtc.runtime.ground.whole_files import explain
from nuhtc.runtime.nuclei.candidates import Candidates
from nuhtc.runtime.slides.slide import Area
from nuhtc.runtime.store.ledger import LEDGER, Entry, read_ledger
from nuhtc.runtime.store.manifest import MANIFEST, Manifest, read_manifest, write_manifest
from nuhtc.runtime.store.reader import Store, is_whole
from nuhtc.runtime.store.schema import encode

SUFFIX = ".nuclei"
"""What a store's folder ends in."""


_SYNCING: Final = 4
"""Threads that wait for the disk, which takes several syncs at once in hardly more time."""

_MOST_UNSYNCED: Final = 8


class StoreWriter:
    """Appends parts to a store; leave it through ``close`` or a ``with`` block.

    A part is written, then named in the ledger; helper threads sync both to the disk while the
    next parts are made. The order in which they get there does not matter, because a line
    without its part is recognised by the part's checksum.

    Parameters
    ----------
    folder
        The store; made if it is not there. One that is there is continued if it is of the same
        slide, model and settings.
    manifest
        What the candidates come from.

    Raises
    ------
    StoreError
        When the folder holds a store of another run; the message says what differs.
    OutputError
        When the folder cannot be written.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder, self.manifest = folder, manifest
        self.entries: list[Entry] = _begin(folder, manifest)
        self._ledger = os.open(folder / LEDGER, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        self._threads = ThreadPoolExecutor(_SYNCING, thread_name_prefix="nuhtc-store")
        self._pending: deque[Future[None]] = deque()

    @property
    def done(self) -> int:
        """How many parts are finished."""
        return len(self.entries)

    def append(
        self, candidates: Candidates, skipped: Sequence[int], damaged: Sequence[Area] = ()
    ) -> None:
        """Add the next part: what its tiles answered, and what of them could not be read.

        Raises
        ------
        OutputError
            When the disk refuses this part or the one before.
        """
        # Where parts come slower than the disk takes them, the ledger is at most one part behind.
        if all(one.done() for one in self._pending):
            self._settle(0)
        data = memoryview(encode(candidates, self.manifest.grid))
        entry = Entry(
            part=len(self.entries),
            size=len(data),
            sha256=hashlib.sha256(data).hexdigest(),
            candidates=len(candidates),
            skipped=tuple(skipped),
            damaged=tuple(damaged),
        )
        try:
            part = os.open(self.folder / entry.name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
            try:
                _write(part, data)
                _write(self._ledger, memoryview(entry.line()))
            finally:
                self._pending.append(self._threads.submit(_sync, part))
        except OSError as refused:
            raise OutputError(explain(refused, self.folder)) from refused
        self.entries.append(entry)
        self._settle(_MOST_UNSYNCED)

    def finish(self) -> Store:
        """Wait until everything is on the disk and return the finished store.

        Raises
        ------
        OutputError
            When the disk refused a part.
        StoreError
            When parts are missing.
        """
        self._settle(0)
        if len(self.entries) != self.manifest.parts:
            raise StoreError(
                f"{self.folder}: {len(self.entries)} of {self.manifest.parts} parts were written"
            )
        return Store(self.folder, self.manifest, tuple(self.entries))

    def close(self) -> None:
        """Let go of the files; what is finished stays finished."""
        with contextlib.suppress(OutputError):
            self._settle(0)
        self._threads.shutdown(wait=True)
        os.close(self._ledger)

    def __enter__(self) -> "StoreWriter":
        return self

    def __exit__(self, *stopped: object) -> None:
        self.close()

    def _settle(self, most: int) -> None:
        """Wait until no more than so many parts are not yet on the disk, then sync the ledger."""
        if len(self._pending) <= most:
            return
        try:
            while self._pending:
                self._pending.popleft().result()
            os.fsync(self._ledger)
        except OSError as refused:
            raise OutputError(explain(refused, self.folder)) from refused


def remove_store(folder: Path) -> None:
    """Remove a store, so that a run begins anew; a folder that is no store is left alone.

    Raises
    ------
    OutputError
        When it cannot be removed.
    """
    if not (folder / MANIFEST).exists():
        return
    try:
        # The ledger first: what is then left of the store is unfinished, whatever happens.
        (folder / LEDGER).unlink(missing_ok=True)
        shutil.rmtree(folder)
    except OSError as refused:
        raise OutputError(explain(refused, folder)) from refused


def _begin(folder: Path, manifest: Manifest) -> list[Entry]:
    """Make the folder or check the one that is there; return the parts that can be trusted."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / MANIFEST).exists():
            # Without a manifest nobody knows what the parts are of.
            (folder / LEDGER).unlink(missing_ok=True)
            write_manifest(folder, manifest)
            return []
        differ = read_manifest(folder).differences(manifest)
        if differ:
            raise StoreError(
                f"{folder}: holds another run ({'; '.join(differ)}): give another --out, or "
                "--fresh to replace it"
            )
        entries, length = read_ledger(folder)
        for number, entry in enumerate(entries):
            path = folder / entry.name
            if not path.is_file() or not is_whole(path.read_bytes(), entry):
                length = sum(len(kept.line()) for kept in entries[:number])
                entries = entries[:number]
                break
        if (folder / LEDGER).exists():
            os.truncate(folder / LEDGER, length)
    except OSError as refused:
        raise OutputError(explain(refused, folder)) from refused
    return entries


def _write(file: int, data: memoryview) -> None:
    while len(data):
        data = data[os.write(file, data) :]


def _sync(part: int) -> None:
    """Bring a part to the disk and close it."""
    try:
        os.fsync(part)
    finally:
        os.close(part)
