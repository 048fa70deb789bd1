"""QuPath's GeoJSON: a gzipped FeatureCollection with one detection per nucleus.

QuPath opens the `.geojson.gz` as it is (drag it onto the slide). Each feature has

- `id`: a UUID made from the slide's digest and the outline, the same in every run;
- `geometry`: a closed polygon along pixel edges, level-0 pixels, whole numbers or 2 decimals;
- `properties.objectType`: `detection`;
- `properties.classification`: the class's name and colour;
- `properties.measurements`: `Score`, then `Probability: <class>` for every class, both rounded
  to 4 decimals, then `Area um2`, the area inside the outline.

Two different outlines have different ids, because an id depends on every point.
"""

import gzip
import hashlib
import uuid
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import orjson
from numpy.typing import NDArray

from nuhtc.runtime.atomic import atomic_path
from nuhtc.runtime.bundle import NucleusClass
from nuhtc.runtime.errors import OutputError
from nuhtc.runtime.nuclei import UNITS_PER_PX, Nuclei

SUFFIX = ".geojson.gz"

_CHUNK = 2048
"""Nuclei formatted and compressed at a time."""

_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "nuhtc:nucleus")


def write_qupath(
    path: Path,
    nuclei: Nuclei,
    classes: Sequence[NucleusClass],
    *,
    slide_digest: str,
    slide_mpp: float,
) -> None:
    """Write the nuclei as QuPath detections.

    Parameters
    ----------
    path
        The final file, `<stem>.geojson.gz`; it appears whole or not at all.
    nuclei
        What to write, in this order.
    classes
        Names and colours, by label.
    slide_digest
        Tells the slide apart in the ids.
    slide_mpp
        um/px of level 0, for the areas.

    Raises
    ------
    OutputError
        When the file cannot be written, or a score, probability or area is not finite.
    """
    _check(path, nuclei, classes)
    # mtime 0 and no name in the header: the same nuclei give the same bytes.
    with (
        atomic_path(path) as partial,
        partial.open("wb") as raw,
        gzip.GzipFile("", "wb", compresslevel=1, fileobj=raw, mtime=0) as file,
    ):
        file.write(b'{"type":"FeatureCollection","features":[')
        separator = b"\n"
        for chunk in _features(nuclei, classes, slide_digest, slide_mpp):
            file.write(separator)
            file.write(chunk)
            separator = b",\n"
        file.write(b"\n]}\n")


def _check(path: Path, nuclei: Nuclei, classes: Sequence[NucleusClass]) -> None:
    for what in ("score", "probabilities", "area_px"):
        if not np.isfinite(getattr(nuclei, what)).all():
            raise OutputError(f"{path}: not written: a nucleus has a {what} that is not a number")
    if nuclei.probabilities.shape[1:] != (len(classes),):
        raise OutputError(
            f"{path}: not written: {nuclei.probabilities.shape[1:]} probabilities per nucleus, "
            f"but {len(classes)} classes"
        )
    if len(nuclei) and (nuclei.label.max() >= len(classes) or np.diff(nuclei.offsets).min() < 3):
        raise OutputError(f"{path}: not written: a nucleus without a class or without an outline")


def _features(
    nuclei: Nuclei, classes: Sequence[NucleusClass], slide_digest: str, slide_mpp: float
) -> Iterator[bytes]:
    """Give the features as JSON, a chunk of them at a time, joined by commas."""
    templates = [_template(one, classes) for one in classes]
    whole = not (nuclei.coords % UNITS_PER_PX).any()
    slide = hashlib.sha1(_NAMESPACE.bytes + slide_digest.encode(), usedforsecurity=False)
    for start in range(0, len(nuclei), _CHUNK):
        stop = min(start + _CHUNK, len(nuclei))
        low, high = nuclei.offsets[start], nuclei.offsets[stop]
        points = nuclei.coords[low:high]
        cuts = nuclei.offsets[start : stop + 1] - low
        rings = _ring_texts(points, cuts, whole=whole)
        ids = _ids(points, cuts, slide)
        numbers = _number_texts(nuclei, start, stop, slide_mpp)
        labels = nuclei.label[start:stop].tolist()
        yield b",\n".join(
            templates[label] % (name, ring, *values)
            for label, name, ring, values in zip(labels, ids, rings, numbers, strict=True)
        )


