"""Predictions that any tool has saved: CoNSeP ``.mat``, PanNuke ``.npy``, ``.npz`` label maps.

Types are numbers from 1 in the data set's order of classes, unless a ``predictions.json``
beside them, as ``nuhtc-eval --save`` writes it, names the classes.
"""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.io import loadmat

from nuhtc.runtime.ground.errors import DataError, first_line
from nuhtc.runtime.ground.strict_json import load
from nuhtc.training.data.images import AnnotatedSet
from nuhtc.training.data.reading import open_npy
from nuhtc.training.predictions.arrays import ARRAYS, Arrays, has_types, to_prediction
from nuhtc.training.predictions.prediction import Prediction

ABOUT = "predictions.json"
FORMAT = "nuhtc-predictions"


@dataclass(frozen=True)
class Saved:
    """Saved predictions of one data set."""

    classes: tuple[str, ...] | None
    """what the types index; None where the predictions have none that are known"""
    read: Callable[[int], Prediction]
    """gives the prediction for a picture of the data set, by its number"""


def open_saved(path: Path, dataset: AnnotatedSet, indices: Sequence[int]) -> Saved:
    """Open saved predictions and find one for every picture.

    Parameters
    ----------
    path
        A folder of ``.mat`` or ``.npz`` files named like the pictures (or with a folder
        ``labels`` or one ``.npy``), a PanNuke ``.npy`` of (N, H, W, classes + 1), or an
        ``.npz`` with ``inst_map`` (N, H, W); arrays are in the order of the whole data set
        or of the evaluated pictures.
    dataset
        What the pictures belong to.
    indices
        The pictures that are evaluated.

    Raises
    ------
    DataError
        Nothing is there, a picture has no prediction, or the files cannot be read. Reading
        one can raise it too.
    """
    if not path.exists():
        raise DataError(f"{path}: no such file or folder; --predictions takes saved predictions")
    names, classes = _about((path if path.is_dir() else path.parent) / ABOUT)
    if classes is None and dataset.classes is not None:
        classes = tuple(one.name for one in dataset.classes)
    arrays = _folder(path, dataset, indices) if path.is_dir() else None
    if arrays is None:
        arrays = _stack(_array_file(path), dataset, indices, names)
    if not indices:
        return Saved(classes, lambda index: to_prediction(*arrays(index), classes))
    if classes is None or not has_types(arrays(indices[0])[1]):
        return Saved(None, lambda index: to_prediction(*arrays(index), None))
    return Saved(classes, lambda index: to_prediction(*arrays(index), classes))


def _about(path: Path) -> tuple[list[str] | None, tuple[str, ...] | None]:
    """Return the names of pictures and classes, if a file beside the predictions gives them."""
    if not path.exists():
        return None, None
    content = load(path, DataError)
    lists = [content.get(key) for key in ("names", "classes")] if isinstance(content, dict) else []
    if not lists or content.get("format") != FORMAT:
        return None, None
    for part in lists:
        if part is not None and not (isinstance(part, list) and all(type(x) is str for x in part)):
            raise DataError(f"{path}: names and classes must be lists of texts; save again")
    names, classes = lists
    return names, None if classes is None else tuple(classes)


def _array_file(path: Path) -> Path:
    """Return the one array file that a folder holds, or the file itself."""
    if not path.is_dir():
        return path
    found = sorted(path.glob("*.npy"))
    if len(found) == 1:
        return found[0]
    raise DataError(
        f"{path}: holds no .mat, .npz or single .npy file of predictions; "
        "give the folder that does, or the .npy itself"
    )


def _folder(
    path: Path, dataset: AnnotatedSet, indices: Sequence[int]
) -> Callable[[int], tuple[str, Arrays]] | None:
    """Return a file for each picture; None if the folder holds no such files."""
    names = dataset.names()
    for folder, suffix in ((path, ".mat"), (path, ".npz"), (path / "labels", ".npz")):
        if not any(folder.glob(f"*{suffix}")):
            continue
        missing = [names[i] for i in indices if not (folder / (names[i] + suffix)).is_file()]
        if missing:
            raise DataError(
                f"{folder}: no prediction for {len(missing)} of {len(indices)} pictures: "
                f"{', '.join(missing[:4])}{' ...' if len(missing) > 4 else ''}; "
                f"each is to be named like its picture, NAME{suffix}"
            )
        return lambda index: _read_file(folder / (names[index] + suffix))
    return None


def _read_file(path: Path) -> tuple[str, Arrays]:
    """Return the arrays of one picture's file."""
    try:
        # From memory: over a damaged file the readers would leave the file open.
        source = io.BytesIO(path.read_bytes())
        if path.suffix == ".mat":
            arrays = loadmat(source, variable_names=ARRAYS)
        else:
            with np.load(source, allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in ARRAYS if name in archive}
    except Exception as error:  # SciPy, NumPy and zipfile raise many kinds over damaged bytes
        raise DataError(
            f"{path}: damaged or truncated ({first_line(error)}); save it again"
        ) from error
    return str(path), arrays


def _stack(
    path: Path, dataset: AnnotatedSet, indices: Sequence[int], names: list[str] | None
) -> Callable[[int], tuple[str, Arrays]]:
    """Return all pictures in one array."""
    if path.suffix == ".npz":
        _, arrays = _read_file(path)
        if arrays.get("inst_map", np.zeros(0)).ndim == 2:
            arrays = {key: value[None] for key, value in arrays.items()}
        arrays = {key: arrays[key] for key in ("inst_map", "type_map") if key in arrays}
        if "inst_map" not in arrays:
            raise DataError(f"{path}: has no array inst_map")
        count = len(arrays["inst_map"])
        if any(len(value) != count for value in arrays.values()):
            raise DataError(f"{path}: inst_map and type_map hold different numbers of pictures")
        row = _rows(path, count, dataset, indices, names)
        return lambda index: (
            f"{path}, {dataset.names()[index]}",
            {key: value[row[index]] for key, value in arrays.items()},
        )
    if path.suffix != ".npy":
        raise DataError(f"{path}: predictions are .npy, .npz, or a folder of .mat or .npz files")
    stack = open_npy(path, "(N, 256, 256, 6)")
    if stack.ndim != 4 or stack.shape[3] < 2 or stack.dtype.kind not in "iuf":
        raise DataError(
            f"{path}: holds {stack.dtype} of shape {stack.shape}; PanNuke's layout is "
            "(pictures, height, width, classes + 1)"
        )
    row = _rows(path, len(stack), dataset, indices, names)
    return lambda index: (
        f"{path}, {dataset.names()[index]}",
        {"channels": np.asarray(stack[row[index]])},
    )


def _rows(
    path: Path,
    count: int,
    dataset: AnnotatedSet,
    indices: Sequence[int],
    names: list[str] | None,
) -> dict[int, int]:
    """Return where in a stack each picture's prediction is."""
    if names is not None and len(names) == count:
        place = {name: row for row, name in enumerate(names)}
        missing = [name for i in indices if (name := dataset.names()[i]) not in place]
        if missing:
            raise DataError(f"{path}: no prediction for {', '.join(missing[:4])}")
        return {i: place[dataset.names()[i]] for i in indices}
    if count == len(dataset):
        return {i: i for i in indices}
    if count == len(indices):
        return {i: row for row, i in enumerate(indices)}
    raise DataError(
        f"{path}: holds {count} pictures, but {dataset.name} has {len(dataset)}, of which "
        f"{len(indices)} are evaluated; one prediction for each is needed, in their order"
    )
