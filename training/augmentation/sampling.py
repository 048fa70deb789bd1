"""Class-aware sampling: rare classes come up as often as common ones.

A tile's class is drawn first, all equally likely, then a picture that has it, as published. A
picture without nuclei stands for every class, so that background is seen too.
"""

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from nuhtc.runtime.ground.errors import DataError
from nuhtc.training.data.images import AnnotatedImage, Pictures


def class_presence(images: Pictures, classes: int, *, progress: bool) -> NDArray[np.bool_]:
    """Read every picture once and note the classes of its nuclei.

    Parameters
    ----------
    images
        The pictures to draw from.
    classes
        How many classes there are.
    progress
        Show a bar.

    Returns
    -------
    NDArray
        bool (pictures, classes). A picture without nuclei, or whose nuclei have no classes
        written down, counts as having every class that some other picture has; a class that
        is found nowhere is nobody's.

    Raises
    ------
    DataError
        A picture cannot be read, or has a class beyond the last.
    """
    presence = np.zeros((len(images), classes), np.bool_)
    unknown = np.zeros(len(images), np.bool_)
    for index in tqdm(range(len(images)), "classes", unit="picture", disable=not progress):
        image = images[index]
        if image.types is None or len(image.types) < 2:
            unknown[index] = True
            continue
        found = image.types[1:]
        if found.min() < 0 or found.max() >= classes:
            wrong = int(found.min() if found.min() < 0 else found.max())
            raise DataError(
                f"{image.name}: a nucleus has class {wrong} (from 0), but there are only {classes}"
            )
        presence[index, found] = True
    presence[unknown] = presence.any(axis=0)
    return presence


class ClassAware:
    """Draws pictures by class.

    Parameters
    ----------
    presence
        bool (pictures, classes); see :func:`class_presence`.

    Attributes
    ----------
    classes
        The classes that are drawn, ascending.
    left_out
        The classes that no picture has, ascending.
    """

    def __init__(self, presence: NDArray[np.bool_]) -> None:
        found = presence.any(axis=0)
        self.classes = tuple(np.flatnonzero(found).tolist())
        self.left_out = tuple(np.flatnonzero(~found).tolist())
        self._pictures = [np.flatnonzero(presence[:, label]) for label in self.classes]

    def draw(self, rng: np.random.Generator) -> tuple[int, int]:
        """Draw a class, then a picture that has it.

        Returns
        -------
        index
            Which picture.
        label
            Which class.

        Raises
        ------
        DataError
            No picture has any class.
        """
        if not self.classes:
            raise DataError(
                "no training picture has a nucleus with a class; add annotated pictures to --data"
            )
        chosen = int(rng.integers(len(self.classes)))
        pictures = self._pictures[chosen]
        return int(pictures[rng.integers(len(pictures))]), self.classes[chosen]


def focus(
    image: AnnotatedImage, label: int, rng: np.random.Generator
) -> tuple[float, float] | None:
    """Choose a nucleus of a class, all equally likely.

    Parameters
    ----------
    image
        The picture.
    label
        The class.
    rng
        Source of the choice.

    Returns
    -------
    tuple or None
        The (x, y) of the middle of the nucleus's box in the picture's pixels; None if the
        picture has no nucleus of the class. Where no classes are written down, any will do.
    """
    if image.types is None:
        numbers = np.arange(1, len(image) + 1)
    else:
        numbers = np.flatnonzero(image.types[1:] == label) + 1
    if len(numbers) == 0:
        return None
    inside = image.instances == numbers[rng.integers(len(numbers))]
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    return float(columns[0] + columns[-1] + 1) / 2, float(rows[0] + rows[-1] + 1) / 2
