"""Decode the tiles of a TIFF ourselves, several times faster than OpenSlide does.

OpenSlide decodes a tile, draws it on a canvas and hands the canvas over. Where a level is made
of plain JPEG or JPEG 2000 tiles, the same tiles decoded by the same libraries give the same
pixels without the drawing. *The same* is not believed but tried: before a level is read this
way, some of its tiles are read both ways and compared. Whatever is odd (another layout, another
pixel, a tile that is missing, truncated or damaged) goes through OpenSlide as before.
"""

import logging
import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import imagecodecs
import numpy as np
import tifffile
from numpy.typing import NDArray

from nuhtc.runtime.ground.errors import SlideReadError

LOG = logging.getLogger(__name__)

CACHE_BYTES: Final = 256 << 20
"""Decoded tiles kept: one row of our tiles across a large slide, so that the rows' overlap is
decoded once."""

VENDORS: Final = frozenset({"aperio", "generic-tiff"})
"""Formats in which OpenSlide lays tiles side by side, without overlaps or shifts."""

JPEG, JPEG_2000_RGB = 7, 33005
COLOUR_SPACES: Final = {2: "RGB", 6: "YCBCR"}
END_OF_IMAGE: Final = b"\xff\xd9"

TRIED: Final = 3
"""Tiles of a level that are compared before it is trusted."""

NEAR: Final = 1024
"""Pixels from a level's corner within which its tiles are cheap to read from the corner."""

ReadRegion = Callable[[int, int, int, int], NDArray[np.uint8]]
"""Reads (x, y, width, height) of the level through OpenSlide."""


