"""Whole-slide files, read through OpenSlide."""

import threading
from pathlib import Path
from typing import Final

import numpy as np
import openslide
from numpy.typing import NDArray
from PIL import Image

from nuhtc.runtime.errors import SlideError, SlideReadError
from nuhtc.runtime.picture import file_digest
from nuhtc.runtime.resample import thumbnail
from nuhtc.runtime.resolution import slide_mpp

CACHE_BYTES: Final = 256 << 20
"""Decoded tiles kept by OpenSlide: one row of our tiles across a large slide, so that the rows'
overlap is decoded once (OpenSlide's own default is 32 MiB)."""

FIXED_BLOCK: Final = 512
"""Side in level pixels of the blocks in which an uneven level is read."""


class OpenSlideSlide:
    """A slide that OpenSlide opens; it may be read from several threads at once.

    Parameters
    ----------
    path
        The slide's file.
    mpp
        What the user said, um/px; None to use the metadata.

    Raises
    ------
    SlideError
        OpenSlide cannot open it.
    ResolutionError
        Its um/px is unknown or impossible.
    """

    def __init__(self, path: Path, mpp: float | None) -> None:
        self.path = path
        self.name = path.stem
        self._lock = threading.Lock()
        self._handle = _open(path)
        try:
            self.mpp = slide_mpp(self._handle.properties, str(path), mpp)
        except SlideError:
            self._handle.close()
            raise
        self.width, self.height = self._handle.dimensions
        self._stated = tuple(self._handle.level_downsamples)
        self.downsamples = tuple(
            _true_downsample(self._handle.dimensions, size, stated)
            for size, stated in zip(self._handle.level_dimensions, self._stated, strict=True)
        )

    def read(self, x: int, y: int, level: int, width: int, height: int) -> NDArray[np.uint8]:
        """Read RGB (height, width, 3); x and y in the level's pixels; white outside.

        Raises
        ------
        SlideReadError
            The region is damaged.
        """
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

    def thumbnail(self, max_side: int) -> NDArray[np.uint8]:
        """Give the whole slide as RGB whose longer side is at most `max_side` pixels."""
        return thumbnail(self, max_side)

    def digest(self) -> str:
        """Give "sha256:..." of the file's bytes (of the named file, where a slide has many)."""
        return file_digest(self.path)

    def close(self) -> None:
        """Close the file; reading is an error from then on."""
        with self._lock:
            self._handle.close()

    def _region(self, x: int, y: int, level: int, width: int, height: int) -> NDArray[np.uint8]:
        place = (round(x * self._stated[level]), round(y * self._stated[level]))
        handle = self._handle
        try:
            return _on_white(handle.read_region(place, level, (width, height)))
        except openslide.OpenSlideError:
            return self._region_alone(handle, place, level, (width, height))

    def _region_alone(
        self, broken: openslide.OpenSlide, place: tuple[int, int], level: int, size: tuple[int, int]
    ) -> NDArray[np.uint8]:
        """Read again through a handle of one's own.

        A handle that met one damaged region fails for ever and for every thread. So it is
        replaced, and whoever failed reads once more alone: only a region that is damaged itself
        fails then, whatever the other threads met.
        """
        try:
            with self._lock:
                if self._handle is broken:
                    self._handle = _open(self.path)
            with openslide.OpenSlide(self.path) as alone:
                return _on_white(alone.read_region(place, level, size))
        except (openslide.OpenSlideError, SlideError) as error:
            x, y = place
            raise SlideReadError(
                f"{self.path}: the slide is damaged around x {x}, y {y} (level {level}): "
                f"{_one_line(error)}; copy it again from where it came"
            ) from error


def _open(path: Path) -> openslide.OpenSlide:
    try:
        handle = openslide.OpenSlide(path)
    except openslide.OpenSlideUnsupportedFormatError as error:
        raise SlideError(
            f"{path}: is no slide that OpenSlide knows; convert it to a pyramidal TIFF or save the "
            "region as a PNG"
        ) from error
    except openslide.OpenSlideError as error:
        reason = _one_line(error).replace(f"Reading {path}: ", "")
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


def _on_white(image: Image.Image) -> NDArray[np.uint8]:
    """Lay RGBA on white: OpenSlide leaves transparent what was never scanned."""
    alpha = image.getchannel("A")
    if alpha.getextrema() == (255, 255):
        return np.asarray(image.convert("RGB"))
    white = Image.new("RGB", image.size, (255, 255, 255))
    white.paste(image, mask=alpha)
    return np.asarray(white)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
