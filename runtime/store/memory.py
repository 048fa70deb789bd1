"""Parts in memory, for pictures and small slides."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from nuhtc.runtime.nuclei.candidates import Candidates
from nuhtc.runtime.nuclei.nuclei import Nuclei
from nuhtc.runtime.nuclei.view import View
from nuhtc.runtime.slides.slide import Area
from nuhtc.runtime.stitching.stream import iter_nuclei
from nuhtc.runtime.store.manifest import Manifest


class MemoryParts:
    """What a store would hold, of a run that leaves none.

    Parameters
    ----------
    manifest
        What the run is.
    """

    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest
        self.parts: list[Candidates] = []
        self.damaged: list[Area] = []
        self._skipped: list[int] = []

    @property
    def done(self) -> int:
        """How many parts there are."""
        return len(self.parts)

    @property
    def skipped(self) -> NDArray[np.int64]:
        """The tiles that could not be read, row * columns + column."""
        return np.array(self._skipped, np.int64)

    def append(
        self, candidates: Candidates, skipped: Sequence[int], damaged: Sequence[Area]
    ) -> None:
        """Keep the next part, the tiles of it that could not be read, and its damaged areas."""
        self.parts.append(candidates)
        self._skipped.extend(skipped)
        self.damaged.extend(damaged)

    def nuclei(self, view: View) -> Nuclei:
        """Return each nucleus that a view shows once, in the order of the tiles."""
        empty = Nuclei.empty(len(self.manifest.classes))
        return Nuclei.concatenate([empty, *self.iter_nuclei(view)])

    def iter_nuclei(self, view: View) -> Iterator[Nuclei]:
        """Return each nucleus that a view shows once, some thousands at a time."""
        manifest = self.manifest
        return iter_nuclei(
            self.parts,
            manifest.grid,
            manifest.scale,
            manifest.slide,
            manifest.ran(self.skipped),
            view,
        )
