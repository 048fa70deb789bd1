"""Read a file of outlines as a stream, by its suffix and what is in it."""

import sqlite3
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import shapely

from nuhtc.runtime.bundle.card import NucleusClass
from nuhtc.runtime.ground.errors import ReaderError
from nuhtc.runtime.ground.versions import printable
from nuhtc.runtime.ground.whole_files import digest
from nuhtc.runtime.nuclei.nuclei import Nuclei
from nuhtc.runtime.readers.json_outlines import read_json
from nuhtc.runtime.readers.outlines import Source, repair_outlines
from nuhtc.runtime.readers.tables import read_geopackage, read_geoparquet
from nuhtc.runtime.slides.resolution import check_mpp
from nuhtc.runtime.slides.slide import SlideFacts

SUFFIXES = (".geojson", ".geojson.gz", ".json", ".json.gz", ".gpkg", ".parquet")
"""What can be imported."""

MOST_CLASSES = 1 + np.iinfo(np.uint8).max


class OutlineFile:
    """Outlines that this program or NuHTC wrote, open for reading.

    Parameters
    ----------
    path
        `.geojson` or `.json`, gzipped or not (QuPath's, NuHTC's, the Digital Slide Archive's),
        `.gpkg` or `.parquet`.
    mpp
        um per level-0 pixel, where the file does not say it.

    Raises
    ------
    ReaderError
        When the file is missing, damaged, of another kind, or has no um/px and `mpp` is None.
    """

    classes: tuple[NucleusClass, ...]
    """Names and colours, by label."""
    slide: SlideFacts
    """The slide; just large enough for the outlines where the file does not say its size."""
    repaired: int
    """Invalid outlines that `nuclei` has made valid so far."""
    dropped: int
    """Entries without an area that `nuclei` has left out so far."""

    def __init__(self, path: Path, mpp: float | None) -> None:
        if mpp is not None:
            check_mpp(mpp)
        if not path.exists():
            raise ReaderError(f"{path}: there is no such file or folder; check its name")
        if not path.name.lower().endswith(SUFFIXES):
            raise ReaderError(
                f"{path}: is no store and none of {', '.join(SUFFIXES)}, which can be imported"
            )
        readers: dict[str, Callable[[Path], Source]] = {
            ".gpkg": read_geopackage,
            ".parquet": read_geoparquet,
        }
        self.path, self.repaired, self.dropped = path, 0, 0
        with _readable(path):
            self._source = readers.get(path.suffix.lower(), read_json)(path)
            self.classes = self._source.classes
            if len(self.classes) > MOST_CLASSES:
                raise ReaderError(
                    f"{path}: has {len(self.classes)} classes; at most {MOST_CLASSES} are held"
                )
            if self._source.slide is not None:
                self.slide = self._source.slide
                return
            if mpp is None:
                raise ReaderError(
                    f"{path}: does not say um/px; give the slide's, such as --mpp 0.25"
                )
            self.slide = SlideFacts(
                printable(path.name), f"sha256:{digest(path)}", *self._source.size_px, mpp
            )

    def nuclei(self) -> Iterator[Nuclei]:
        """Read the nuclei, some thousands at a time, and count what had to be done to them.

        Raises
        ------
        ReaderError
            When the file is damaged further on.
        """
        self.repaired = self.dropped = 0
        with _readable(self.path):
            for found in self._source.chunks():
                nuclei, repaired, dropped = repair_outlines(found, len(self.classes))
                self.repaired += repaired
                self.dropped += dropped
                yield nuclei


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ReaderError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (
        ValueError,
        KeyError,
        TypeError,
        IndexError,
        AttributeError,
        sqlite3.Error,
        shapely.errors.ShapelyError,
        pa.ArrowException,
        EOFError,
        zlib.error,
    ) as error:
        raise ReaderError(
            f"{path}: is damaged, or holds no outlines that this program or NuHTC wrote ({error})"
        ) from error
