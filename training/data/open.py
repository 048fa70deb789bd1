"""Open a data set in whatever layout it is stored."""

from pathlib import Path

from nuhtc.runtime.ground.errors import DataError
from nuhtc.training.data.coco import CocoSet
from nuhtc.training.data.conic import ConicSet
from nuhtc.training.data.consep import ConsepSet, find_base
from nuhtc.training.data.folder import FolderSet
from nuhtc.training.data.images import AnnotatedSet
from nuhtc.training.data.pannuke import PanNukeSet, find_folds


def open_set(path: Path, images: Path | None = None) -> AnnotatedSet:
    """Open the data set at a path; what is there says which layout it is.

    Parameters
    ----------
    path
        A folder, or a COCO JSON; or ``.../fold1`` of NuHTC's PanNuke, which is no folder.
    images
        Of a COCO JSON: the folder of the pictures, where it is not found by itself.

    Raises
    ------
    DataError
        Nothing is there, or nothing that can be read.
    """
    try:
        return _open(path, images)
    except OSError as error:  # no permission to look, a name too long, a disk that fails
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error


def _open(path: Path, images: Path | None) -> AnnotatedSet:
    json = _coco_file(path)
    if images is not None and json is None:
        raise DataError(
            f"{path}: no COCO file, and only with one can a folder of pictures be given"
        )
    if _is_pannuke(path):
        return PanNukeSet(path)
    if not path.exists():
        raise DataError(f"{path}: no such file or folder; give the path of annotated pictures")
    if _is_conic(path):
        return ConicSet(path)
    if _is_consep(path):
        return ConsepSet(path)
    if _is_folder(path):
        return FolderSet(path)
    if json is not None:
        return CocoSet(json, images)
    raise DataError(f"{path}: {_what_is_missing(path)}")


def _is_pannuke(path: Path) -> bool:
    return bool(find_folds(path))


def _is_conic(path: Path) -> bool:
    return (path / "labels.npy").exists()


def _is_consep(path: Path) -> bool:
    return find_base(path) is not None


def _is_folder(path: Path) -> bool:
    """Tell whether there are label files; a COCO set may have ``images/*.png`` too."""
    return any(
        (base / "labels").is_dir() and any((base / "images").glob("*.png"))
        for base in (path, path / "train")
    )


def _coco_file(path: Path) -> Path | None:
    """Return the COCO JSON at a path: itself, annotations.json or instances.json in it, NuHTC's."""
    if path.suffix.lower() == ".json" and not path.is_dir():
        return path
    for name in ("annotations.json", "instances.json"):
        if (path / name).exists():
            return path / name
    found = sorted(path.glob("coco/*/*_annt_RLE*.json"))
    if len(found) > 1:
        names = ", ".join(str(file) for file in found)
        raise DataError(f"{path}: holds several annotation files; give one of {names}")
    return found[0] if found else None


def _what_is_missing(path: Path) -> str:
    if not path.is_dir():
        return "neither a folder nor a COCO .json"
    if (path / "images.npy").exists():
        return (
            "holds images.npy, but masks.npy (PanNuke) or labels.npy (CoNIC) is missing beside it"
        )
    if any((path / "images").glob("*.png")):
        return (
            "holds images/*.png, but labels/*.npz of the same names (or annotations.json) are "
            "missing beside them"
        )
    return (
        "holds no data set that is known; looked for images/*.png with labels/*.npz, "
        "annotations.json (COCO), images.npy with masks.npy (PanNuke, also in images/fold1 and "
        "masks/fold1) or labels.npy (CoNIC), and Images/*.png with Labels/*.mat (CoNSeP)"
    )
