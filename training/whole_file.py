"""Files that appear whole or not at all."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from nuhtc.training.errors import TrainingError


@contextlib.contextmanager
def whole_file(final: Path) -> Iterator[Path]:
    """Give a path to write to, and give it its real name once it is written and on the disk.

    Whatever stops the block leaves neither a partial file nor a changed older one.

    Raises
    ------
    TrainingError
        The file system refuses.
    """
    partial = final.with_name(final.name + ".partial")
    try:
        yield partial
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(final)
    except OSError as error:
        raise TrainingError(
            f"{final}: cannot be written ({error.strerror or error}); free space there, or "
            "choose another --out"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def prepare_folder(folder: Path) -> None:
    """Make a folder and check that files can be written there, before the work and not after.

    Raises
    ------
    TrainingError
        It cannot be made or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"\0")
    except OSError as error:
        raise TrainingError(
            f"{folder}: cannot be written ({error.strerror or error}); choose another --out"
        ) from error
