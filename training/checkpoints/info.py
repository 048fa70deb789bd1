"""What weights are: their classes, the data they learned from, how good they are."""

from dataclasses import dataclass

from nuhtc.runtime.bundle.card import DataSource, NucleusClass


@dataclass(frozen=True)
class CheckpointInfo:
    """What the weights are."""

    preset: str
    classes: tuple[NucleusClass, ...]
    data: tuple[DataSource, ...] = ()
    metrics: tuple[tuple[str, tuple[tuple[str, float], ...]], ...] = ()
    """For each data set's held-out pictures, (measure, value) pairs."""
    steps: int = 0
