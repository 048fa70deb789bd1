"""JSON into frozen dataclasses, checked field by field."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints


def build(kind: Any, value: Any, where: str) -> Any:
    """A value of JSON as the type wanted, nested dataclasses included, nothing guessed.

    Parameters
    ----------
    kind
        A dataclass, or str, int, float, bool, or tuple or dict of these. A dataclass's field
        may be missing only where its metadata says ``optional``.
    value
        What a JSON reader gave.
    where
        What to call it in messages.

    Raises
    ------
    TypeError, ValueError
        The value does not fit, or keys are unknown or missing.
    """
    origin = get_origin(kind)
    if is_dataclass(kind):
        return _build_dataclass(kind, value, where)
    if origin is tuple:
        if not isinstance(value, list):
            raise TypeError(f"{where} must be a list")
        kinds = get_args(kind)
        if kinds[-1] is not Ellipsis and len(kinds) != len(value):
            raise ValueError(f"{where} must have {len(kinds)} entries")
        each = [kinds[0]] * len(value) if kinds[-1] is Ellipsis else kinds
        return tuple(
            build(k, v, f"{where}[{i}]") for i, (k, v) in enumerate(zip(each, value, strict=True))
        )
    if origin is dict:
        if not isinstance(value, dict):
            raise TypeError(f"{where} must be an object")
        return {k: build(get_args(kind)[1], v, f"{where}.{k}") for k, v in value.items()}
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(kind, UnionType) or type(value) is not kind:
        raise TypeError(f"{where} must be of type {getattr(kind, '__name__', kind)}")
    return value


def _build_dataclass(kind: Any, value: Any, where: str) -> Any:
    if not isinstance(value, Mapping):
        raise TypeError(f"{where} must be an object")
    hints = get_type_hints(kind)
    known = {item.name for item in fields(kind)}
    optional = {item.name for item in fields(kind) if item.metadata.get("optional")}
    unknown = sorted(set(value) - known)
    missing = sorted(known - optional - set(value))
    if unknown or missing:
        raise ValueError(f"{where}: unknown {unknown}, missing {missing}")
    return kind(**{name: build(hints[name], value[name], f"{where}.{name}") for name in value})
