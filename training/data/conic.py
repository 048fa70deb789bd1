"""CoNIC (Lizard) as it is downloaded: ``images.npy`` and ``labels.npy`` in one folder.

Pictures are (N, 256, 256, 3) at 0.5 um/px; labels (N, 256, 256, 2), a map of numbered
nuclei and a map of their classes, 1 to 6 (Graham et al. 2024). ``patch_info.csv``, where it
is there too, names the pictures: ``consep_1-0001`` is a patch of the picture consep_1.
"""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from nuhtc.runtime.ground.errors import DataError, first_line
from nuhtc.training.data.classes import CONIC, describe
from nuhtc.training.data.images import AnnotatedImage
from nuhtc.training.data.numbering import majority_types, renumber, whole_numbers
from nuhtc.training.data.reading import open_npy, picture_values


class ConicSet:
    """The patches of CoNIC.

    Parameters
    ----------
    path
        A folder with ``images.npy`` and ``labels.npy``.

    Raises
    ------
    DataError
        A file is missing or damaged, or the arrays do not belong together.
    """

    name = "conic"
    classes = CONIC
    mpp = 0.5
    info = describe("conic")

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        images, labels = self._open()
        if images.ndim != 4 or images.shape[3] != 3:
            raise DataError(f"{path / 'images.npy'}: must be (N, H, W, 3), not {images.shape}")
        if labels.ndim != 4 or labels.shape[3] != 2:
            raise DataError(f"{path / 'labels.npy'}: must be (N, H, W, 2), not {labels.shape}")
        if images.shape[:3] != labels.shape[:3]:
            count, height, width, _ = labels.shape
            raise DataError(
                f"{path / 'labels.npy'}: labels of {count} pictures of {width}x{height}, but "
                f"images.npy holds {images.shape[0]} of {images.shape[2]}x{images.shape[1]}"
            )
        if len(images) == 0:
            raise DataError(f"{path / 'images.npy'}: holds no pictures")
        self._names = _read_names(self.path / "patch_info.csv", len(images))

    def _open(self) -> tuple[NDArray[Any], NDArray[Any]]:
        # Mapped anew each time, so that the set can be sent to other processes as it is.
        return (
            open_npy(self.path / "images.npy", "CoNIC's pictures (N, 256, 256, 3)"),
            open_npy(self.path / "labels.npy", "CoNIC's labels (N, 256, 256, 2)"),
        )

    def names(self) -> Sequence[str]:
        """Return the pictures' names, in order."""
        return self._names

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index: int) -> AnnotatedImage:
        name = self._names[index]
        images, labels = self._open()
        rgb = picture_values(images[index], f"{self.path / 'images.npy'}: picture {name}")
        where = f"{self.path / 'labels.npy'}: picture {name}"
        maps = whole_numbers(labels[index], where)
        instances, _ = renumber(maps[..., 0])
        types = majority_types(instances, maps[..., 1], len(CONIC), where)
        return AnnotatedImage(name, rgb, instances, types, self.mpp)


def _read_names(path: Path, count: int) -> list[str]:
    """Return the pictures' names, from the table where there is one."""
    if not path.exists():
        return [f"conic_{index + 1}" for index in range(count)]
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = [row[0] for row in csv.reader(file) if row]
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read ({first_line(error)})") from error
    names = rows[1:]
    if len(names) != count:
        raise DataError(f"{path}: names {len(names)} pictures, but images.npy holds {count}")
    if len(set(names)) != count:
        raise DataError(f"{path}: two pictures have the same name")
    return names
