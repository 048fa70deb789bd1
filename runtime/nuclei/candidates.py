"""What tiles answered, as outlines in model pixels, before each nucleus is counted once."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nuhtc.runtime.nuclei.ragged import RingTable


@dataclass(frozen=True, repr=False)
class Candidates(RingTable):
    """Outlines found by one tile or by many, each with the tile that found it.

    Positions are *model pixels*: the pixel grid at the model's um/px with the slide's top left
    corner at (0, 0). The same nucleus may be here once for every tile that saw it. The rings are on
    pixel edges (see `nuhtc.runtime.nuclei.ragged`).
    """

    area: NDArray[np.int64]
    """int64 (N,): pixels inside"""
    centroid: NDArray[np.float64]
    """float64 (N, 2): x, y"""
    bbox: NDArray[np.int32]
    """int32 (N, 4): x0, y0, x1, y1 of the ring"""
    label: NDArray[np.uint8]
    """uint8 (N,): the class it was found as"""
    score: NDArray[np.float32]
    """float32 (N,): that class's probability"""
    probabilities: NDArray[np.float32]
    """float32 (N, C)"""
    tile: NDArray[np.int32]
    """int32 (N,): row * columns + column in the grid"""
    cut: NDArray[np.bool_]
    """bool (N,): the outline touches an edge of its tile that is not an edge of the slide"""

    @classmethod
    def empty(cls, classes: int) -> "Candidates":
        """Return no candidates of so many classes."""
        return cls(
            coords=np.zeros((0, 2), np.int32),
            offsets=np.zeros(1, np.int64),
            area=np.zeros(0, np.int64),
            centroid=np.zeros((0, 2), np.float64),
            bbox=np.zeros((0, 4), np.int32),
            label=np.zeros(0, np.uint8),
            score=np.zeros(0, np.float32),
            probabilities=np.zeros((0, classes), np.float32),
            tile=np.zeros(0, np.int32),
            cut=np.zeros(0, np.bool_),
        )
