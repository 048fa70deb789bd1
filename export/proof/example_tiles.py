"""Tiles to compare and to calibrate on: made by code, or out of pictures and data sets."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from nuhtc.runtime.ground.errors import DataError, SlideError
from nuhtc.training.data.open import open_set
from nuhtc.training.data.splits import split

ENDINGS = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff"})

COMPARED = 8
"""Most tiles that are compared."""

CALIBRATED = 24
"""Most tiles that ranges are measured on."""


@dataclass(frozen=True)
class Tiles:
    """Tiles and where they are from."""

    rgb: NDArray[np.uint8]
    """(B, side, side, 3)"""
    source: str
    """for people"""


def example_tiles(side: int) -> NDArray[np.uint8]:
    """Return two made-up tiles, uint8 (2, side, side, 3): dark discs on pink, and noise."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:side, :side]
    discs = np.full((side, side, 3), (225, 170, 200), np.float64)
    for _ in range(side * side // 1600):
        cx, cy, radius = rng.uniform(0, side), rng.uniform(0, side), rng.uniform(6, 14)
        inside = (x - cx) ** 2 + (y - cy) ** 2 < radius**2
        discs[inside] = rng.uniform((70, 40, 110), (120, 80, 170))
    discs += rng.normal(0, 8, discs.shape)
    noise = rng.integers(0, 256, (side, side, 3))
    return np.stack([discs.clip(0, 255), noise]).astype(np.uint8)


def compared_tiles(folders: Sequence[Path], side: int) -> Tiles:
    """Return tiles to compare on: of pictures never trained on, where a data set says which.

    Raises
    ------
    SlideError
        A folder has no picture that is large enough and readable.
    """
    return _tiles(folders, side, COMPARED, held_out=True)


def calibration_tiles(folders: Sequence[Path], side: int) -> Tiles:
    """Return tiles to measure ranges on: of pictures trained on, where a data set says which.

    Raises
    ------
    SlideError
        A folder has no picture that is large enough and readable.
    """
    return _tiles(folders, side, CALIBRATED, held_out=False)


def _tiles(folders: Sequence[Path], side: int, most: int, *, held_out: bool) -> Tiles:
    if not folders:
        return Tiles(example_tiles(side), "two made-up tiles, discs and noise: no real tissue")
    share = -(-most // len(folders))
    parts = [read_tiles(folder, side, share, held_out=held_out) for folder in folders]
    return Tiles(np.concatenate([p.rgb for p in parts]), "; ".join(p.source for p in parts))


def read_tiles(folder: Path, side: int, most: int = COMPARED, *, held_out: bool = True) -> Tiles:
    """Return the middle tile of each of some pictures.

    Parameters
    ----------
    folder
        A data set that nuhtc-train takes, or any folder of pictures.
    side
        Of a tile in pixels.
    most
        At most so many tiles, of pictures spread evenly over all.
    held_out
        Of a data set: pictures that are never trained on, or those that are.

    Raises
    ------
    SlideError
        The folder is not there, or no picture is large enough and readable.
    """
    try:
        dataset = open_set(folder)
    except DataError as error:
        if not folder.is_dir():
            raise SlideError(
                f"{folder}: no such folder; give a folder of pictures, or a data set"
            ) from error
        files = [path for path in sorted(folder.glob("*")) if path.suffix.lower() in ENDINGS]
        # Small pictures are passed over, so more are opened than are wanted.
        rgbs = (_open(path) for path in files)
        kind = "pictures"
    else:
        train, held = split(dataset)
        indices = held if held_out else train
        spread = np.linspace(0, len(indices) - 1, min(most, len(indices))).round().astype(int)
        rgbs = (dataset[indices[place]].rgb for place in spread)
        kind = "held-out pictures" if held_out else "training pictures"
    found: list[NDArray[np.uint8]] = []
    for rgb in rgbs:
        y, x = (rgb.shape[0] - side) // 2, (rgb.shape[1] - side) // 2
        if min(x, y) >= 0:
            found.append(rgb[y : y + side, x : x + side])
        if len(found) == most:
            break
    if not found:
        raise SlideError(f"{folder}: holds no picture of {side}x{side} pixels or more")
    name = folder.resolve().name
    return Tiles(np.stack(found), f"the middles of {len(found)} {kind} of {name}")


def _open(path: Path) -> NDArray[np.uint8]:
    try:
        with Image.open(path) as picture:
            return np.asarray(picture.convert("RGB"))
    except (OSError, UnidentifiedImageError) as error:
        raise SlideError(f"{path}: cannot be read as a picture ({error})") from error
