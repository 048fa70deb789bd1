"""What tiles answered, as outlines in model pixels, before each nucleus is counted once."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nuhtc.runtime.nuclei.ragged import RingTable


@dataclass(frozen=True)
class Candidates(RingTable):
    """Outlines found by one tile or by many, each with the tile that found it.

    Positions are *model pixels*: the pixel grid at the model's um/px with the slide's top left
    corner at (0, 0). The same nucleus may be here once for every tile that saw it.

    Parameters
    ----------
    coords, offsets
        int32 (M, 2) and int64 (N + 1): the rings, on pixel edges (see
        `nuhtc.runtime.nuclei.ragged`).
    area
        int64 (N,): pixels inside.
    centroid
        float64 (N, 2): x, y.
    bbox
        int32 (N, 4): x0, y0, x1, y1 of the ring.
    label
        uint8 (N,): the class it was found as.
    score
        float32 (N,): that class's probability.
    probabilities
        float32 (N, C).
    tile
        int32 (N,): row * columns + column in the grid.
    cut
        bool (N,): the outline touches an edge of its tile that is not an edge of the slide.
    """

    area: NDArray[np.int64]
    centroid: NDArray[np.float64]
    bbox: NDArray[np.int32]
    label: NDArray[np.uint8]
    score: NDArray[np.float32]
    probabilities: NDArray[np.float32]
    tile: NDArray[np.int32]
    cut: NDArray[np.bool_]

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
