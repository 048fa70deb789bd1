"""What a run learns from and what it is measured on, chosen from data sets on disk."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nuhtc.runtime.bundle.card import DataSource, NucleusClass
from nuhtc.runtime.ground.errors import DataError
from nuhtc.training.data.images import AnnotatedSet, Pictures, Subset, WithoutClasses
from nuhtc.training.data.open import open_set
from nuhtc.training.data.splits import split

MEMORY = 2 << 30
"""Bytes of pictures of each data set that are kept in memory."""

NUCLEUS = (NucleusClass("Nucleus", (255, 0, 0)),)
"""The one class of a run whose data sets name none."""


@dataclass(frozen=True)
class TrainingData:
    """Pictures to learn from and pictures held out, by data set."""

    train: dict[str, Pictures]
    validation: dict[str, Pictures]
    weights: dict[str, float]
    """How often each data set is drawn from."""

    def __len__(self) -> int:
        """How many pictures there are to learn from."""
        return sum(len(images) for images in self.train.values())


@dataclass(frozen=True)
class Selection:
    """The data of a run and what is known of it."""

    data: TrainingData
    classes: tuple[NucleusClass, ...]
    infos: tuple[DataSource, ...]

    def table(self) -> str:
        """Return one line of text for each data set."""
        names = list(dict.fromkeys([*self.data.train, *self.data.validation]))
        return "\n".join(
            f"  {name}: {len(self.data.train.get(name, ())):,} pictures to learn from, "
            f"{len(self.data.validation.get(name, ())):,} held out"
            for name in names
        )


def select(
    roots: Sequence[Path], untyped: Sequence[Path] = (), validation: Sequence[Path] = ()
) -> Selection:
    """Open data sets and decide which pictures are held out.

    Parameters
    ----------
    roots
        Data sets to learn from.
    untyped
        More of them, whose classes are not used.
    validation
        Data sets to be measured on. Where there are none, some pictures of each data set are
        held out (:func:`nuhtc.training.data.splits.is_validation`).

    Raises
    ------
    DataError
        A data set cannot be read, two have one name, or their classes differ.
    """
    typed = [open_set(path) for path in roots]
    plain = [open_set(path) for path in untyped]
    measured = [open_set(path) for path in validation]
    classes = _classes(typed)
    train: dict[str, Pictures] = {}
    held_out: dict[str, Pictures] = {}
    for found in (*typed, *plain):
        if found.name in train:
            raise DataError(f"{found.path}: a data set named {found.name} was given already")
        learned, kept = (list(range(len(found))), []) if measured else split(found)
        if not learned:
            raise DataError(f"{found.path}: every picture is held out; nothing to train on")
        same = found.classes == classes and found not in plain
        train[found.name] = _pictures(found, learned, same)
        if not measured:
            held_out[found.name] = _pictures(found, kept, same)
    for found in measured:
        held_out[found.name] = _pictures(found, range(len(found)), found.classes == classes)
    # Typed pictures teach twice as much, so the first data set is drawn as often as the rest.
    rest = max(1, len(train) - 1)
    weights = {name: 1.0 if i == 0 else 1.0 / rest for i, name in enumerate(train)}
    infos = tuple(found.info for found in (*typed, *plain))
    return Selection(TrainingData(train, held_out, weights), classes, infos)


def _classes(typed: Sequence[AnnotatedSet]) -> tuple[NucleusClass, ...]:
    """Return the classes that all typed data sets share."""
    with_classes = [found for found in typed if found.classes is not None]
    if not with_classes:
        return NUCLEUS
    first = with_classes[0]
    for other in with_classes[1:]:
        if other.classes != first.classes:
            raise DataError(
                f"{other.path}: its classes ({_names(other)}) are not those of {first.name} "
                f"({_names(first)}); give it with --untyped-data to use its outlines only"
            )
    assert first.classes is not None
    return first.classes


def _names(found: AnnotatedSet) -> str:
    return ", ".join(item.name for item in found.classes or ())


def _pictures(found: AnnotatedSet, numbers: Sequence[int], typed: bool) -> Pictures:
    pictures = Subset(found, numbers, MEMORY)
    return pictures if typed else WithoutClasses(pictures)
