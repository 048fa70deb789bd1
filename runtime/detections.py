"""What an engine is, and what it answers for one tile."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Detections:
    """The nuclei one tile's network answer holds, before outlines are traced.

    Parameters
    ----------
    boxes
        float32 (N, 4): x0, y0, x1, y1 in tile pixels.
    probabilities
        float32 (N, C): the probability of every class; the largest is the nucleus's score.
    masks
        float32 (N, S, S): mask probabilities sampled inside the box, S = 28 in NuHTC.
    """

    boxes: NDArray[np.float32]
    probabilities: NDArray[np.float32]
    masks: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.boxes)


class Engine(Protocol):
    """Something that finds nuclei in tiles: a network on some device, or a fake in a test."""

    @property
    def name(self) -> str:
        """What ran, for the summary: `cpu`, for instance."""

    def run(self, tiles: NDArray[np.uint8]) -> list[Detections]:
        """Return one answer per tile.

        Parameters
        ----------
        tiles
            uint8 (B, tile, tile, 3): RGB at the model's um/px.

        Raises
        ------
        EngineError
            When the engine fails.
        """
