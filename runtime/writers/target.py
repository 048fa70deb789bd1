"""What every writer is given: where to write, and what is known of the slide."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nuhtc.runtime.bundle.card import NucleusClass
from nuhtc.runtime.ground.errors import OutputError
from nuhtc.runtime.ground.whole_files import explain, whole_file
from nuhtc.runtime.nuclei.nuclei import Nuclei
from nuhtc.runtime.slides.slide import SlideFacts


@dataclass(frozen=True)
class Target:
    """Where outputs go and what they say besides the nuclei."""

    folder: Path
    """where the files go"""
    stem: str
    """files are `folder/<stem>.<suffix>`"""
    slide: SlideFacts
    """the slide; coordinates are pixels of its level 0"""
    classes: Sequence[NucleusClass]
    """names and colours, by label"""
    tiles: NDArray[np.int64]
    """int64 (T,): the tiles that were run, ascending"""
    tile_boxes: NDArray[np.int64]
    """int64 (T, 4): x, y, width, height of each in level-0 pixels"""
    run: Mapping[str, object]
    """what made the nuclei: model, settings, versions"""

    def path(self, suffix: str) -> Path:
        """Return where the output with this suffix belongs."""
        return self.folder / (self.stem + suffix)


Write = Callable[[Nuclei], None]
"""Adds some nuclei, in the order of the tiles; raises OutputError when they cannot be written."""


@dataclass(frozen=True)
class Output:
    """A format being written."""

    write: Write
    """takes the nuclei"""
    paths: list[Path]
    """where the files will be, as they are begun"""


class Files(contextlib.ExitStack):
    """Files that appear together when the block ends, or not at all."""

    def __init__(self) -> None:
        super().__init__()
        self.paths: list[Path] = []

    def partial(self, final: Path) -> Path:
        """Return the path to write to for a file that will be `final`."""
        partial = self.enter_context(whole_file(final))
        self.paths.append(final)
        return partial


def check_nuclei(target: Target, nuclei: Nuclei) -> None:
    """Check that nuclei can be written.

    Raises
    ------
    OutputError
        When a number is not finite, a label has no class, or an outline no area.
    """
    path, classes = target.path(""), target.classes
    for what in ("score", "probabilities", "area_px", "centroid"):
        if not np.isfinite(getattr(nuclei, what)).all():
            raise OutputError(f"{path}: not written: a nucleus has a {what} that is not a number")
    if nuclei.probabilities.shape[1:] != (len(classes),):
        raise OutputError(
            f"{path}: not written: {nuclei.probabilities.shape[1:]} probabilities per nucleus, "
            f"but {len(classes)} classes"
        )
    if len(nuclei) and (nuclei.label.max() >= len(classes) or np.diff(nuclei.offsets).min() < 3):
        raise OutputError(f"{path}: not written: a nucleus without a class or without an outline")


@contextlib.contextmanager
def made_folder(folder: Path, files: Files) -> Iterator[None]:
    """Make an output's own folder, which in the end holds no JSON file but those of `files`.

    When the block fails, what was there before stays, and a folder that was made for nothing is
    removed again.

    Raises
    ------
    OutputError
        When the folder cannot be made.
    """
    try:
        folder.mkdir(exist_ok=True)
        yield
        for stale in set(folder.glob("*.json")) - set(files.paths):
            stale.unlink()
    except BaseException as stopped:
        with contextlib.suppress(OSError):
            folder.rmdir()
        if isinstance(stopped, OSError):
            raise OutputError(explain(stopped, folder)) from stopped
        raise
