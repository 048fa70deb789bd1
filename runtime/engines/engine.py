"""What an engine is, and what it answers for one tile."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, repr=False)
class Detections:
    """The nuclei one tile's network answer holds, before outlines are traced."""

    boxes: NDArray[np.float32]
    """float32 (N, 4): x0, y0, x1, y1 in tile pixels"""
    probabilities: NDArray[np.float32]
    """float32 (N, C): the probability of every class"""
    masks: NDArray[np.float32]
    """float32 (N, S, S): mask probabilities sampled inside the box, S = 28 in NuHTC"""
    claims: NDArray[np.int64] | None = None
    """int64 (N,): the class that each was found as, which need not be the most probable one where
    two classes may claim the same nucleus; None: the most probable"""

    def __len__(self) -> int:
        return len(self.boxes)

    def __repr__(self) -> str:
        return f"<{len(self):,} detections of {self.probabilities.shape[1]} classes>"

    @property
    def labels(self) -> NDArray[np.int64]:
        """The class of each nucleus, int64 (N,)."""
        return self.probabilities.argmax(axis=1) if self.claims is None else self.claims

    @property
    def scores(self) -> NDArray[np.float32]:
        """The probability of that class, float32 (N,)."""
        return self.probabilities[np.arange(len(self)), self.labels]


class Engine(Protocol):
    """Something that finds nuclei in tiles: a network on some device, or a fake in a test."""

    @property
    def name(self) -> str:
        """What ran, for the summary: `cpu`, for instance."""

    @property
    def precision(self) -> str:
        """What it computed in: fp32, fp16, bf16 or int8."""

    @property
    def reason(self) -> str:
        """Why it was taken."""

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
