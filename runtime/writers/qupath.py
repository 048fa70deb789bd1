"""QuPath's GeoJSON: a gzipped FeatureCollection with one detection per nucleus.

QuPath opens the `.geojson.gz` as it is (drag it onto the slide). Each feature has

- `id`: a UUID made from the slide's digest and the outline, the same in every run;
- `geometry`: a closed polygon along pixel edges, level-0 pixels, whole numbers or 2 decimals;
- `properties.objectType`: `detection`;
- `properties.classification`: the class's name and colour;
- `properties.measurements`: `Score`, then `Probability: <class>` for every class, both rounded
  to 4 decimals, then `Area um2`, the area inside the outline.

Two different outlines have different ids, because an id depends on every point. The file of
centroids holds the same with a point as geometry and other ids, so both may be imported.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import numpy as np
import orjson

from nuhtc.native.text import weave
from nuhtc.runtime.bundle.card import NucleusClass
from nuhtc.runtime.nuclei.nuclei import Nuclei
from nuhtc.runtime.writers import columns
from nuhtc.runtime.writers.gzipped import GzipFile
from nuhtc.runtime.writers.target import Files, Output, Target

SUFFIX: Final = ".geojson.gz"
CENTROIDS: Final = ".centroids.geojson.gz"

_BLOCK: Final = 4096
"""Nuclei formatted and compressed at a time."""


@contextmanager
def open_qupath(
    target: Target, *, most_objects: int | None = None, centroids: bool = False
) -> Iterator[Output]:
    """Write `<stem>.geojson.gz`, or `<stem>.1.geojson.gz` and so on when split.

    Parameters
    ----------
    target
        Where and of what.
    most_objects
        Nuclei per file; QuPath holds a whole file in memory while it reads it. None: one file.
    centroids
        Write points into `<stem>.centroids.geojson.gz` instead of outlines.

    Yields
    ------
    Output
        Takes the nuclei.

    Raises
    ------
    OutputError
        When a file cannot be written.
    """
    with Files() as files:
        collection = _Collection(target, files, most_objects, centroids=centroids)
        yield Output(collection.write, files.paths)
        collection.finish()


class _Collection:
    """A feature collection in one file or several."""

    def __init__(self, target: Target, files: Files, most: int | None, *, centroids: bool) -> None:
        self._target, self._files, self._most = target, files, most
        self._centroids = centroids
        self._count = 0
        self._file = self._begin()

    def write(self, nuclei: Nuclei) -> None:
        start = 0
        while start < len(nuclei):
            if self._count == self._most:
                self.finish()
                self._file = self._begin()
            room = _BLOCK if self._most is None else min(_BLOCK, self._most - self._count)
            stop = min(start + room, len(nuclei))
            text = self._features(nuclei.take(np.arange(start, stop)))
            # Every feature begins with a comma and a new line; the file's first has no comma.
            self._file.write(text[1:] if self._count == 0 else text)
            self._count += stop - start
            start = stop

    def finish(self) -> None:
        self._file.write(b"\n]}\n")
        self._file.finish()

    def _begin(self) -> GzipFile:
        number = "" if self._most is None else f".{len(self._files.paths) + 1}"
        suffix = CENTROIDS if self._centroids else SUFFIX
        final = self._target.path(number + suffix)
        file = self._files.enter_context(GzipFile(self._files.partial(final)))
        file.write(b'{"type":"FeatureCollection","features":[')
        self._count = 0
        return file

    def _features(self, nuclei: Nuclei) -> memoryview:
        count, classes = len(nuclei), self._target.classes
        kind = b"centroid" if self._centroids else b""
        digest = columns.digests(nuclei, self._target.slide.digest, kind)
        names = [b'"Score":', *(_key(f"Probability: {one.name}") for one in classes)]
        woven, _ = weave(
            [
                columns.fixed(b',\n{"type":"Feature","id":"', count),
                columns.uuids(digest),
                *(self._point(nuclei) if self._centroids else self._polygon(nuclei)),
                columns.by_label([_class_text(one) for one in classes], nuclei.label),
                *columns.numbers(nuclei, names),
                columns.fixed(b',"Area um2":', count),
                columns.areas_um2(nuclei, self._target.slide.mpp),
                columns.fixed(b"}}}", count),
            ]
        )
        return woven.data

    def _polygon(self, nuclei: Nuclei) -> list[columns.Column]:
        return [
            columns.fixed(b'","geometry":{"type":"Polygon","coordinates":[[', len(nuclei)),
            columns.rings(nuclei, b"[", b",", b"]", closed=True),
            columns.fixed(b"]]},", len(nuclei)),
        ]

    def _point(self, nuclei: Nuclei) -> list[columns.Column]:
        x, y = nuclei.centroid.T
        return [
            columns.fixed(b'","geometry":{"type":"Point","coordinates":[', len(nuclei)),
            columns.decimals(x, 2),
            columns.fixed(b",", len(nuclei)),
            columns.decimals(y, 2),
            columns.fixed(b"]},", len(nuclei)),
        ]


def _class_text(cls: NucleusClass) -> bytes:
    classification = orjson.dumps({"name": cls.name, "color": list(cls.color)})
    return (
        b'"properties":{"objectType":"detection","classification":'
        + classification
        + b',"measurements":{'
    )


def _key(name: str) -> bytes:
    return b"," + orjson.dumps(name) + b":"
