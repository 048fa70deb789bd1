"""Reading the files of data sets: whatever is wrong with one is said in one line."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nuhtc.runtime.ground.errors import DataError, first_line
from nuhtc.runtime.slides.resolution import PLAUSIBLE_SLIDE


def find_pictures(images: Path, labels: Path, ending: str) -> list[Path]:
    """Return the pictures of a folder, by name, and none of them lost.

    Parameters
    ----------
    images, labels
        The folders of ``*.png`` and of the label files.
    ending
        Of the label files, with its dot.

    Raises
    ------
    DataError
        A label file has no picture.
    """
    found, written = (
        # Archives from a Mac are full of files called ._name.
        sorted((p for p in folder.glob(f"*{end}") if p.name[0] != "."), key=lambda p: p.name)
        for folder, end in ((images, ".png"), (labels, ending))
    )
    have = {path.stem for path in found}
    for label in written:
        if found and label.stem not in have:
            raise DataError(
                f"{images / label.stem}.png: missing, but {label} is there; add the picture or "
                "remove its label"
            )
    return found


def read_rgb(path: Path) -> NDArray[np.uint8]:
    """Read a picture as uint8 (H, W, 3).

    Raises
    ------
    DataError
        The file is missing or damaged.
    """
    try:
        with Image.open(path) as picture:
            return np.asarray(picture.convert("RGB"))
    except Exception as error:  # Pillow raises many kinds over damaged bytes
        raise DataError(f"{path}: cannot be read as a picture ({first_line(error)})") from error


def open_npy(path: Path, shape: str) -> NDArray[Any]:
    """Open a ``.npy`` file as a memory map, read-only; its numbers are read when they are used.

    Parameters
    ----------
    path
        The file.
    shape
        What it should hold, for the messages: ``(N, 256, 256, 3)``.

    Raises
    ------
    DataError
        The file is missing, cut short, damaged, or holds pickled objects.
    """
    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError as error:
        raise DataError(f"{path}: missing; it should hold {shape}") from error
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror or first_line(error)})"
        ) from error
    except Exception as error:  # NumPy raises many kinds over damaged bytes
        text = first_line(error)
        if "Python objects" in text or "allow_pickle" in text:
            raise DataError(
                f"{path}: holds pickled Python objects, which are not loaded; save it again as "
                "a plain array"
            ) from error
        raise DataError(
            f"{path}: cut short, or no .npy file ({text}); copy or download it again"
        ) from error
    if not isinstance(found, np.ndarray):
        found.close()
        raise DataError(f"{path}: an .npz archive; it should be an .npy file that holds {shape}")
    return np.asarray(found)


def picture_values(array: NDArray[Any], where: str) -> NDArray[np.uint8]:
    """Return one picture of an ``images.npy`` as uint8; PanNuke stores float64.

    Raises
    ------
    DataError
        A value is no whole number from 0 to 255.
    """
    if array.dtype != np.uint8:
        ok = array.dtype.kind in "iuf" and bool(((array >= 0) & (array <= 255)).all())
        if not ok or bool((array != np.floor(array)).any()):
            raise DataError(f"{where} must hold whole numbers from 0 to 255")
    return np.array(array, np.uint8)


def read_mpp(value: object, path: Path) -> float:
    """Check a resolution that a file gives.

    Raises
    ------
    DataError
        It is no number, or one that no microscope has.
    """
    number = isinstance(value, int | float) and not isinstance(value, bool)
    low, high = PLAUSIBLE_SLIDE
    if not number or not low <= float(value) <= high:  # type: ignore[arg-type]
        raise DataError(f"{path}: mpp must be um per pixel, such as 0.25, not {value!r}")
    return float(value)  # type: ignore[arg-type]
