"""What a backend gives: a bundle's three graphs, ready to be called."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from nuhtc.runtime.bundle.load import Bundle
from nuhtc.runtime.ground.errors import EngineError


@dataclass(frozen=True)
class Trunk:
    """What the trunk gives for B tiles, lengths in network-input pixels."""

    features: object
    """FEATURES, in whatever form the backend's other two graphs take; they stay where they were
    made, on the device or in its buffers, and are good until the trunk's next call"""
    boxes: NDArray[np.float32]
    """float32 (B, K, 4): RPN boxes, xyxy"""
    scores: NDArray[np.float32]
    """float32 (B, K): their scores"""
    levels: NDArray[np.int64]
    """int64 (K,): the pyramid's level that each came from"""
    foreground: NDArray[np.float32]
    """float32 (B, h, w): logits at a quarter of the network's input"""


class Graphs(Protocol):
    """A bundle's graphs in one precision on one device."""

    @property
    def name(self) -> str:
        """The engine's name, as `--engine` takes it."""

    def trunk(self, tiles: NDArray[np.uint8]) -> Trunk:
        """Run the trunk on tiles, uint8 (B, H, W, 3), C-contiguous, B at least 1.

        Raises
        ------
        EngineError
            The backend fails.
        """

    def heads(
        self, features: object, regions: NDArray[np.float32], region_tile: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return boxes (R, 4) and class probabilities (R, C), float32, of regions.

        Parameters
        ----------
        features
            From ``trunk``.
        regions
            float32 (R, 4), xyxy; R at least 1.
        region_tile
            int64 (R,): the tile of each, not decreasing.

        Raises
        ------
        EngineError
            The backend fails.
        """

    def masks(
        self, features: object, regions: NDArray[np.float32], region_tile: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Return mask probabilities, float32 (R, 28, 28), of regions; see ``heads``."""


def check_classes(bundle: Bundle, found: int) -> None:
    """Refuse heads whose number of classes is not the card's.

    Raises
    ------
    EngineError
        They differ.
    """
    if found != len(bundle.card.classes):
        raise EngineError(
            f"{bundle.folder}: heads.onnx gives {found} classes, card.json names "
            f"{len(bundle.card.classes)}; export the model again"
        )
