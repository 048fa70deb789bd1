"""A picture as a pyramidal tiled TIFF that OpenSlide and QuPath open."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import tifffile
from numpy.typing import NDArray

from nuhtc.runtime.ground.whole_files import whole_file

UM_PER_CM: Final = 10_000

BIG_FROM: Final = 2**32
"""Uncompressed bytes from which a BigTIFF is written: a classic one ends at 4 GiB."""


def write_pyramid(
    path: Path, picture: NDArray[np.uint8], *, mpp: float, tile: int = 256, quality: int = 90
) -> None:
    """Write a pyramid of JPEG tiles whose levels halve until one tile holds the whole.

    Parameters
    ----------
    path
        The file; it appears whole or not at all.
    picture
        RGB (height, width, 3).
    mpp
        um/px, stored as pixels per centimetre.
    tile
        Side of a tile in pixels, a multiple of 16.
    quality
        JPEG quality, 1 to 100; colours are not subsampled.

    Raises
    ------
    ValueError
        `tile` is none that a TIFF may have.
    OutputError
        The file cannot be written.
    """
    # Neither a date nor a description, so that the same picture gives the same bytes.
    options: dict[str, Any] = {
        "tile": (tile, tile),
        "photometric": "rgb",
        "compression": "jpeg",
        "compressionargs": {"level": quality},
        "subsampling": (1, 1),
        "resolutionunit": "CENTIMETER",
        "software": False,
        "metadata": None,
    }
    with (
        whole_file(path) as partial,
        tifffile.TiffWriter(partial, bigtiff=picture.nbytes >= BIG_FROM) as file,
    ):
        level, downsample, reduced = picture, 1, 0
        while True:
            per_cm = UM_PER_CM / (mpp * downsample)
            file.write(
                _tiles(level, tile),
                shape=level.shape,
                dtype=level.dtype,
                subfiletype=reduced,
                resolution=(per_cm, per_cm),
                **options,
            )
            if max(level.shape[:2]) <= tile:
                return
            level, downsample, reduced = halved(level), 2 * downsample, 1


def _tiles(picture: NDArray[np.uint8], side: int) -> Iterator[NDArray[np.uint8]]:
    """Give the tiles of a picture row by row, filled up with its last pixels."""
    height, width = picture.shape[:2]
    filled = np.pad(picture, ((0, -height % side), (0, -width % side), (0, 0)), mode="edge")
    for y in range(0, height, side):
        for x in range(0, width, side):
            yield filled[y : y + side, x : x + side]


def halved(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a picture at half its size: means of 2 x 2 pixels; a last odd one counts twice."""
    height, width = picture.shape[:2]
    padded = np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    sums = padded[0::2].astype(np.uint16) + padded[1::2]
    return ((sums[:, 0::2] + sums[:, 1::2] + 2) // 4).astype(np.uint8)
