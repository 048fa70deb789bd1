"""A command from its first word to its exit code."""

from collections.abc import Callable

from nuhtc.runtime.console.terminal import EXIT_INTERRUPTED, close_stdout, complain
from nuhtc.runtime.ground.errors import EXIT_FAILED, NuhtcError


def run_command(prog: str, work: Callable[[], int], stopped: str) -> int:
    """Do a command's work, and say in one line on stderr what ended it early.

    Parameters
    ----------
    prog
        The command's name.
    work
        What it does; returns the exit code.
    stopped
        What to say after Ctrl-C: what is left behind, and how to go on.

    Returns
    -------
    int
        The exit code: the work's own, or that of what ended it.
    """
    try:
        code = work()
    except NuhtcError as error:
        complain(prog, error)
        code = error.exit_code
    except MemoryError:
        complain(prog, "not enough memory")
        code = EXIT_FAILED
    except KeyboardInterrupt:
        complain(prog, stopped)
        code = EXIT_INTERRUPTED
    close_stdout()
    return code