def _template(one: NucleusClass, classes: Sequence[NucleusClass]) -> bytes:
    """Return a feature of one class with holes for its id, ring and numbers."""
    classification = orjson.dumps({"name": one.name, "color": list(one.color)})
    names = ["Score", *(f"Probability: {other.name}" for other in classes), "Area um2"]
    measurements = b",".join(orjson.dumps(name).replace(b"%", b"%%") + b":%b" for name in names)
    return (
        b'{"type":"Feature","id":"%b","geometry":{"type":"Polygon","coordinates":[[%b]]},'
        b'"properties":{"objectType":"detection","classification":'
        + classification.replace(b"%", b"%%")
        + b',"measurements":{'
        + measurements
        + b"}}}"
    )


def _ring_texts(points: NDArray[np.int32], cuts: NDArray[np.int64], *, whole: bool) -> list[bytes]:
    """Return every ring's points as JSON, the first repeated at the end."""
    source = np.arange(len(points) + len(cuts) - 1)
    rings = np.arange(len(cuts) - 1)
    source -= np.repeat(rings, np.diff(cuts) + 1)
    ends = cuts[1:] + rings
    source[ends] = cuts[:-1]
    closed = points[source]
    if whole:
        text = orjson.dumps(closed // UNITS_PER_PX, option=orjson.OPT_SERIALIZE_NUMPY)
    else:
        # The float nearest to a number of hundredths prints as just these hundredths.
        text = orjson.dumps(closed / UNITS_PER_PX, option=orjson.OPT_SERIALIZE_NUMPY)
        text = text.replace(b".0,", b",").replace(b".0]", b"]")
    return _split_points(text, ends)


def _split_points(text: bytes, ends: NDArray[np.int64]) -> list[bytes]:
    """Cut `[[x,y],[x,y],...]` after the points numbered in `ends`; no outer brackets."""
    closing = np.flatnonzero(np.frombuffer(text, np.uint8) == ord("]"))[ends] + 1
    stops = closing.tolist()
    starts = [1, *(closing[:-1] + 1).tolist()]
    return [text[start:stop] for start, stop in zip(starts, stops, strict=True)]


def _number_texts(nuclei: Nuclei, start: int, stop: int, slide_mpp: float) -> list[list[bytes]]:
    """Return each nucleus's score, probabilities and area as JSON numbers."""
    table = np.column_stack(
        [
            nuclei.score[start:stop].astype(np.float64),
            nuclei.probabilities[start:stop].astype(np.float64),
            nuclei.area_px[start:stop] * slide_mpp**2,
        ]
    )
    table[:, :-1] = table[:, :-1].round(4)
    table[:, -1] = table[:, -1].round(2)
    text = orjson.dumps(table, option=orjson.OPT_SERIALIZE_NUMPY)
    return [row.split(b",") for row in text[2:-2].split(b"],[")]


def _ids(points: NDArray[np.int32], cuts: NDArray[np.int64], slide: "hashlib._Hash") -> list[bytes]:
    """Return a version 5 UUID per ring, from the slide's digest and the ring's points."""
    # Hashed as little-endian 32-bit numbers, whatever the machine.
    data = memoryview(points.astype("<i4").tobytes())
    width = 2 * points.itemsize
    bounds = (cuts * width).tolist()
    digests = bytearray()
    for low, high in pairwise(bounds):
        one = slide.copy()
        one.update(data[low:high])
        digests += one.digest()[:16]
    fields = np.frombuffer(digests, np.uint8).reshape(-1, 16)
    fields[:, 6] = fields[:, 6] & 0x0F | 0x50
    fields[:, 8] = fields[:, 8] & 0x3F | 0x80
    text = digests.hex().encode()
    return [
        b"%b-%b-%b-%b-%b"
        % (
            text[i : i + 8],
            text[i + 8 : i + 12],
            text[i + 12 : i + 16],
            text[i + 16 : i + 20],
            text[i + 20 : i + 32],
        )
        for i in range(0, len(text), 32)
    ]
