"""Argument checks shared by the kernels' Python side."""

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray


def checked(
    value: object, name: str, dtype: DTypeLike, shape: tuple[int | None, ...]
) -> NDArray[Any]:
    """Return an array as C-contiguous memory after checking its dtype and shape.

    Parameters
    ----------
    value
        What the caller gave; any strides, read-only is fine.
    name
        The argument's name, for the message.
    dtype
        The dtype it must have: nothing is converted silently.
    shape
        The shape it must have; ``None`` stands for any length.

    Raises
    ------
    TypeError
        `value` is not an array or has another dtype.
    ValueError
        The shape differs.
    """
    if not isinstance(value, np.ndarray):
        raise TypeError(f"{name} must be a NumPy array, not {type(value).__name__}")
    if value.dtype != np.dtype(dtype):
        raise TypeError(f"{name} must have dtype {np.dtype(dtype)}, not {value.dtype}")
    if value.ndim != len(shape) or any(
        want is not None and want != have for want, have in zip(shape, value.shape, strict=True)
    ):
        wanted = ", ".join("any" if want is None else str(want) for want in shape)
        raise ValueError(f"{name} must have shape ({wanted}), not {value.shape}")
    return np.ascontiguousarray(value)


def checked_writable(
    value: object, name: str, dtype: DTypeLike, shape: tuple[int | None, ...]
) -> NDArray[Any]:
    """Return an array that a kernel writes into, after the checks of `checked`.

    Raises
    ------
    TypeError, ValueError
        As `checked`; and where it is read-only or not C-contiguous: a copy would be lost.
    """
    array = checked(value, name, dtype, shape)
    if array is not value or not array.flags.writeable:
        raise ValueError(f"{name} must be writable and C-contiguous")
    return array


def checked_offsets(value: object, name: str, total: int) -> NDArray[np.int64]:
    """Return ragged offsets after checking that they rise from 0 to `total`.

    Raises
    ------
    TypeError
        `value` is not an int64 array.
    ValueError
        It is empty, falls somewhere, or does not span exactly 0 to `total`.
    """
    offsets = checked(value, name, np.int64, (None,))
    if not len(offsets) or offsets[0] != 0 or offsets[-1] != total:
        raise ValueError(f"{name} must start at 0 and end at the number of points, {total}")
    if (offsets[1:] < offsets[:-1]).any():
        raise ValueError(f"{name} must not decrease")
    return offsets


def checked_size(value: object, name: str, *, least: int = 1, most: int = 1 << 15) -> int:
    """Return an integer after checking that it lies from `least` to `most`.

    Raises
    ------
    TypeError
        `value` is not an integer.
    ValueError
        It is out of range.
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"{name} must be an integer, not {type(value).__name__}")
    if not least <= value <= most:
        raise ValueError(f"{name} must be between {least} and {most}, not {value}")
    return int(value)
