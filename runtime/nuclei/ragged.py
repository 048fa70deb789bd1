"""Ragged rings: the points of many outlines in one array, cut up by offsets.

Ring ``i`` of ``coords (M, 2)`` and ``offsets (N + 1)`` is ``coords[offsets[i]:offsets[i + 1]]``.
Its first point is not repeated at its end. A ring without points is an empty outline.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, repr=False)
class RingTable:
    """Rings with a row of further columns for each; what `Candidates` and `Nuclei` have in common.

    Raises
    ------
    ValueError
        When a column has not one entry per ring.
    """

    coords: NDArray[np.int32]
    """int32 (M, 2): the points of all rings, one ring after the other"""
    offsets: NDArray[np.int64]
    """int64 (N + 1,): where each ring begins, and the last ends"""

    def __post_init__(self) -> None:
        check_rings(self.coords, self.offsets)
        for name, column in self._columns().items():
            if len(column) != len(self):
                raise ValueError(f"{name} has {len(column)} entries, not {len(self)}")

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __repr__(self) -> str:
        return f"<{len(self):,} {type(self).__name__}: {len(self.coords):,} points>"

    def _columns(self) -> dict[str, NDArray[Any]]:
        names = [field.name for field in fields(self)][2:]
        return {name: getattr(self, name) for name in names}

    @classmethod
    def concatenate(cls, parts: Sequence[Self]) -> Self:
        """Return the rows of one or more parts, one after the other."""
        if len(parts) == 1:
            return parts[0]
        coords, offsets = join_rings([(part.coords, part.offsets) for part in parts])
        columns = [part._columns() for part in parts]
        joined = {name: np.concatenate([one[name] for one in columns]) for name in columns[0]}
        return cls(coords, offsets, **joined)

    def take(self, index: NDArray[np.int64]) -> Self:
        """Return the rows that `index` names, in its order."""
        coords, offsets = take_rings(self.coords, self.offsets, index)
        taken = {name: column[index] for name, column in self._columns().items()}
        return type(self)(coords, offsets, **taken)


def check_rings(coords: NDArray[np.int32], offsets: NDArray[np.int64]) -> None:
    """Check that the offsets cut the points up completely.

    Parameters
    ----------
    coords
        int32 (M, 2).
    offsets
        int64 (N + 1), from 0 to M, never falling.

    Raises
    ------
    ValueError
        When the two do not belong together.
    """
    if coords.ndim != 2 or coords.shape[1] != 2 or coords.dtype != np.int32:
        raise ValueError(f"coords must be int32 (M, 2), not {coords.dtype} {coords.shape}")
    if offsets.ndim != 1 or offsets.size == 0 or offsets.dtype != np.int64:
        raise ValueError(f"offsets must be int64 (N + 1), not {offsets.dtype} {offsets.shape}")
    if offsets[0] != 0 or offsets[-1] != len(coords) or np.any(np.diff(offsets) < 0):
        raise ValueError("offsets must run from 0 to the number of points and never fall")


def take_rings(
    coords: NDArray[np.int32], offsets: NDArray[np.int64], index: NDArray[np.int64]
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Return the rings that `index` names, in its order, as new ragged arrays."""
    starts = offsets[index]
    lengths = offsets[index + 1] - starts
    taken = np.zeros(len(index) + 1, np.int64)
    np.cumsum(lengths, out=taken[1:])
    source = np.repeat(starts - taken[:-1], lengths)
    source += np.arange(taken[-1])
    return coords[source], taken


def join_rings(
    parts: Sequence[tuple[NDArray[np.int32], NDArray[np.int64]]],
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Return all rings of several ragged arrays, one after the other."""
    empty = np.zeros((0, 2), np.int32)
    coords = np.concatenate([empty, *(part for part, _ in parts)])
    offsets = [np.zeros(1, np.int64)]
    total = 0
    for part, cuts in parts:
        offsets.append(cuts[1:] + total)
        total += len(part)
    return coords, np.concatenate(offsets)


def ring_areas(coords: NDArray[np.int32], offsets: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return twice each ring's enclosed area, exactly; int64 (N,), in squared coordinate units.

    The shoelace sum is taken about each ring's own first point, so it stays far from overflow
    wherever on the slide the ring lies.
    """
    counts = np.diff(offsets)
    filled = np.flatnonzero(counts)
    areas = np.zeros(len(counts), np.int64)
    if not len(filled):
        return areas
    starts = offsets[filled]
    first = np.repeat(coords[starts].astype(np.int64), counts[filled], axis=0)
    local = coords.astype(np.int64) - first
    following = np.empty_like(local)
    following[:-1] = local[1:]
    following[offsets[filled + 1] - 1] = 0
    cross = local[:, 0] * following[:, 1] - following[:, 0] * local[:, 1]
    areas[filled] = np.abs(np.add.reduceat(cross, starts))
    return areas


def ring_centroids(coords: NDArray[np.int32], offsets: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return each ring's centre of area, float64 (N, 2); that of its points if it has no area.

    Summed in whole numbers about each ring's first point, so nothing is lost to rounding before
    the last division.
    """
    counts = np.diff(offsets)
    filled = np.flatnonzero(counts)
    centroids = np.zeros((len(counts), 2), np.float64)
    if not len(filled):
        return centroids
    starts = offsets[filled]
    origin = coords[starts].astype(np.int64)
    local = coords.astype(np.int64) - np.repeat(origin, counts[filled], axis=0)
    following = np.empty_like(local)
    following[:-1] = local[1:]
    following[offsets[filled + 1] - 1] = 0
    cross = local[:, 0] * following[:, 1] - following[:, 0] * local[:, 1]
    moment = np.add.reduceat((local + following) * cross[:, None], starts, axis=0)
    doubled = np.add.reduceat(cross, starts)[:, None]
    middle = np.add.reduceat(local, starts, axis=0) / counts[filled, None]
    inside = np.where(doubled == 0, middle, moment / np.where(doubled == 0, 1, 3 * doubled))
    centroids[filled] = origin + inside
    return centroids


def ring_bounds(coords: NDArray[np.int32], offsets: NDArray[np.int64]) -> NDArray[np.int32]:
    """Return each ring's box x0, y0, x1, y1, int32 (N, 4); zeros where it has no points."""
    filled = np.flatnonzero(np.diff(offsets))
    bounds = np.zeros((len(offsets) - 1, 4), np.int32)
    if len(filled):
        bounds[filled, :2] = np.minimum.reduceat(coords, offsets[filled])
        bounds[filled, 2:] = np.maximum.reduceat(coords, offsets[filled])
    return bounds
