"""Files that appear whole or not at all."""

import contextlib
import errno
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from nuhtc.runtime.ground.errors import OutputError


@contextlib.contextmanager
def atomic_path(final: Path) -> Iterator[Path]:
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


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def prepare_folder(folder: Path) -> None:
    """Make the output folder and check that files can be written there.

    Raises
    ------
    OutputError
        When it cannot be made or written; asked before the network runs, not after.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"\0")
    except OSError as refused:
        raise OutputError(explain(refused, folder)) from refused
