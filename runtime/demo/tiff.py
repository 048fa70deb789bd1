"""Write a pyramidal tiled TIFF that OpenSlide and QuPath open, in bounded memory.

The picture is asked for one row of tiles at a time. Each level halves the rows it is given and
hands them to the next, so that all levels grow together and no more than two rows of tiles of
each are ever held. Tiles are JPEG streams, each with its own tables (TIFF compression 7); the
directories follow at the file's end. The layout is TIFF 6.0 and, for large pictures, BigTIFF.
"""

import io
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nuhtc.runtime.ground.whole_files import whole_file

RegionReader = Callable[[int, int, int, int], NDArray[np.uint8]]
"""Gives RGB (height, width, 3) for (x, y, width, height)."""

SHORT, LONG, RATIONAL, LONG8 = 3, 4, 5, 16

FIELD_FORMATS: Final = {SHORT: "H", LONG: "I", RATIONAL: "II", LONG8: "Q"}

UM_PER_CM: Final = 10_000

MPP_RANGE: Final = (0.01, 1000.0)

BIG_FROM: Final = 2**32
"""Uncompressed bytes from which a BigTIFF is written: a classic one ends at 4 GiB."""


@dataclass
class _Level:
    """One level while it grows."""

    width: int
    height: int
    rows: list[NDArray[np.uint8]] = field(default_factory=list)
    waiting: int = 0
    offsets: list[int] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)


