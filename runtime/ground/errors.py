"""Every error that is raised on purpose.

::

    NuhtcError               exit 1: the run could not do what was asked
    |-- UsageError           exit 2: the command itself is wrong
    |-- SlideError           a slide or picture cannot be used
    |   |-- ResolutionError  its um/px is missing, broken or contradictory
    |   `-- SlideReadError   it opened, but one region of it cannot be read
    |-- BundleError          the model bundle is damaged, foreign or too new
    |-- EngineError          the inference engine is missing or failed
    |-- StoreError           a store is damaged, foreign, too new, or of another run
    |-- ReaderError        a file of outlines cannot be read
    |-- OutputError          a result cannot be written
    |-- PipelineError        the stages of a run contradict each other
    `-- TrainingError        a training or an evaluation cannot go on
        |-- DataError        a data set's folder or file is missing, damaged or inconsistent
        `-- CheckpointError  a checkpoint cannot be read, or does not fit the network

A message is one line for people: what went wrong, where, and what to do. The command line
prints it as it is and leaves with the error's `exit_code`; nothing here carries a traceback
to a user. A run that finished around damage, with white areas or skipped tiles, is no error:
it leaves with `EXIT_SKIPPED`.
"""

from typing import Final

EXIT_DONE: Final = 0
EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
EXIT_SKIPPED: Final = 3


class NuhtcError(Exception):
    """The root of the tree: catch it to catch everything that is raised on purpose."""

    exit_code: int = EXIT_FAILED


class UsageError(NuhtcError):
    """The command asks for something that cannot be meant, such as a negative tile size."""

    exit_code = EXIT_USAGE


class SlideError(NuhtcError):
    """A slide or picture is missing, damaged or of an unknown kind; other slides may be fine."""


class ResolutionError(SlideError):
    """A slide's um/px is missing, broken or contradictory; giving `--mpp` settles it."""


class SlideReadError(SlideError):
    """One region of an open slide cannot be read; the rest of the slide may be fine.

    Parameters
    ----------
    message
        What went wrong, where, and what to do.
    cell
        (width, height) in the level's pixels of what is readable or damaged as one, such as
        the file's tiles; they lie side by side from the level's corner. None if unknown.
    """

    def __init__(self, message: str, cell: tuple[int, int] | None = None) -> None:
        super().__init__(message)
        self.cell = cell


class BundleError(NuhtcError):
    """A model bundle is missing, damaged, foreign or made by a newer version."""


class EngineError(NuhtcError):
    """An inference engine is not installed, does not work here, or failed while running."""


class StoreError(NuhtcError):
    """A store is damaged, unfinished, made by a newer version, or belongs to another run."""


class ReaderError(NuhtcError):
    """A file of outlines is missing, damaged, or of no kind that can be imported."""


class OutputError(NuhtcError):
    """A result cannot be written: permission, disk space, or values no reader would accept."""


class PipelineError(NuhtcError):
    """Two stages of a run contradict each other, such as results for a tile nobody asked for."""


def first_line(error: Exception) -> str:
    """Return what a library's error says, on one line."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


class TrainingError(NuhtcError):
    """Training or measuring cannot do what was asked, for a reason that the user can mend."""


class DataError(TrainingError):
    """A data set cannot be used as it is."""


class CheckpointError(TrainingError):
    """A checkpoint cannot be read, or does not fit the network it is loaded into."""
