"""Open a writer by the name of its format."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial

from nuhtc.runtime.nuclei.nuclei import Nuclei
from nuhtc.runtime.writers.coco import open_coco
from nuhtc.runtime.writers.dsa import open_dsa
from nuhtc.runtime.writers.geopackage import open_geopackage
from nuhtc.runtime.writers.geoparquet import open_geoparquet
from nuhtc.runtime.writers.qupath import open_qupath
from nuhtc.runtime.writers.target import Output, Target, check_nuclei


@contextmanager
def open_output(name: str, target: Target, most_objects: int | None = None) -> Iterator[Output]:
    """Begin a format; its files get their final names when the block ends.

    Parameters
    ----------
    name
        Of `nuhtc.runtime.writers.FORMATS`, or `centroids`.
    target
        Where, and what is known of the slide.
    most_objects
        Nuclei per QuPath file; None: all in one.

    Raises
    ------
    OutputError
        When a file cannot be written, or a nucleus is none that a reader would accept.
    """
    writers: dict[str, Callable[[Target], AbstractContextManager[Output]]] = {
        "qupath": partial(open_qupath, most_objects=most_objects),
        "centroids": partial(open_qupath, most_objects=most_objects, centroids=True),
        "dsa": open_dsa,
        "sql": open_geopackage,
        "coco": open_coco,
        "geoparquet": open_geoparquet,
    }
    with writers[name](target) as output:

        def write(nuclei: Nuclei) -> None:
            check_nuclei(target, nuclei)
            output.write(nuclei)

        yield Output(write, output.paths)
