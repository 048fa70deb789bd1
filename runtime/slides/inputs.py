"""Which files a command line names: single files, and the slides and pictures in folders."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from nuhtc.runtime.ground.errors import SlideError, UsageError

SUFFIXES: Final = frozenset(
    {
        *(".svs", ".ndpi", ".vms", ".vmu", ".scn", ".mrxs", ".svslide", ".bif", ".czi"),
        *(".tif", ".tiff", ".png", ".jpg", ".jpeg", ".bmp", ".webp"),
    }
)
"""What is taken from a folder. A DICOM slide is many `.dcm` files, so one of them must be named."""

_OURS: Final = ".overlay.png"


def expand_inputs(named: Sequence[Path]) -> list[Path]:
    """Return the files to run: each named file, and for a folder those inside, sorted by name.

    Folders inside folders are not entered. Hidden files and this program's own overlays are
    left out. A file named twice is taken once.

    Raises
    ------
    SlideError
        When a folder holds nothing to run, or cannot be listed.
    """
    files: dict[Path, Path] = {}
    for path in named:
        for file in _in_folder(path) if path.is_dir() else [path]:
            files.setdefault(file.resolve(), file)
    return list(files.values())


def check_stems(files: Sequence[Path]) -> None:
    """Check that no two files would write outputs of the same name.

    Raises
    ------
    UsageError
        When two would, on a file system that tells upper from lower case or one that does not.
    """
    seen: dict[str, Path] = {}
    for file in files:
        other = seen.setdefault(file.stem.casefold(), file)
        if other is not file:
            raise UsageError(
                f"{other} and {file} would both write {file.stem}.*: "
                "run them one by one with different --out folders, or rename one"
            )


def _in_folder(folder: Path) -> list[Path]:
    try:
        inside = sorted(folder.iterdir())
    except OSError as refused:
        raise SlideError(f"{folder}: cannot be listed: {refused.strerror}") from refused
    files = [
        path
        for path in inside
        if path.suffix.lower() in SUFFIXES
        and not path.name.startswith(".")
        and not path.name.endswith(_OURS)
        and path.is_file()
    ]
    if not files:
        raise SlideError(
            f"{folder}: holds no slide or picture ({', '.join(sorted(SUFFIXES))}); "
            "name the file itself, or one .dcm file of a DICOM slide"
        )
    return files
