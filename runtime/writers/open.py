"""Open a writer by the name of its format."""

from contextlib import AbstractContextManager

from nuhtc.runtime.writers.qupath import open_qupath
from nuhtc.runtime.writers.target import Output, Target


def open_output(
    name: str, target: Target, most_objects: int | None = None
) -> AbstractContextManager[Output]:
    """Return the writer of a format, not yet begun.

    Parameters
    ----------
    name
        Of `nuhtc.runtime.writers.FORMATS`, or `centroids`.
    target
        Where, and what is known of the slide.
    most_objects
        Nuclei per QuPath file; None: all in one.
    """
    if name == "qupath":
        return open_qupath(target, most_objects=most_objects)
    if name == "centroids":
        return open_qupath(target, most_objects=most_objects, centroids=True)
    raise ValueError(f"no format is called {name!r}")
