"""Outlines in JSON: GeoJSON features and annotations of the Digital Slide Archive."""

import re
from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np
import shapely
from numpy.typing import NDArray

from nuhtc.runtime.bundle import NucleusClass
from nuhtc.runtime.imports.outlines import UNKNOWN_COLOR, Outlines

UNKNOWN_SCORE: Final = 1.0
"""Of a nucleus whose score the file does not say."""

_NUMBERS: Final = re.compile(r"\d+(?:\.\d+)?")


def read_features(features: Sequence[dict[str, Any]]) -> Outlines:
    """Read GeoJSON features: this program's, NuHTC's, or QuPath's with a classification.

    Points are no outlines; they are counted among what has no area.
    """
    shapes: list[object] = []
    rows: list[tuple[str, object, object, dict[str, Any]]] = []
    for feature in features:
        properties = feature.get("properties") or {}
        kind = properties.get("classification") or {}
        measured = properties.get("measurements") or {}
        shapes.append(_polygon(feature.get("geometry") or {}))
        score = measured.get("Score", properties.get("score", UNKNOWN_SCORE))
        shares = {
            name.removeprefix("Probability: "): value
            for name, value in measured.items()
            if name.startswith("Probability: ")
        }
        rows.append((str(kind.get("name", "Unclassified")), kind.get("color"), score, shares))
    return _outlines(shapes, rows)


def read_dsa(document: dict[str, Any]) -> Outlines:
    """Read the closed polylines of an annotation."""
    shapes: list[object] = []
    rows: list[tuple[str, object, object, dict[str, Any]]] = []
    for element in document["elements"]:
        if element.get("type") != "polyline":
            continue
        points = np.array(element["points"], np.float64).reshape(-1, 3)[:, :2]
        shapes.append(_ring(points))
        user = element.get("user") or {}
        name = (element.get("label") or {}).get("value", element.get("group", "Unclassified"))
        shares = user.get("probabilities") or {}
        color = _css_color(element.get("lineColor"))
        rows.append((str(name), color, user.get("score", UNKNOWN_SCORE), shares))
    return _outlines(shapes, rows)


def _outlines(
    shapes: list[object], rows: list[tuple[str, object, object, dict[str, Any]]]
) -> Outlines:
    colors: dict[str, tuple[int, int, int]] = {}
    # Where probabilities name every class, their order is the model's.
    for name in rows[0][3] if rows else ():
        colors[name] = UNKNOWN_COLOR
    for name, color, _, _ in rows:
        if colors.get(name, UNKNOWN_COLOR) == UNKNOWN_COLOR:
            colors[name] = _rgb(color)
    complete = bool(rows) and all(set(shares) == set(colors) for *_, shares in rows)
    return Outlines(
        shapes=_objects(shapes),
        names=[name for name, *_ in rows],
        scores=np.array([row[2] for row in rows], np.float64),
        probabilities={
            name: np.array([shares[name] for *_, shares in rows], np.float64) for name in colors
        }
        if complete
        else None,
        classes=tuple(NucleusClass(name, color) for name, color in colors.items()),
        slide=None,
    )


def _polygon(geometry: dict[str, Any]) -> object:
    if geometry.get("type") == "Polygon":
        rings = geometry["coordinates"]
        return _ring(np.array(rings[0], np.float64).reshape(-1, 2)) if rings else None
    if geometry.get("type") == "MultiPolygon":
        parts = [_ring(np.array(one[0], np.float64)) for one in geometry["coordinates"]]
        return shapely.multipolygons([part for part in parts if part is not None])
    return None


def _ring(points: NDArray[np.float64]) -> object:
    """Return a polygon of any points, None if they are too few."""
    return shapely.polygons(points) if len(np.unique(points, axis=0)) >= 3 else None


def _objects(shapes: Iterable[object]) -> NDArray[np.object_]:
    listed = list(shapes)
    array = np.empty(len(listed), object)
    array[:] = listed
    return array


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