@dataclass(frozen=True)
class TiledLevel:
    """Where the tiles of one level lie in the file, and how they are packed."""

    level: int
    """its number in the pyramid"""
    width: int
    """the level's, in pixels"""
    height: int
    """the level's, in pixels"""
    tile_width: int
    """a tile's, in pixels; the last tile of a row reaches over the edge"""
    tile_height: int
    """a tile's, in pixels; the last tile of a column reaches over the edge"""
    offsets: tuple[int, ...]
    """place of each tile in bytes, row by row"""
    sizes: tuple[int, ...]
    """length of each tile in bytes, row by row"""
    compression: int
    """`JPEG` or `JPEG_2000_RGB`"""
    colours: str
    """colour space of the JPEG streams"""
    tables: bytes | None
    """JPEG tables common to all tiles, if any"""

    @property
    def columns(self) -> int:
        """Tiles in a row."""
        return -(-self.width // self.tile_width)

    @property
    def rows(self) -> int:
        """Rows of tiles."""
        return -(-self.height // self.tile_height)

    def decode(self, data: bytes) -> NDArray[np.uint8] | None:
        """Decode a tile's bytes; None where they are not exactly one whole tile."""
        try:
            if self.compression == JPEG:
                # A decoder makes up what a truncated stream lacks; OpenSlide may do otherwise.
                if not data.rstrip(b"\0").endswith(END_OF_IMAGE):
                    return None
                tile = imagecodecs.jpeg8_decode(
                    data, tables=self.tables, colorspace=self.colours, outcolorspace="RGB"
                )
            else:
                tile = imagecodecs.jpeg2k_decode(data, numthreads=1)
        except (RuntimeError, ValueError, TypeError):  # what imagecodecs raises on bad data
            return None
        whole = (self.tile_height, self.tile_width, 3)
        return tile if tile.shape == whole and tile.dtype == np.uint8 else None


def tiled_levels(
    path: Path, vendor: str, sizes: tuple[tuple[int, int], ...]
) -> dict[int, TiledLevel]:
    """Find the pyramid levels of a file that can be decoded directly.

    Parameters
    ----------
    path
        The slide's file.
    vendor
        What OpenSlide calls its format.
    sizes
        (width, height) of each level as OpenSlide says.

    Returns
    -------
    dict
        By level; levels that OpenSlide has to read are missing.
    """
    if vendor not in VENDORS:
        return {}
    try:
        with tifffile.TiffFile(path) as file:
            pages = [page for page in file.pages if isinstance(page, tifffile.TiffPage)]
            found = {}
            for level, size in enumerate(sizes):
                same = [p for p in pages if (p.imagewidth, p.imagelength) == size and p.is_tiled]
                if len(same) == 1 and (tiled := _tiled_level(level, same[0])):
                    found[level] = tiled
            return found
    except (tifffile.TiffFileError, OSError, ValueError, TypeError, KeyError, IndexError) as error:
        # What tifffile cannot make sense of, OpenSlide may.
        LOG.debug("%s: not decoded directly: %s", path, error)
        return {}


def _tiled_level(level: int, page: tifffile.TiffPage) -> TiledLevel | None:
    """Describe a page whose tiles are JPEG or JPEG 2000 of three interleaved 8-bit colours."""
    jpeg = page.compression == JPEG and page.photometric in COLOUR_SPACES
    plain = page.samplesperpixel == 3 and page.bitspersample == 8 and page.planarconfig == 1
    if not plain or not (jpeg or (page.compression == JPEG_2000_RGB and page.photometric == 2)):
        return None
    tiled = TiledLevel(
        level,
        page.imagewidth,
        page.imagelength,
        page.tilewidth,
        page.tilelength,
        tuple(page.dataoffsets),
        tuple(page.databytecounts),
        int(page.compression),
        COLOUR_SPACES[int(page.photometric)],
        page.jpegtables,
    )
    count = tiled.columns * tiled.rows
    return tiled if len(tiled.offsets) == len(tiled.sizes) == count else None


class DirectReader:
    """Read levels of a TIFF from decoded tiles, each decoded once while it is kept.

    It may be used from several threads; decoding is done without the GIL. The file is closed
    with the reader's last reference, so a reader in use by another thread stays valid.

    Parameters
    ----------
    path
        The slide's file.
    cache_bytes
        Decoded tiles to keep.

    Raises
    ------
    OSError
        The file cannot be opened.
    """

    def __init__(self, path: Path, cache_bytes: int = CACHE_BYTES) -> None:
        self._file = -1
        self._file = os.open(path, os.O_RDONLY)
        self._most = cache_bytes
        self._kept = 0
        self._lock = threading.Lock()
        self._tiles: OrderedDict[tuple[int, int], Future[NDArray[np.uint8]]] = OrderedDict()

    def __del__(self) -> None:
        if self._file >= 0:
            os.close(self._file)

    def why_not_equal(
        self, tiled: TiledLevel, read_region: ReadRegion, *, near_corner: bool
    ) -> str | None:
        """Compare some tiles of a level with OpenSlide's; give what speaks against it, or None.

        Tiles that cannot be decoded here say nothing, as they will be read through OpenSlide;
        but one at least must be equal.

        Parameters
        ----------
        tiled
            The level.
        read_region
            Reads the level through OpenSlide.
        near_corner
            Take tiles near the level's corner only, where reading from it costs little.
        """
        equal = 0
        for index in _to_try(tiled, near_corner):
            mine = tiled.decode(self._bytes(tiled, index))
            if mine is None:
                continue
            x, y, width, height = _tile_area(tiled, index)
            try:
                theirs = read_region(x, y, width, height)
            except SlideReadError:
                continue
            if not np.array_equal(mine[:height, :width], theirs):
                return f"its tile at x {x}, y {y} decodes to other pixels"
            equal += 1
            if equal == TRIED:
                break
        return None if equal else "none of its tiles can be compared"

    def read(
        self, tiled: TiledLevel, x: int, y: int, width: int, height: int, read_region: ReadRegion
    ) -> NDArray[np.uint8]:
        """Read RGB (height, width, 3) of a level; white outside.

        Raises
        ------
        SlideReadError
            A tile of the region can be read neither here nor through OpenSlide.
        """
        left, right = max(x, 0), min(x + width, tiled.width)
        top, bottom = max(y, 0), min(y + height, tiled.height)
        if left >= right or top >= bottom:
            return np.full((height, width, 3), 255, np.uint8)
        inside = (left, top, right, bottom) == (x, y, x + width, y + height)
        shape = (height, width, 3)
        out = np.empty(shape, np.uint8) if inside else np.full(shape, 255, np.uint8)
        for row in range(top // tiled.tile_height, (bottom - 1) // tiled.tile_height + 1):
            for column in range(left // tiled.tile_width, (right - 1) // tiled.tile_width + 1):
                tile = self._tile(tiled, row * tiled.columns + column, read_region)
                tile_x, tile_y = column * tiled.tile_width, row * tiled.tile_height
                x0, x1 = max(left, tile_x), min(right, tile_x + tiled.tile_width)
                y0, y1 = max(top, tile_y), min(bottom, tile_y + tiled.tile_height)
                out[y0 - y : y1 - y, x0 - x : x1 - x] = tile[
                    y0 - tile_y : y1 - tile_y, x0 - tile_x : x1 - tile_x
                ]
        return out

    def _tile(self, tiled: TiledLevel, index: int, read_region: ReadRegion) -> NDArray[np.uint8]:
        """Return a decoded tile; of several threads that want it, one decodes and the rest wait."""
        key = (tiled.level, index)
        with self._lock:
            kept = self._tiles.get(key)
            if kept is None:
                mine = self._tiles[key] = Future()
            else:
                self._tiles.move_to_end(key)
        if kept is not None:
            return kept.result()
        try:
            tile = tiled.decode(self._bytes(tiled, index))
            if tile is None:
                tile = read_region(*_tile_area(tiled, index))
        except SlideReadError as error:
            # Kept too: trying a damaged tile again and again is slow.
            damage = SlideReadError(str(error), (tiled.tile_width, tiled.tile_height))
            mine.set_exception(damage)
            raise damage from error
        except BaseException as error:
            with self._lock:
                self._tiles.pop(key, None)
            mine.set_exception(error)
            raise
        with self._lock:
            mine.set_result(tile)
            if self._tiles.get(key) is mine:
                self._kept += tile.nbytes
            while self._kept > self._most and len(self._tiles) > 1:
                self._drop_oldest()
        return tile

    def _drop_oldest(self) -> None:
        _, oldest = self._tiles.popitem(last=False)
        if oldest.done() and oldest.exception() is None:
            self._kept -= oldest.result().nbytes

    def _bytes(self, tiled: TiledLevel, index: int) -> bytes:
        try:
            return os.pread(self._file, tiled.sizes[index], tiled.offsets[index])
        except OSError:
            return b""  # no whole tile: OpenSlide says what is wrong


def _to_try(tiled: TiledLevel, near_corner: bool) -> list[int]:
    """Choose tiles to compare, from the middle outwards: blank ones at the rim prove little."""
    columns = min(tiled.columns, NEAR // tiled.tile_width + 1) if near_corner else tiled.columns
    rows = min(tiled.rows, NEAR // tiled.tile_height + 1) if near_corner else tiled.rows
    parts = (4, 2, 6, 3, 5, 1, 7, 0)
    return list(
        dict.fromkeys(
            (rows * part // 8) * tiled.columns + columns * other // 8
            for part, other in zip(parts, (4, 6, 2, 3, 5, 7, 1, 0), strict=True)
        )
    )


def _tile_area(tiled: TiledLevel, index: int) -> tuple[int, int, int, int]:
    """Return a tile's x, y, width and height as far as it lies on the level."""
    row, column = divmod(index, tiled.columns)
    x, y = column * tiled.tile_width, row * tiled.tile_height
    return x, y, min(tiled.tile_width, tiled.width - x), min(tiled.tile_height, tiled.height - y)
