"""Parts in memory, for pictures and small slides."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nuhtc.runtime.nuclei.candidates import Candidates
from nuhtc.runtime.slides.slide import Area


class _Kept:
    """Parts in memory."""

    def __init__(self) -> None:
        self.candidates: list[Candidates] = []
        self.damaged: list[Area] = []
        self._skipped: list[int] = []

    @property
    def done(self) -> int:
        return len(self.candidates)

    @property
    def skipped(self) -> NDArray[np.int64]:
        return np.array(self._skipped, np.int64)

    def append(
        self, candidates: Candidates, skipped: Sequence[int], damaged: Sequence[Area]
    ) -> None:
        self.candidates.append(candidates)
        self._skipped.extend(skipped)
        self.damaged.extend(damaged)
