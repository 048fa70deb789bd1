"""A data set whose pictures the oracle engine can read."""

from pathlib import Path
from typing import Any

from fakes.oracle import paint
from made.blobs import random_ellipses

from nuhtc.training.data.images import AnnotatedImage


class PaintedSet:
    """Pictures that the oracle reads; of a set called consep, those numbered 3 are held out."""

    name = "consep"
    path = Path("painted")
    mpp = 0.25
    classes: Any = None
    data: Any = None

    def __init__(self, names: list[str]) -> None:
        self._names = names
        self.read: list[str] = []

    def names(self) -> list[str]:
        return self._names

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index: int) -> AnnotatedImage:
        self.read.append(self._names[index])
        truth = random_ellipses(index, 150, 140, 12, (12.0, 24.0))
        return AnnotatedImage(self._names[index], paint(truth), truth, None)
