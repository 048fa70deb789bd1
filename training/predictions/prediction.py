"""What a model or another tool found in a picture, in one form."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Prediction:
    """The nuclei found in one picture."""

    instances: NDArray[np.int32]
    """(H, W), 0 for background, numbered from 1 without gaps"""
    types: NDArray[np.int64] | None
    """(nuclei + 1,), class index, -1 for a nucleus without one; entry 0 is unused. None where
    the tool knows no classes"""
    scores: NDArray[np.float32] | None = None
    """(nuclei + 1,); entry 0 is unused. None where the tool gives none"""
    probabilities: NDArray[np.float32] | None = None
    """(nuclei + 1, classes); row 0 is unused. None where they are not known"""

    def __len__(self) -> int:
        """How many nuclei were found."""
        return int(self.instances.max(initial=0))
