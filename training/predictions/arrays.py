"""The arrays in which tools save one picture's nuclei, as a prediction."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nuhtc.runtime.ground.errors import DataError
from nuhtc.training.data.numbering import commonest, flatten, renumber, whole_numbers
from nuhtc.training.predictions.prediction import Prediction

ARRAYS = ("inst_map", "type_map", "inst_type", "inst_uid", "inst_score")
"""Those that are read from a ``.mat`` or ``.npz`` file."""

Arrays = dict[str, NDArray[Any]]


def has_types(arrays: Arrays) -> bool:
    """Tell whether a saved prediction says what its nuclei are."""
    return any(key in arrays for key in ("channels", "type_map", "inst_type"))


def to_prediction(where: str, arrays: Arrays, classes: tuple[str, ...] | None) -> Prediction:
    """Return nuclei numbered from 1, with their types and scores, from whatever arrays there are.

    Parameters
    ----------
    where
        The file, and the picture in it, for messages.
    arrays
        Either ``channels`` (H, W, classes + 1) as PanNuke has them, or ``inst_map`` (H, W)
        with ``inst_type``, one for each nucleus, or ``type_map`` (H, W), 1 for the first
        class and 0 for none.
    classes
        What the types stand for; None leaves them out.

    Raises
    ------
    DataError
        An array is missing, or holds what no nucleus can have.
    """
    if "channels" in arrays:
        return _from_channels(where, arrays["channels"], classes)
    if "inst_map" not in arrays:
        raise DataError(f"{where}: has no array inst_map; save it again")
    raw = whole_numbers(arrays["inst_map"], f"{where}: inst_map")
    if raw.ndim != 2:
        raise DataError(f"{where}: inst_map must be height x width, not of shape {raw.shape}")
    instances, numbers = renumber(raw)
    types: NDArray[np.int64] | None = None
    if classes is not None:
        if "inst_type" in arrays:
            listed = whole_numbers(arrays["inst_type"], f"{where}: inst_type").ravel()
            types = listed[_places(where, arrays, "inst_type", numbers)]
        elif "type_map" in arrays:
            types = _majority(
                where, instances, whole_numbers(arrays["type_map"], f"{where}: type_map")
            )
        elif len(numbers) > 1:
            raise DataError(f"{where}: has no types, though other predictions have; save it again")
        else:
            types = np.zeros(0, np.int64)
        types = np.concatenate([[-1], types - 1])
        _check_classes(where, int(types.max()) + 1, classes)
    scores: NDArray[np.float32] | None = None
    if "inst_score" in arrays:
        listed = arrays["inst_score"].ravel()
        if listed.dtype.kind != "f" or not np.isfinite(listed).all():
            raise DataError(f"{where}: inst_score must hold finite numbers")
        scores = np.zeros(len(numbers), np.float32)
        scores[1:] = listed[_places(where, arrays, "inst_score", numbers)]
    return Prediction(instances, types, scores)


def _places(where: str, arrays: Arrays, name: str, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return where each nucleus stands in a list: by ``inst_uid``, else in the numbers' order."""
    count, length = len(numbers) - 1, arrays[name].size
    uid = arrays.get("inst_uid")
    if uid is not None and uid.dtype.kind in "iuf" and uid.size == length:
        order = np.argsort(uid.ravel(), kind="stable")
        place = np.searchsorted(uid.ravel()[order], numbers[1:])
        if count and (place == length).any():
            raise DataError(f"{where}: inst_uid lacks a nucleus of inst_map; save it again")
        found: NDArray[np.int64] = order[place]
        if not np.array_equal(uid.ravel()[found], numbers[1:]):
            raise DataError(f"{where}: inst_uid lacks a nucleus of inst_map; save it again")
        return found
    if length == count:
        return np.arange(count)
    if length == numbers[-1]:
        return numbers[1:] - 1
    raise DataError(f"{where}: {name} lists {length} nuclei, inst_map holds {count}")


def _majority(
    where: str, instances: NDArray[np.int32], type_map: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return the commonest type of each nucleus's pixels, (nuclei,); 0 where none has any."""
    highest = int(type_map.max(initial=0))
    if highest > 255:
        raise DataError(f"{where}: type_map holds class {highest}; give classes from 1")
    return commonest(instances, type_map, where)[1:]


def _from_channels(
    where: str, channels: NDArray[Any], classes: tuple[str, ...] | None
) -> Prediction:
    """Return PanNuke's channels as one map; where two claim a pixel the later one has it."""
    raw = whole_numbers(channels[..., :-1], where)
    instances, types = flatten(raw)
    if classes is None:
        return Prediction(instances, None)
    types[0] = -1
    _check_classes(where, int(types.max()) + 1, classes)
    return Prediction(instances, types)


def _check_classes(where: str, highest: int, classes: tuple[str, ...]) -> None:
    if highest > len(classes):
        raise DataError(
            f"{where}: holds class {highest}, but there are only {len(classes)} "
            f"({', '.join(classes)})"
        )
