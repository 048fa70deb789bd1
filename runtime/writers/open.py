"""Open a writer by the name of its format."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial

from nuhtc.runtime.writers.coco import open_coco
from nuhtc.runtime.writers.dsa import open_dsa
from nuhtc.runtime.writers.geopackage import open_geopackage
from nuhtc.runtime.writers.geoparquet import open_geoparquet
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
    writers: dict[str, Callable[[Target], AbstractContextManager[Output]]] = {
        "qupath": partial(open_qupath, most_objects=most_objects),
        "centroids": partial(open_qupath, most_objects=most_objects, centroids=True),
        "dsa": open_dsa,
        "sql": open_geopackage,
        "coco": open_coco,
        "geoparquet": open_geoparquet,
    }
    return writers[name](target)
