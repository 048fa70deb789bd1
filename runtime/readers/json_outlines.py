"""Outlines in JSON: GeoJSON features and annotations of the Digital Slide Archive."""

import gzip
import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import IO, Any, Final, cast

import numpy as np
import shapely
from numpy.typing import NDArray

from nuhtc.runtime.bundle.card import NucleusClass
from nuhtc.runtime.readers.json_stream import array_chunks
from nuhtc.runtime.readers.outlines import FARTHEST_PX, UNKNOWN_COLOR, Outlines, Source

UNKNOWN_SCORE: Final = 1.0
"""Of a nucleus whose score the file does not say."""

_NUMBERS: Final = re.compile(r"\d+(?:\.\d+)?")


@dataclass(frozen=True)
class _Rows:
    """Some outlines, each with its class's name and colour, score and probabilities by name."""

    shapes: NDArray[np.object_]
    names: Sequence[str]
    colors: Sequence[object]
    scores: Sequence[float]
    shares: Sequence[dict[str, float]]


def read_json(path: Path) -> Source:
    """Read GeoJSON or an annotation, twice: for its classes and size, then for its outlines.

    Neither a list of classes nor the slide's size stands in such files.
    """
    colors: dict[str, tuple[int, int, int]] = {}
    named: set[frozenset[str]] = set()
    width = height = 1.0
    for rows in _rows(path):
        if not colors and rows.shares:
            # Where probabilities name every class, their order is the model's.
            colors = dict.fromkeys(rows.shares[0], UNKNOWN_COLOR)
        named |= {frozenset(shares) for shares in rows.shares}
        for name, color in zip(rows.names, rows.colors, strict=True):
            if colors.get(name, UNKNOWN_COLOR) == UNKNOWN_COLOR:
                colors[name] = _rgb(color)
        far = shapely.bounds(rows.shapes)[:, 2:]
        width, height = np.fmax([width, height], np.fmax.reduce(far, initial=1)).tolist()
    if not max(width, height) <= FARTHEST_PX:
        raise ValueError(f"an outline reaches to pixel {max(width, height):g}, beyond any slide")
    # Probabilities of some classes only, or for some outlines only, are none.
    complete = named == {frozenset(colors)}
    return Source(
        classes=tuple(NucleusClass(name, color) for name, color in colors.items()),
        slide=None,
        size_px=(math.ceil(width), math.ceil(height)),
        chunks=lambda: (_outlines(rows, list(colors), complete=complete) for rows in _rows(path)),
    )


def _rows(path: Path) -> Iterator[_Rows]:
    with cast(IO[bytes], (gzip.open if path.suffix.lower() == ".gz" else open)(path, "rb")) as file:
        key, chunks = array_chunks(file)
        # A collection as this program writes it, or a bare list of features as NuHTC did.
        read: Callable[[list[Any]], _Rows] = _elements if key == "elements" else _features
        yield from map(read, chunks)


def _outlines(rows: _Rows, names: list[str], *, complete: bool) -> Outlines:
    place = {name: label for label, name in enumerate(names)}
    shares = [[one[name] for name in names] for one in rows.shares] if complete else None
    return Outlines(
        shapes=rows.shapes,
        label=np.array([place[name] for name in rows.names], np.int64),
        score=np.array(rows.scores, np.float64),
        probabilities=None
        if shares is None
        else np.array(shares, np.float64).reshape(len(shares), len(names)),
    )


def _features(features: Iterable[dict[str, Any]]) -> _Rows:
    """Read GeoJSON features: this program's, NuHTC's, or QuPath's with a classification.

    Points are no outlines; they are counted among what has no area.
    """
    parts: list[list[Any]] = []
    names, colors, scores, shares = [], [], [], []
    for feature in features:
        properties = feature.get("properties") or {}
        kind = properties.get("classification") or {}
        measured = properties.get("measurements") or {}
        parts.append(_outer_rings(feature.get("geometry") or {}))
        names.append(str(kind.get("name", "Unclassified")))
        colors.append(kind.get("color"))
        scores.append(measured.get("Score", properties.get("score", UNKNOWN_SCORE)))
        shares.append(
            {
                name.removeprefix("Probability: "): value
                for name, value in measured.items()
                if name.startswith("Probability: ")
            }
        )
    return _Rows(_shapes(parts), names, colors, scores, shares)


def _elements(elements: Iterable[dict[str, Any]]) -> _Rows:
    """Read the closed polylines of an annotation."""
    parts: list[list[Any]] = []
    names, colors, scores, shares = [], [], [], []
    for element in elements:
        if element.get("type") != "polyline":
            continue
        user = element.get("user") or {}
        parts.append([element["points"]])
        names.append(
            str((element.get("label") or {}).get("value", element.get("group", "Unclassified")))
        )
        colors.append(_css_color(element.get("lineColor")))
        scores.append(user.get("score", UNKNOWN_SCORE))
        shares.append(user.get("probabilities") or {})
    return _Rows(_shapes(parts), names, colors, scores, shares)


def _outer_rings(geometry: dict[str, Any]) -> list[Any]:
    """Return the outer ring of each part of a polygon; none where there is no polygon."""
    kind, coordinates = geometry.get("type"), geometry.get("coordinates")
    if kind == "Polygon":
        return coordinates[:1] if coordinates else []
    if kind == "MultiPolygon":
        return [part[0] for part in coordinates or [] if part]
    return []


def _shapes(parts: Sequence[Sequence[Any]]) -> NDArray[np.object_]:
    """Return a polygon of each list of rings, of several a multipolygon, None of none."""
    rings = list(chain.from_iterable(parts))
    flat = [np.atleast_2d(np.array(ring, np.float64))[:, :2] for ring in rings]
    # A closed ring repeats its first point.
    flat = [ring[:-1] if len(ring) and (ring[0] == ring[-1]).all() else ring for ring in flat]
    owner = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    lengths = np.array([len(ring) for ring in flat], np.int64)
    long = np.flatnonzero(lengths >= 3)
    shapes = np.full(len(parts), None, object)
    if len(long):
        index = np.repeat(np.arange(len(long)), lengths[long])
        points = np.concatenate([flat[ring] for ring in long.tolist()])
        polygons = shapely.polygons(shapely.linearrings(points, indices=index))
        several = np.bincount(owner[long], minlength=len(parts)) > 1
        alone = ~several[owner[long]]
        shapes[owner[long][alone]] = polygons[alone]
        for whole in np.flatnonzero(several).tolist():
            shapes[whole] = shapely.multipolygons(polygons[owner[long] == whole])
    return shapes


def _rgb(color: object) -> tuple[int, int, int]:
    if isinstance(color, list | tuple) and len(color) == 3:
        red, green, blue = (min(255, max(0, int(part))) for part in color)
        return red, green, blue
    return UNKNOWN_COLOR


def _css_color(text: object) -> list[int] | None:
    if not isinstance(text, str):
        return None
    if text.startswith("#") and len(text) == 7:
        return [int(text[i : i + 2], 16) for i in (1, 3, 5)]
    numbers = [round(float(number)) for number in _NUMBERS.findall(text)]
    return numbers[:3] if len(numbers) >= 3 else None
