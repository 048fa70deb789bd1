"""Slides that lie in memory: plain pictures, and arrays made by code."""

import hashlib
import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from nuhtc.runtime.ground.errors import SlideError
from nuhtc.runtime.slides.resample import thumbnail
from nuhtc.runtime.slides.resolution import picture_mpp
from nuhtc.runtime.slides.slide import ClosingSlide, slide_digest

LOG = logging.getLogger(__name__)

PICTURE_SUFFIXES: Final = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp"})

WHITE: Final = 255

SIXTEEN_BIT_MODES: Final = ("I", "I;16", "I;16L", "I;16B", "I;16N")

CONVERT_HINT: Final = (
    "vips tiffsave PICTURE slide.tif --tile --pyramid --compression jpeg (a pyramid is read piece "
    "by piece)"
)


class ArraySlide(ClosingSlide):
    """A slide made of an array, for pictures and for tests.

    Parameters
    ----------
    picture
        RGB (height, width, 3), level 0.
    mpp
        um/px of level 0.
    name
        Stem of the outputs' names.
    path
        The file it came from, if any.
    smaller
        Further pyramid levels, each RGB and smaller than the one before.
    """

    def __init__(
        self,
        picture: NDArray[np.uint8],
        mpp: float,
        *,
        name: str = "array",
        path: Path | None = None,
        smaller: Sequence[NDArray[np.uint8]] = (),
    ) -> None:
        self._levels = (picture, *smaller)
        for level in self._levels:
            if level.dtype != np.uint8 or level.ndim != 3 or level.shape[2] != 3 or not level.size:
                raise ValueError(
                    f"a slide's level must be uint8 (height, width, 3), not {level.dtype} "
                    f"{level.shape}"
                )
        self.name = name
        self.path = path
        self.mpp = mpp
        self.height, self.width = picture.shape[:2]
        self.downsamples = tuple(
            (self.width / level.shape[1] + self.height / level.shape[0]) / 2
            for level in self._levels
        )

    def read(self, x: int, y: int, level: int, width: int, height: int) -> NDArray[np.uint8]:
        """Read RGB (height, width, 3); x and y in the level's pixels; white outside."""
        source = self._levels[level]
        out = np.full((height, width, 3), WHITE, np.uint8)
        top, bottom = max(y, 0), min(y + height, source.shape[0])
        left, right = max(x, 0), min(x + width, source.shape[1])
        if top < bottom and left < right:
            out[top - y : bottom - y, left - x : right - x] = source[top:bottom, left:right]
        return out

    def thumbnail(self, max_side: int) -> NDArray[np.uint8]:
        """Return the whole slide as RGB whose longer side is at most `max_side` pixels."""
        return thumbnail(self, max_side)

    def digest(self) -> str:
        """Return "sha256:..." of the file's bytes, or of the pixels where there is no file."""
        if self.path is not None:
            return slide_digest(self.path)
        sha = hashlib.sha256(repr(self._levels[0].shape).encode())
        sha.update(self._levels[0].tobytes())
        return f"sha256:{sha.hexdigest()}"

    def close(self) -> None:
        """Do nothing: the array goes with its last user."""


class PictureSlide(ArraySlide):
    """A PNG, JPEG, TIFF, BMP or WebP picture as a slide with one level.

    Pixels are taken as they are stored: an orientation tag is not applied, as in QuPath, so
    that outlines lie where other programs show the picture.

    Parameters
    ----------
    path
        The picture.
    mpp
        What the user said, um/px; None to use the file's own resolution where a microscope
        could have written it, else `fallback_mpp` with a warning.
    fallback_mpp
        um/px to assume when nothing is known (the model's own); None forbids it.

    Raises
    ------
    SlideError
        The picture is damaged, too large, or not a picture of one RGB or grey plane.
    ResolutionError
        Its um/px is unknown.
    """

    def __init__(self, path: Path, mpp: float | None, fallback_mpp: float | None) -> None:
        picture, dpi = read_picture(path)
        resolved = picture_mpp(dpi, str(path), mpp, fallback_mpp)
        super().__init__(picture, resolved, name=path.stem, path=path)


def read_picture(path: Path) -> tuple[NDArray[np.uint8], tuple[float, float] | None]:
    """Read a picture as RGB.

    Returns
    -------
    NDArray[np.uint8]
        RGB (height, width, 3).
    tuple of float or None
        Pixels per inch in x and y, where the file states them.

    Raises
    ------
    SlideError
        The picture is damaged, too large, or not a picture of one RGB or grey plane.
    """
    try:
        with warnings.catch_warnings():
            # What Pillow warns of either becomes an error below (damage, and from 179 million
            # pixels on the size, which bounds the memory) or does no harm.
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                _refuse_stack(image, path)
                image.load()
                dpi = image.info.get("dpi")
                return _to_rgb(image, path), dpi
    except Image.DecompressionBombError as error:
        raise SlideError(
            f"{path}: the picture is too large to be read whole; convert it first: {CONVERT_HINT}"
        ) from error
    except UnidentifiedImageError as error:
        raise SlideError(
            f"{path}: is no picture and no slide, or is damaged; try to open it in QuPath, or copy "
            "it again from where it came"
        ) from error
    except (SlideError, MemoryError):
        raise
    except Exception as error:
        # Pillow's decoders meet damaged data in every way there is, KeyError and TypeError too.
        reason = " ".join(str(error).split()) or type(error).__name__
        raise SlideError(
            f"{path}: the picture is damaged or truncated ({reason}); copy it again from where it "
            "came"
        ) from error


def _refuse_stack(image: Image.Image, path: Path) -> None:
    """Refuse a TIFF of several equal pages: channels of fluorescence or focal planes, not H&E.

    Smaller further pages are thumbnails or pyramid levels and do no harm.
    """
    if image.format != "TIFF":
        return
    size, pages = image.size, getattr(image, "n_frames", 1)
    equal = 1
    for page in range(1, pages):
        image.seek(page)
        equal += image.size == size
    image.seek(0)
    if equal > 1:
        raise SlideError(
            f"{path}: holds {equal} pages of the same size (channels or focal planes), not one "
            "H&E picture; save the one to use as an RGB picture"
        )


def _to_rgb(image: Image.Image, path: Path) -> NDArray[np.uint8]:
    if image.mode in SIXTEEN_BIT_MODES:
        return _grey_to_rgb(np.asarray(image), path)
    if image.mode == "F":
        raise SlideError(
            f"{path}: the picture holds floating-point numbers, not colours; save it as 8-bit RGB"
        )
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        shown = image.convert("RGBA")
        white = Image.new("RGBA", shown.size, (WHITE, WHITE, WHITE, WHITE))
        return np.asarray(Image.alpha_composite(white, shown).convert("RGB"))
    return np.asarray(image.convert("RGB"))


def _grey_to_rgb(grey: NDArray[np.generic], path: Path) -> NDArray[np.uint8]:
    """Bring deep grey to 8 bits by the depth it uses: cameras store 10, 12 or 14 bits in 16."""
    values = grey.astype(np.int64)
    top = int(values.max())
    if top > 65535 or int(values.min()) < 0:
        raise SlideError(
            f"{path}: the picture's grey values reach beyond 16 bits; save it as 8-bit RGB"
        )
    bits = next(bits for bits in (8, 10, 12, 14, 16) if top < 1 << bits)
    LOG.warning(
        "%s: a 16-bit grey picture, read as %d-bit; the model is made for H&E colours", path, bits
    )
    eight = np.rint(values * (255 / ((1 << bits) - 1))).astype(np.uint8)
    return np.repeat(eight[:, :, None], 3, axis=2)
