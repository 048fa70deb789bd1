"""What every later stage knows of a slide, and how a file becomes one."""

from pathlib import Path
from typing import Protocol

import numpy as np
import openslide
from numpy.typing import NDArray

from nuhtc.runtime.ground.errors import SlideError
from nuhtc.runtime.openslide_slide import OpenSlideSlide
from nuhtc.runtime.picture import PICTURE_SUFFIXES, ArraySlide, PictureSlide

__all__ = ["ArraySlide", "OpenSlideSlide", "PictureSlide", "Slide", "open_slide"]


class Slide(Protocol):
    """A pyramid of RGB pictures at a known resolution; safe to read from several threads."""

    @property
    def name(self) -> str:
        """Stem of the outputs' names."""

    @property
    def path(self) -> Path | None:
        """The file, where there is one."""

    @property
    def width(self) -> int:
        """Level-0 width in pixels."""

    @property
    def height(self) -> int:
        """Level-0 height in pixels."""

    @property
    def mpp(self) -> float:
        """Microns per level-0 pixel."""

    @property
    def downsamples(self) -> tuple[float, ...]:
        """Level-0 pixels per pixel of each level; the first is 1."""

    def read(self, x: int, y: int, level: int, width: int, height: int) -> NDArray[np.uint8]:
        """Read RGB (height, width, 3).

        A pixel is the same whatever region it is read with.

        Parameters
        ----------
        x, y
            Top left corner in the level's own pixels; what lies outside the slide is white.

        Raises
        ------
        SlideReadError
            The region is damaged; other regions may be read still.
        """

    def thumbnail(self, max_side: int) -> NDArray[np.uint8]:
        """Give the whole slide as RGB whose longer side is at most `max_side` pixels.

        Damaged parts are mid grey.

        Raises
        ------
        SlideReadError
            Nothing of the slide can be read.
        """

    def digest(self) -> str:
        """Give "sha256:..." of the file's bytes."""

    def close(self) -> None:
        """Release the file."""


def open_slide(
    path: Path | str, *, mpp: float | None = None, picture_mpp: float | None = None
) -> Slide:
    """Open a whole slide or a plain picture.

    Parameters
    ----------
    path
        Any file OpenSlide reads, or a PNG, JPEG, TIFF, BMP or WebP picture.
    mpp
        um/px of level 0 as the user says; it wins over the file's metadata.
    picture_mpp
        um/px to assume, with a warning, for a picture whose resolution is unknown (the
        model's own); None makes that an error.

    Raises
    ------
    SlideError
        The file is missing, no slide or picture, or damaged.
    ResolutionError
        Its um/px is unknown, impossible or contradictory, and `mpp` is None.
    UsageError
        `mpp` is not a resolution.
    """
    path = Path(path)
    _check_readable(path)
    if openslide.OpenSlide.detect_format(path) is not None:
        return OpenSlideSlide(path, mpp)
    if path.suffix.lower() in PICTURE_SUFFIXES:
        return PictureSlide(path, mpp, picture_mpp)
    raise SlideError(
        f"{path}: is no slide that OpenSlide knows and no picture "
        f"({', '.join(sorted(PICTURE_SUFFIXES))}), or it is damaged; copy it again, or convert it "
        "to a pyramidal TIFF"
    )


def _check_readable(path: Path) -> None:
    if path.is_dir():
        raise SlideError(f"{path}: is a folder, not a slide; give the slide's file in it")
    try:
        with path.open("rb") as file:
            empty = not file.read(1)
    except FileNotFoundError as error:
        raise SlideError(f"{path}: there is no such file; check its name and folder") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SlideError(
            f"{path}: the file cannot be read ({reason}); check its permissions and the disk"
        ) from error
    if empty:
        raise SlideError(f"{path}: the file is empty; copy it again from where it came")
