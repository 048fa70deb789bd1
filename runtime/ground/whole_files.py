"""Files and folders that appear whole or not at all."""

import contextlib
import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from nuhtc.runtime.ground.errors import OutputError


@contextlib.contextmanager
def whole_file(final: Path) -> Iterator[Path]:
    """Give a path to write to, and give it its real name once it is written and on the disk.

    The file is written as `<name>.partial` beside its final place, synced and renamed when the
    block ends. Whatever stops the block, an interrupt too, removes the partial file and leaves
    an older file of the final name as it was.

    Parameters
    ----------
    final
        Where the finished file belongs.

    Yields
    ------
    Path
        Where the block has to write it.

    Raises
    ------
    OutputError
        When the file system refuses: no permission, no folder, no space.
    """
    partial = final.with_name(final.name + ".partial")
    try:
        yield partial
        _sync(partial)
        partial.replace(final)
        _sync(final.parent)
    except BaseException as stopped:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        if isinstance(stopped, OSError):
            raise OutputError(explain(stopped, final)) from stopped
        raise


@contextlib.contextmanager
def whole_folder(final: Path) -> Iterator[Path]:
    """Give a folder to fill, and give it its real name once it is full and on the disk.

    It is filled as `<name>.partial` beside its final place. A folder that has the final name
    already is replaced at the end, and is back in its place if that fails; whatever stops the
    block removes the partial folder.

    Parameters
    ----------
    final
        Where the finished folder belongs; folders above it are made.

    Yields
    ------
    Path
        The folder to fill.

    Raises
    ------
    OutputError
        When the file system refuses, or a run that was killed has left its partial folder.
    """
    final = final.resolve()
    partial = final.with_name(f"{final.name or 'out'}.partial")
    made = False
    try:
        partial.parent.mkdir(parents=True, exist_ok=True)
        if partial.exists():
            raise OutputError(
                f"{partial}: is in the way, perhaps left by a run that was killed; remove it"
            )
        partial.mkdir()
        made = True
        yield partial
        for path in sorted(partial.rglob("*")):
            _sync(path)
        _put(partial, final)
        _sync(final.parent)
    except BaseException as stopped:
        if made:
            shutil.rmtree(partial, ignore_errors=True)
        if isinstance(stopped, OSError):
            raise OutputError(explain(stopped, final)) from stopped
        raise


def _put(folder: Path, final: Path) -> None:
    """Rename a folder; one that is there already stays until the new one has its name."""
    if not final.exists():
        folder.replace(final)
        return
    old = folder.with_name(f"{folder.name}.old")
    final.replace(old)
    try:
        folder.replace(final)
    except OSError:
        old.replace(final)
        raise
    shutil.rmtree(old, ignore_errors=True)


def prepare_folder(folder: Path) -> None:
    """Make a folder and check that files can be written there, before the work and not after.

    Raises
    ------
    OutputError
        When it cannot be made or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"\0")
    except OSError as refused:
        raise OutputError(explain(refused, folder)) from refused


def explain(problem: OSError, path: Path) -> str:
    """Return one line that says why a path cannot be written and what to do about it."""
    advice = {
        errno.ENOSPC: "the disk is full: free some space or choose another --out",
        errno.EFBIG: "the file is larger than the file system or a limit (ulimit -f) allows",
        errno.EDQUOT: "the disk quota is used up: free some space or choose another --out",
        errno.EACCES: "permission denied: choose another --out",
        errno.EPERM: "permission denied: choose another --out",
        errno.EROFS: "the file system is read-only: choose another --out",
        errno.ENAMETOOLONG: "the name is too long for this file system",
        errno.ENOTDIR: "a part of the path is a file, not a folder: choose another --out",
        errno.EEXIST: "a file of that name is in the way: choose another --out",
        errno.EISDIR: "a folder of that name is in the way: remove it or choose another --out",
    }
    reason = advice.get(problem.errno or 0, problem.strerror or str(problem))
    return f"{path}: cannot be written: {reason}"


def digest(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal.

    Raises
    ------
    OSError
        When it cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    # Some file systems let nobody open a folder, and so sync none.
    with contextlib.suppress(PermissionError):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