def write_pyramid(
    path: Path,
    picture: NDArray[np.uint8] | RegionReader,
    *,
    width: int | None = None,
    height: int | None = None,
    mpp: float,
    tile: int = 256,
    quality: int = 90,
) -> None:
    """Write a pyramid of JPEG tiles whose levels halve until one tile holds the whole.

    Parameters
    ----------
    path
        The file; it appears whole or not at all.
    picture
        RGB (height, width, 3), or a function that gives any region of it as
        ``picture(x, y, width, height)``; it is asked for rows of tiles from the top down.
    width, height
        The picture's size in pixels; needed with a function, and taken from an array.
    mpp
        um/px, stored as pixels per centimetre.
    tile
        Side of a tile in pixels, a multiple of 16.
    quality
        JPEG quality, 1 to 100; colours are not subsampled.

    Raises
    ------
    ValueError
        A size, `tile` or `mpp` makes no sense, or `picture` gives the wrong shape.
    OutputError
        The file cannot be written.
    """
    read, width, height = _as_reader(picture, width, height)
    if tile < 16 or tile % 16:
        raise ValueError(f"tile must be a multiple of 16, not {tile}")
    if not MPP_RANGE[0] <= mpp <= MPP_RANGE[1]:
        raise ValueError(f"mpp must be from {MPP_RANGE[0]} to {MPP_RANGE[1]} um/px, not {mpp}")
    levels = [_Level(width, height)]
    while max(levels[-1].width, levels[-1].height) > tile:
        levels.append(_Level((levels[-1].width + 1) // 2, (levels[-1].height + 1) // 2))
    big = width * height * 4 >= BIG_FROM
    with whole_file(path) as partial, partial.open("wb") as file:
        file.write(_header(big))
        for y in range(0, height, tile):
            rows = read(0, y, width, min(tile, height - y))
            if rows.shape != (min(tile, height - y), width, 3) or rows.dtype != np.uint8:
                raise ValueError(f"the picture gave {rows.dtype} {rows.shape} at row {y}")
            _add_rows(file, levels, 0, rows, tile, quality)
        _write_directories(file, levels, tile, mpp, big)


def _as_reader(
    picture: NDArray[np.uint8] | RegionReader, width: int | None, height: int | None
) -> tuple[RegionReader, int, int]:
    if isinstance(picture, np.ndarray):
        array = picture
        if array.ndim != 3 or array.shape[2] != 3 or array.dtype != np.uint8 or not array.size:
            raise ValueError(
                f"picture must be uint8 (height, width, 3), not {array.dtype} {array.shape}"
            )
        if width not in (None, array.shape[1]) or height not in (None, array.shape[0]):
            raise ValueError(f"width and height contradict the picture's shape {array.shape}")

        def read(x: int, y: int, w: int, h: int) -> NDArray[np.uint8]:
            return array[y : y + h, x : x + w]

        return read, array.shape[1], array.shape[0]
    if width is None or height is None or width < 1 or height < 1:
        raise ValueError("a function needs the picture's width and height, both at least 1")
    return picture, width, height


def _add_rows(
    file: BinaryIO,
    levels: list[_Level],
    index: int,
    rows: NDArray[np.uint8],
    tile: int,
    quality: int,
) -> None:
    """Add rows to a level; write its tiles and feed the next level whenever a row is complete."""
    level = levels[index]
    level.rows.append(rows)
    level.waiting += rows.shape[0]
    done = len(level.offsets) // -(-level.width // tile) * tile
    complete = level.waiting == min(tile, level.height - done)
    if not complete:
        return
    strip = np.concatenate(level.rows) if len(level.rows) > 1 else level.rows[0]
    level.rows.clear()
    level.waiting = 0
    padded = np.pad(
        strip, ((0, -strip.shape[0] % tile), (0, -strip.shape[1] % tile), (0, 0)), mode="edge"
    )
    for x in range(0, padded.shape[1], tile):
        data = _jpeg(padded[:, x : x + tile], quality)
        level.offsets.append(file.tell())
        level.sizes.append(len(data))
        file.write(data)
    if index + 1 < len(levels):
        _add_rows(file, levels, index + 1, _halve(strip), tile, quality)


def _jpeg(pixels: NDArray[np.uint8], quality: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality, subsampling=0)
    return buffer.getvalue()


def _halve(rows: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Average 2 x 2 pixels, rounding halves up; an odd last row or column is doubled first."""
    even = np.pad(rows, ((0, rows.shape[0] % 2), (0, rows.shape[1] % 2), (0, 0)), mode="edge")
    wide = even.astype(np.uint16)
    total = wide[0::2, 0::2] + wide[0::2, 1::2] + wide[1::2, 0::2] + wide[1::2, 1::2]
    return ((total + 2) >> 2).astype(np.uint8)


def _header(big: bool) -> bytes:
    """Give the file's first bytes; the place of the first directory is filled in at the end."""
    if big:
        return struct.pack("<2sHHHQ", b"II", 43, 8, 0, 0)
    return struct.pack("<2sHI", b"II", 42, 0)


def _write_directories(
    file: BinaryIO, levels: list[_Level], tile: int, mpp: float, big: bool
) -> None:
    link = 8 if big else 4
    word = "Q" if big else "I"
    for index, level in enumerate(levels):
        entries = _entries(level, index, tile, mpp * 2**index, big)
        place = _align(file)
        body, extra = _directory(entries, place, big)
        file.write(body)
        after = file.tell()
        file.write(struct.pack(f"<{word}", 0))
        file.write(extra)
        end = file.tell()
        file.seek(link)
        file.write(struct.pack(f"<{word}", place))
        file.seek(end)
        link = after


def _entries(
    level: _Level, index: int, tile: int, mpp: float, big: bool
) -> list[tuple[int, int, tuple[int, ...]]]:
    """List a level's fields as (tag, type, values), by ascending tag."""
    per_cm = Fraction(UM_PER_CM / mpp).limit_denominator(1000)
    resolution = (per_cm.numerator, per_cm.denominator)
    return [
        (254, LONG, (0 if index == 0 else 1,)),  # NewSubfileType: a reduced picture
        (256, LONG, (level.width,)),
        (257, LONG, (level.height,)),
        (258, SHORT, (8, 8, 8)),  # BitsPerSample
        (259, SHORT, (7,)),  # Compression: JPEG
        (262, SHORT, (6,)),  # PhotometricInterpretation: YCbCr
        (277, SHORT, (3,)),  # SamplesPerPixel
        (282, RATIONAL, resolution),  # XResolution
        (283, RATIONAL, resolution),  # YResolution
        (284, SHORT, (1,)),  # PlanarConfiguration: RGBRGB
        (296, SHORT, (3,)),  # ResolutionUnit: centimetre
        (322, LONG, (tile,)),  # TileWidth
        (323, LONG, (tile,)),  # TileLength
        (324, LONG8 if big else LONG, tuple(level.offsets)),
        (325, LONG, tuple(level.sizes)),
        (530, SHORT, (1, 1)),  # YCbCrSubSampling: none
    ]


def _directory(
    entries: list[tuple[int, int, tuple[int, ...]]], place: int, big: bool
) -> tuple[bytes, bytes]:
    """Lay out a directory at `place`: its entries, and the values too long to stand in them."""
    count_format, entry_format, room = ("<Q", "<HHQ", 8) if big else ("<H", "<HHI", 4)
    entry_size = struct.calcsize(entry_format) + room
    extra_place = place + struct.calcsize(count_format) + len(entries) * entry_size + room
    body = struct.pack(count_format, len(entries))
    extra = b""
    for tag, kind, values in entries:
        count = len(values) // len(FIELD_FORMATS[kind])
        data = struct.pack(f"<{FIELD_FORMATS[kind][0] * len(values)}", *values)
        body += struct.pack(entry_format, tag, kind, count)
        if len(data) <= room:
            body += data.ljust(room, b"\0")
        else:
            body += struct.pack("<Q" if big else "<I", extra_place + len(extra))
            extra += data + b"\0" * (-len(data) % 8)
    return body, extra


def _align(file: BinaryIO) -> int:
    """Pad the file to a whole word, where TIFF wants directories, and give the place."""
    file.write(b"\0" * (-file.tell() % 8))
    return file.tell()
