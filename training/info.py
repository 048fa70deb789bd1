"""What weights are: their classes, the data they learned from, how good they are."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ClassInfo:
    """A class of nuclei."""

    name: str
    color: tuple[int, int, int]
    """RGB, 0 to 255"""


@dataclass(frozen=True)
class DataInfo:
    """A data set that weights were trained on."""

    name: str
    licence: str
    source: str
    """Whom to cite."""


@dataclass(frozen=True)
class CheckpointInfo:
    """What the weights are."""

    preset: str
    classes: tuple[ClassInfo, ...]
    data: tuple[DataInfo, ...] = ()
    metrics: tuple[tuple[str, tuple[tuple[str, float], ...]], ...] = ()
    """For each data set's held-out pictures, (measure, value) pairs."""
    steps: int = 0
