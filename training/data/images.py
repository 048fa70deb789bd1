"""What every data set gives, however it is stored: pictures with numbered nuclei."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from nuhtc.runtime.bundle.card import DataSource, NucleusClass

DEFAULT_MPP = 0.25
"""um per pixel of 40x pictures, and so of every data set that says nothing else."""


@dataclass(frozen=True)
class AnnotatedImage:
    """One picture and its nuclei."""

    name: str
    rgb: NDArray[np.uint8]
    """(H, W, 3)"""
    instances: NDArray[np.int32]
    """(H, W), 0 is background, nuclei are numbered from 1 without gaps"""
    types: NDArray[np.int64] | None
    """(nuclei + 1,), class index of each nucleus (entry 0 is unused); None if untyped"""
    mpp: float = DEFAULT_MPP
    """um per pixel"""
    tissue: str | None = None
    """the organ, where the data set says it"""

    def __len__(self) -> int:
        """How many nuclei are annotated."""
        return int(self.instances.max(initial=0))


class Pictures(Protocol):
    """A sequence of annotated pictures, in memory or on disk."""

    def __len__(self) -> int:
        """How many pictures there are."""

    def __getitem__(self, index: int, /) -> AnnotatedImage:
        """Give picture ``index``, from 0."""


class AnnotatedSet(Pictures, Protocol):
    """A data set on disk; pictures are read when they are asked for.

    Every failure to read is a :class:`nuhtc.runtime.ground.errors.DataError` that names the file.
    """

    @property
    def name(self) -> str:
        """Short and unique in a run: ``consep``, ``pannuke-fold1``."""

    @property
    def path(self) -> Path:
        """Where it is."""

    @property
    def classes(self) -> tuple[NucleusClass, ...] | None:
        """The classes that ``types`` index; None for a set without classes."""

    @property
    def mpp(self) -> float:
        """Um per pixel of all pictures."""

    @property
    def info(self) -> DataSource:
        """Name, licence and source, for the cards of models trained on it."""

    def names(self) -> Sequence[str]:
        """Return the pictures' names, in order, without reading the pictures."""


class Subset:
    """Some pictures of a data set, as a sequence.

    Parameters
    ----------
    source
        The data set.
    indices
        Which pictures, in order.
    memory
        Bytes of pictures that are read at once and kept; the rest is read each time.
    """

    def __init__(self, source: AnnotatedSet, indices: Sequence[int], memory: int = 0) -> None:
        self.source = source
        self.indices = tuple(indices)
        self._kept: dict[int, AnnotatedImage] = {}
        left = memory
        for index in self.indices:
            if left <= 0:
                break
            image = source[index]
            left -= image.rgb.nbytes + image.instances.nbytes
            self._kept[index] = image

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, number: int) -> AnnotatedImage:
        index = self.indices[number]
        kept = self._kept.get(index)
        return self.source[index] if kept is None else kept


class Part:
    """Some pictures of a sequence, without reading any.

    Parameters
    ----------
    images
        The sequence.
    numbers
        Which of them, in order.
    """

    def __init__(self, images: "Pictures", numbers: Sequence[int]) -> None:
        self.images = images
        self.numbers = tuple(numbers)

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, number: int) -> AnnotatedImage:
        return self.images[self.numbers[number]]


class WithoutClasses:
    """Pictures without what is known of their nuclei's classes.

    Parameters
    ----------
    images
        The pictures.
    """

    def __init__(self, images: Pictures) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> AnnotatedImage:
        return replace(self.images[index], types=None)
