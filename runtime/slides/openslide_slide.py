"""Whole-slide files: opened by OpenSlide, read through it or, where that is equal, directly."""

import ctypes
import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import openslide
from numpy.typing import NDArray
from openslide import lowlevel

from nuhtc.native.tiler import read_region
from nuhtc.runtime.ground.errors import SlideError, SlideReadError
from nuhtc.runtime.slides.direct_tiff import DirectReader, TiledLevel, tiled_levels
from nuhtc.runtime.slides.resample import thumbnail
from nuhtc.runtime.slides.resolution import slide_mpp
from nuhtc.runtime.slides.slide import ClosingSlide, slide_digest

LOG = logging.getLogger(__name__)

CACHE_BYTES: Final = 256 << 20
"""Decoded tiles kept by OpenSlide: one row of our tiles across a large slide, so that the rows'
overlap is decoded once (OpenSlide's own default is 32 MiB)."""

FIXED_BLOCK: Final = 512
"""Side in level pixels of the blocks in which an uneven level is read."""


class OpenSlideSlide(ClosingSlide):
    """A slide that OpenSlide opens; it may be read from several threads at once.

    Levels made of plain JPEG or JPEG 2000 tiles are decoded directly
    (`nuhtc.runtime.slides.direct_tiff`) after some of their tiles were found equal to OpenSlide's;
    everything else is read through OpenSlide.

    Parameters
    ----------
    path
        The slide's file.
    mpp
        What the user said, um/px; None to use the metadata.
    direct
        False to read everything through OpenSlide.

    Raises
    ------
    SlideError
        OpenSlide cannot open it.
    ResolutionError
        Its um/px is unknown or impossible.
    """

    def __init__(self, path: Path, mpp: float | None, *, direct: bool = True) -> None:
        self.path = path
        self.name = path.stem
        self._lock = threading.Lock()
        self._scratch = threading.local()
        handle = _open(path)
        try:
            self.mpp = slide_mpp(handle.properties, str(path), mpp)
        except SlideError:
            handle.close()
            raise
        self.width, self.height = handle.dimensions
        self._stated = tuple(handle.level_downsamples)
        self.downsamples = tuple(
            _true_downsample(handle.dimensions, size, stated)
            for size, stated in zip(handle.level_dimensions, self._stated, strict=True)
        )
        self._cells = tuple(_cell(handle, level) for level in range(handle.level_count))
        # None once closed: whoever reads then holds a reference of his own until he is done.
        self._handle: openslide.OpenSlide | None = handle
        self._reader: DirectReader | None = None
        self._untried: dict[int, TiledLevel] = {}
        self._tiled: dict[int, TiledLevel] = {}
        if direct:
            vendor = handle.properties["openslide.vendor"]
            self._untried = tiled_levels(path, vendor, tuple(handle.level_dimensions))
            if self._untried:
                self._reader = DirectReader(path)

    def read(self, x: int, y: int, level: int, width: int, height: int) -> NDArray[np.uint8]:
        """Read RGB (height, width, 3); x and y in the level's pixels; white outside.

        Raises
        ------
        SlideReadError
            The region is damaged.
        SlideError
            The slide was closed.
        """
        if level in self._untried:
            self._try_level(level)
        tiled, reader = self._tiled.get(level), self._reader
        if tiled is None or reader is None:
            return self._through_openslide(level, x, y, width, height)
        return reader.read(tiled, x, y, width, height, self._openslide_reader(level))

    def thumbnail(self, max_side: int) -> NDArray[np.uint8]:
        """Return the whole slide as RGB whose longer side is at most `max_side` pixels."""
        return thumbnail(self, max_side)

    def digest(self) -> str:
        """Return "sha256:..." of the file's bytes (of the named file, where a slide has many)."""
        return slide_digest(self.path)

    def close(self) -> None:
        """Close the file, when the last reading thread is done; reading is an error from now on."""
        with self._lock:
            self._handle = self._reader = None

    def _openslide_reader(self, level: int) -> Callable[[int, int, int, int], NDArray[np.uint8]]:
        """Return a reader of a level's regions through OpenSlide."""

        def read(x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
            return self._through_openslide(level, x, y, width, height)

        return read

    def _try_level(self, level: int) -> None:
        """Decide, once, whether a level is decoded directly."""
        with self._lock:
            tiled, reader = self._untried.get(level), self._reader
        if tiled is None or reader is None:
            return
        even = self._stated[level].is_integer()

        def exact(x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
            # From the corner, OpenSlide does not interpolate even on an uneven level.
            if even:
                return self._region(x, y, level, width, height)
            return self._region(0, 0, level, x + width, y + height)[y:, x:]

        reason = reader.why_not_equal(tiled, exact, near_corner=not even)
        with self._lock:
            if self._untried.pop(level, None) is None:
                return
            if reason is None:
                self._tiled[level] = tiled
        if reason is None:
            LOG.debug("%s: level %d is decoded directly", self.path, level)
        else:
            LOG.info("%s: level %d is read through OpenSlide: %s", self.path, level, reason)

    def _through_openslide(
        self, level: int, x: int, y: int, width: int, height: int
    ) -> NDArray[np.uint8]:
        if self._stated[level].is_integer():
            return self._region(x, y, level, width, height)
        # OpenSlide takes whole level-0 coordinates. On a level whose downsample is no whole
        # number they fall between the level's pixels and OpenSlide interpolates, differently for
        # each origin. Read in fixed blocks, a pixel is the same whoever asks.
        left, top = x // FIXED_BLOCK * FIXED_BLOCK, y // FIXED_BLOCK * FIXED_BLOCK
        columns = range(left, x + width, FIXED_BLOCK)
        rows = range(top, y + height, FIXED_BLOCK)
        size = (len(rows) * FIXED_BLOCK, len(columns) * FIXED_BLOCK, 3)
        out = np.empty(size, np.uint8)
        for row in rows:
            for column in columns:
                out[row - top :, column - left :][:FIXED_BLOCK, :FIXED_BLOCK] = self._region(
                    column, row, level, FIXED_BLOCK, FIXED_BLOCK
                )
        return out[y - top : y - top + height, x - left : x - left + width]

    def _region(self, x: int, y: int, level: int, width: int, height: int) -> NDArray[np.uint8]:
        handle = self._handle
        if handle is None:
            raise SlideError(f"{self.path}: was closed and cannot be read any more; open it again")
        place = (round(x * self._stated[level]), round(y * self._stated[level]))
        out = np.empty((height, width, 3), np.uint8)
        if self._fill(handle, place, level, out):
            return out
        # A handle that met one damaged region fails for ever and for every thread. So it is
        # replaced, and whoever failed reads once more alone: only a region that is damaged itself
        # fails then, whatever the other threads met.
        try:
            with self._lock:
                if self._handle is handle:
                    self._handle = _open(self.path)
            with openslide.OpenSlide(self.path) as alone:
                if self._fill(alone, place, level, out):
                    return out
                reason = _one_line(lowlevel.get_error(alone._osr))
        except (openslide.OpenSlideError, SlideError) as error:
            reason = _one_line(str(error))
        raise SlideReadError(
            f"{self.path}: the slide is damaged around x {place[0]}, y {place[1]} (level {level}): "
            f"{reason}; copy it again from where it came",
            self._cells[level],
        )

    def _fill(
        self,
        handle: openslide.OpenSlide,
        place: tuple[int, int],
        level: int,
        out: NDArray[np.uint8],
    ) -> bool:
        """Read a region into `out`; False where it, or the handle, is broken."""
        pixels = out.shape[0] * out.shape[1]
        scratch = getattr(self._scratch, "words", None)
        if scratch is None or len(scratch) < pixels:
            scratch = self._scratch.words = np.empty(pixels, np.uint32)
        address = handle._osr._as_parameter_.value or 0
        return read_region(LIBRARY, address, place, level, out, scratch)


def _open(path: Path) -> openslide.OpenSlide:
    try:
        handle = openslide.OpenSlide(path)
    except openslide.OpenSlideUnsupportedFormatError as error:
        raise SlideError(
            f"{path}: is no slide that OpenSlide knows; convert it to a pyramidal TIFF or save the "
            "region as a PNG"
        ) from error
    except openslide.OpenSlideError as error:
        reason = _one_line(str(error)).replace(f"Reading {path}: ", "")
        raise SlideError(
            f"{path}: the slide cannot be opened ({reason}): it is damaged or of a variant that "
            "OpenSlide does not support; copy it again, or convert it to a pyramidal TIFF"
        ) from error
    handle.set_cache(openslide.OpenSlideCache(CACHE_BYTES))
    return handle


def _true_downsample(base: tuple[int, int], size: tuple[int, int], stated: float) -> float:
    """Undo the rounding of a level's size: 4443 / 2221 pixels is a downsample of 2, not 2.0005.

    OpenSlide divides the sizes; a level made by whole-number averaging drops or pads the rest.
    """
    whole = round(stated)
    fits = all(
        length in (full // whole, -(-full // whole))
        for full, length in zip(base, size, strict=True)
    )
    return float(whole) if fits else stated


def _cell(handle: openslide.OpenSlide, level: int) -> tuple[int, int] | None:
    """Return the size of a level's parts that are damaged as one, if it is known."""
    if not handle.level_downsamples[level].is_integer():
        return FIXED_BLOCK, FIXED_BLOCK
    names = (f"openslide.level[{level}].tile-{side}" for side in ("width", "height"))
    sides = [int(handle.properties.get(name, 0)) for name in names]
    return (sides[0], sides[1]) if all(sides) else None


def _address(function: Any) -> int:
    return ctypes.cast(function, ctypes.c_void_p).value or 0


LIBRARY: Final = (
    _address(lowlevel._lib.openslide_read_region),
    _address(lowlevel._lib.openslide_get_error),
)
"""Where the functions lie that the kernel calls, in the library that openslide-python loaded."""


def _one_line(message: str) -> str:
    return " ".join(message.split())
