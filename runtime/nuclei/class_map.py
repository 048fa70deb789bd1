"""Other names for classes, some merged or left out: what `--classes map.json` says."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nuhtc.runtime.bundle.card import NucleusClass, is_color
from nuhtc.runtime.ground.errors import UsageError
from nuhtc.runtime.ground.strict_json import load
from nuhtc.runtime.nuclei.nuclei import Nuclei


@dataclass(frozen=True)
class ClassMap:
    """Where each class goes."""

    classes: tuple[NucleusClass, ...]
    """the new classes"""
    target: NDArray[np.int64]
    """int64 (C,): the new label of each old one; -1 leaves its nuclei out"""

    def keeps(self, label: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Return bool (N,): the nuclei whose class is not left out."""
        kept: NDArray[np.bool_] = self.target[label] >= 0
        return kept

    def apply(self, nuclei: Nuclei) -> Nuclei:
        """Return the nuclei under their new classes; merged probabilities are added.

        A nucleus goes where the class it was found as goes; its score is that new class's
        probability.
        """
        probabilities = np.zeros((len(nuclei), len(self.classes)), np.float32)
        for old, new in enumerate(self.target.tolist()):
            if new >= 0:
                probabilities[:, new] += nuclei.probabilities[:, old]
        # Rounding may lift a sum of probabilities a little over 1.
        np.minimum(probabilities, 1, out=probabilities)
        label = self.target[nuclei.label].astype(np.uint8)
        return replace(
            nuclei,
            label=label,
            score=probabilities[np.arange(len(label)), label],
            probabilities=probabilities,
        )


def read_class_map(path: Path, classes: Sequence[NucleusClass]) -> ClassMap:
    """Read a map of classes: a JSON object from old name to new.

    A value is a new name, or `{"name": ..., "color": [r, g, b]}`, or null to leave the class
    out. Classes that are not named stay; equal new names are merged.

    Raises
    ------
    UsageError
        When the file is no such map, names a class that is not there, or leaves nothing.
    """
    document = load(path, UsageError)
    if not isinstance(document, dict):
        raise UsageError(f'{path}: must be an object such as {{"Old": "New"}}')
    names = [one.name for one in classes]
    unknown = [name for name in document if name not in names]
    if unknown:
        raise UsageError(
            f"{path}: no class is called {', '.join(map(repr, unknown))}; "
            f"there is {', '.join(names)}"
        )
    new: dict[str, NucleusClass] = {}
    target = []
    for old in classes:
        wanted = _wanted(path, document.get(old.name, old.name), old)
        if wanted is None:
            target.append(-1)
            continue
        new.setdefault(wanted.name, wanted)
        target.append(list(new).index(wanted.name))
    if not new:
        raise UsageError(f"{path}: leaves every class out")
    return ClassMap(tuple(new.values()), np.array(target, np.int64))


def _wanted(path: Path, value: object, old: NucleusClass) -> NucleusClass | None:
    if value is None:
        return None
    if isinstance(value, str) and value:
        return NucleusClass(value, old.color)
    if isinstance(value, dict) and set(value) <= {"name", "color"}:
        name, color = value.get("name", old.name), value.get("color", list(old.color))
        if isinstance(name, str) and name and is_color(color):
            return NucleusClass(name, (color[0], color[1], color[2]))
    raise UsageError(
        f'{path}: {old.name!r} must become a name, {{"name": ..., "color": [r, g, b]}} or null'
    )
