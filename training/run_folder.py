"""The folder of a training run, which one run at a time may write."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from nuhtc.runtime.ground.lock import hold
from nuhtc.training.errors import TrainingError
from nuhtc.training.whole_file import prepare_folder


@contextlib.contextmanager
def own_folder(folder: Path) -> Iterator[None]:
    """Make a run's folder and keep every other run out of it while the block runs.

    Raises
    ------
    TrainingError
        It cannot be written, or another process trains there.
    """
    prepare_folder(folder)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(hold(folder / ".lock"))
        except BlockingIOError as error:
            raise TrainingError(
                f"{folder}: another nuhtc-train is writing there; wait until it has ended, or "
                "give another --out"
            ) from error
        yield
