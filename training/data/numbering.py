"""Label maps as people store them, into nuclei numbered from 1 and one class for each."""

from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from nuhtc.runtime.ground.errors import DataError


def whole_numbers(array: NDArray[Any], where: str) -> NDArray[np.int64]:
    """Return the same numbers as int64; some tools store them as floats.

    Parameters
    ----------
    array
        Any shape; integers, or floats without fractions, from 0 and below 2**31.
    where
        The file and the array's name, for the message.

    Raises
    ------
    DataError
        A number is negative, fractional, too large, or no number at all.
    """
    # A NaN fails the first comparison.
    countable = array.dtype.kind in "iuf" and bool(((array >= 0) & (array < 2**31)).all())
    if not countable or (array.dtype.kind == "f" and bool((array != np.floor(array)).any())):
        raise DataError(f"{where} must hold whole numbers from 0")
    return array.astype(np.int64)


def renumber(raw: NDArray[np.int64]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Number the nuclei of a label map from 1 without gaps, in the order of their numbers.

    Parameters
    ----------
    raw
        (H, W), 0 for background.

    Returns
    -------
    instances
        int32 (H, W), 0 for background, nuclei from 1 to n.
    numbers
        int64 (n + 1,), what each was called in ``raw``; entry 0 is 0.
    """
    numbers = np.unique(raw)
    if len(numbers) == 0 or numbers[0] != 0:
        numbers = np.concatenate([[0], numbers])
    # Three times as fast as np.unique's own inverse.
    return np.searchsorted(numbers, raw).astype(np.int32), numbers


def majority_types(
    instances: NDArray[np.int32], type_map: NDArray[np.int64], classes: int, where: str
) -> NDArray[np.int64]:
    """Return the commonest class of each nucleus's pixels.

    Parameters
    ----------
    instances
        (H, W), 0 for background, nuclei from 1 without gaps.
    type_map
        (H, W), 0 for none, 1 for the first class.
    classes
        How many classes there are.
    where
        The file, for the messages.

    Returns
    -------
    int64 (n + 1,), class index from 0 of each nucleus; entry 0 is unused. Where two classes
    are equally common, the earlier one.

    Raises
    ------
    DataError
        The maps differ in size, a class is beyond the last, or a nucleus has none.
    """
    highest = int(type_map.max(initial=0))
    if highest > classes:
        raise DataError(f"{where}: type_map holds class {highest}, but there are only {classes}")
    types = commonest(instances, type_map, where)
    if (types[1:] == 0).any():
        raise DataError(f"{where}: a nucleus has no class in type_map")
    return np.maximum(types - 1, 0)


def commonest(
    instances: NDArray[np.int32], type_map: NDArray[np.int64], where: str
) -> NDArray[np.int64]:
    """Return the commonest number, other than 0, of each nucleus's pixels.

    Parameters
    ----------
    instances, type_map, where
        As for `majority_types`.

    Returns
    -------
    int64 (n + 1,), 0 where a nucleus has no other; entry 0 is unused. Of equally common ones,
    the smaller.

    Raises
    ------
    DataError
        The maps differ in size.
    """
    if type_map.shape != instances.shape:
        raise DataError(f"{where}: type_map and inst_map differ in size")
    count, kinds = int(instances.max(initial=0)) + 1, int(type_map.max(initial=0)) + 1
    pairs = instances.ravel().astype(np.int64) * kinds + type_map.ravel()
    votes = np.bincount(pairs, minlength=count * kinds).reshape(count, kinds)
    votes[:, 0] = 0
    return cast("NDArray[np.int64]", votes.argmax(axis=1))


def size_text(array: NDArray[np.generic]) -> str:
    """Return width x height; whatever there is of an array of another kind."""
    return "x".join(str(side) for side in reversed(array.shape)) or "a single number"


def flatten(channels: NDArray[np.int64]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Make one label map of one for each class; a pixel of two classes is of the later one.

    Parameters
    ----------
    channels
        (H, W, classes), 0 for background, one number for each nucleus; the same number in
        two channels means two nuclei.

    Returns
    -------
    instances
        int32 (H, W), numbered from 1 without gaps, channel by channel. A nucleus that later
        channels cover wholly is gone.
    types
        int64 (n + 1,), the channel of each nucleus; entry 0 is unused.
    """
    raw = np.zeros(channels.shape[:2], np.int64)
    bases = np.zeros(channels.shape[2], np.int64)
    base = 0
    for channel in range(channels.shape[2]):
        numbers = channels[..., channel]
        bases[channel] = base
        raw[numbers > 0] = base + numbers[numbers > 0]
        base += int(numbers.max(initial=0))
    instances, called = renumber(raw)
    types = np.searchsorted(bases, called, side="left") - 1
    types[0] = 0
    return instances, types.astype(np.int64)
