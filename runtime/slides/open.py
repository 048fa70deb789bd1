"""How a file becomes a slide."""

from pathlib import Path

import openslide

from nuhtc.runtime.ground.errors import SlideError
from nuhtc.runtime.slides.openslide_slide import OpenSlideSlide
from nuhtc.runtime.slides.picture import PICTURE_SUFFIXES, PictureSlide
from nuhtc.runtime.slides.slide import Slide


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
