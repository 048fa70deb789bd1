"""What every later stage knows of a slide."""

from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from nuhtc.runtime.ground.errors import SlideError
from nuhtc.runtime.ground.versions import printable
from nuhtc.runtime.ground.whole_files import digest

Area = tuple[int, int, int, int]
"""x, y, width, height."""


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
        """Return the whole slide as RGB whose longer side is at most `max_side` pixels.

        Damaged parts are mid grey.

        Raises
        ------
        SlideReadError
            Nothing of the slide can be read.
        """

    def digest(self) -> str:
        """Return "sha256:..." of the file's bytes."""

    def close(self) -> None:
        """Release the file."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the slide."""


class ClosingSlide:
    """What slides have in common: a `with` block closes one, and it prints as what it is."""

    name: str
    width: int
    height: int
    mpp: float

    def close(self) -> None:
        """Release the file."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<slide {self.name}: {self.width:,} x {self.height:,} px, {self.mpp:g} um/px>"


@dataclass(frozen=True)
class SlideFacts:
    """Which slide it was."""

    file: str
    digest: str
    width_px: int
    height_px: int
    mpp: float

    @classmethod
    def of(cls, slide: Slide) -> "SlideFacts":
        """Return what is kept of an open slide; its file is read whole for the digest.

        Raises
        ------
        SlideError
            The file cannot be read any more.
        """
        return cls(
            file=printable(slide.path.name if slide.path else slide.name),
            digest=slide.digest(),
            width_px=slide.width,
            height_px=slide.height,
            mpp=slide.mpp,
        )


def slide_digest(path: Path) -> str:
    """Return "sha256:..." of a file's bytes.

    Raises
    ------
    SlideError
        The file cannot be read any more.
    """
    try:
        return f"sha256:{digest(path)}"
    except OSError as error:
        raise SlideError(f"{path}: cannot be read ({error.strerror}); check the disk") from error
