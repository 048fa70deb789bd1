"""How the commands speak: results on stdout, complaints and logs on stderr."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

EXIT_INTERRUPTED: Final = 130


class _Handler(logging.Handler):
    """Log lines on stderr that do not tear a progress bar."""

    def __init__(self, prog: str) -> None:
        super().__init__()
        self._prog = prog

    def emit(self, record: logging.LogRecord) -> None:
        from tqdm import tqdm

        tqdm.write(f"{self._prog}: {record.getMessage()}", file=sys.stderr)


@contextmanager
def log_to_stderr(prog: str, *, verbose: bool) -> Iterator[None]:
    """Send the package's log to stderr while the block runs."""
    log = logging.getLogger("nuhtc")
    handler, level = _Handler(prog), log.level
    log.setLevel(logging.INFO if verbose else logging.WARNING)
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)


def complain(prog: str, message: object) -> None:
    """Print one line to stderr."""
    print(f"{prog}: {message}", file=sys.stderr)


def say(text: str) -> None:
    """Print to stdout; whoever read it may be gone (`| head`), and the work still goes on."""
    encoding = sys.stdout.encoding or "utf-8"
    text = text.encode(encoding, "backslashreplace").decode(encoding)
    try:
        print(text, flush=True)
    except BrokenPipeError:
        _discard_stdout()


def close_stdout() -> None:
    """Flush stdout at the end of a command, whether or not somebody still reads."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _discard_stdout()


def _discard_stdout() -> None:
    # Python flushes stdout once more when it ends; that must find something to write to.
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
