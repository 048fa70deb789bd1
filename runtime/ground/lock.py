"""One process at a time, by a lock that the operating system takes back when its holder dies.

What counts is the lock on the open file, not that the file is there: one that a killed process
left behind keeps nobody out. Record locks (`fcntl`) are used because a forked helper does not
inherit them, so none can keep the lock of a killed run, and because network file systems
know them.
"""

import contextlib
import errno
import fcntl
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from nuhtc.runtime.ground.errors import OutputError
from nuhtc.runtime.ground.whole_files import explain

LOG = logging.getLogger(__name__)

_NO_LOCKS: Final = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS}


@contextlib.contextmanager
def hold(path: Path) -> Iterator[None]:
    """Hold a lock file while the block runs, and remove it afterwards.

    On a file system without locks the block runs all the same, and a warning is logged.

    Parameters
    ----------
    path
        The lock file; made if it is not there. Nothing else may open it.

    Raises
    ------
    BlockingIOError
        When another process holds it.
    OSError
        When it cannot be made.
    """
    handle = _locked(path)
    try:
        yield
    finally:
        # Removed while it is held, so that nobody's else is taken away.
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
        os.close(handle)


def _locked(path: Path) -> int:
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The holder before may have removed the file after it was opened here; then others
            # would lock a new one.
            if path.exists() and os.path.samestat(os.fstat(handle), path.stat()):
                return handle
        except OSError as refused:
            if refused.errno in _NO_LOCKS:
                LOG.warning("%s: the file system has no locks; run one process only", path.parent)
                return handle
            if not isinstance(refused, FileNotFoundError):
                os.close(handle)
                raise
        os.close(handle)


@contextlib.contextmanager
def sole_writer(lock: Path, who: str) -> Iterator[None]:
    """Keep every other process from writing the same files while the block runs.

    Parameters
    ----------
    lock
        The lock file, in the folder that is written.
    who
        What to call one that holds it, such as "another nuhtc-train is writing".

    Raises
    ------
    OutputError
        When another process holds it, or the folder cannot be written.
    """
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(hold(lock))
        except BlockingIOError as taken:
            raise OutputError(
                f"{lock.parent}: {who} there; wait until it has ended, or choose another --out"
            ) from taken
        except OSError as refused:
            raise OutputError(explain(refused, lock.parent)) from refused
        yield
