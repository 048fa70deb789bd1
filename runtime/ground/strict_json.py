"""JSON into frozen dataclasses, checked field by field, and back."""

import json
import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

from nuhtc.runtime.ground.errors import NuhtcError, first_line


def load(path: Path, error: type[NuhtcError]) -> Any:
    """Read a JSON file.

    Parameters
    ----------
    path
        The file.
    error
        What to raise.

    Raises
    ------
    error
        The file is missing, cannot be read, or is no JSON.
    """
    try:
        # Unlike orjson it takes every encoding of Unicode, as editors write them.
        return json.loads(path.read_bytes())
    except FileNotFoundError as missing:
        raise error(f"{path}: no such file") from missing
    except OSError as refused:
        reason = refused.strerror or first_line(refused)
        raise error(f"{path}: cannot be read ({reason})") from refused
    except (ValueError, RecursionError) as damaged:
        raise error(f"{path}: no JSON, or cut short ({first_line(damaged)})") from damaged


def build(kind: Any, value: Any, where: str) -> Any:
    """Return a value of JSON as the type wanted, nested dataclasses included, nothing guessed.

    Parameters
    ----------
    kind
        A dataclass, or str, int, float, bool or None, or a union, tuple or dict of these. A
        dataclass's field may be missing only where its metadata says ``optional``.
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
    if isinstance(kind, UnionType):
        return _build_union(get_args(kind), value, where)
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
    if origin in (dict, Mapping):
        if not isinstance(value, dict):
            raise TypeError(f"{where} must be an object")
        return {k: build(get_args(kind)[1], v, f"{where}.{k}") for k, v in value.items()}
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not kind:
        raise TypeError(f"{where} must be of type {_name(kind)}")
    return value


def finite(value: Any) -> Any:
    """Return a value as JSON can hold it: tuples as lists, numbers that are none as null."""
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


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


def _build_union(kinds: tuple[Any, ...], value: Any, where: str) -> Any:
    for kind in kinds:
        try:
            return build(kind, value, where)
        except (TypeError, ValueError):
            continue
    raise TypeError(f"{where} must be of type {' or '.join(map(_name, kinds))}")


def _name(kind: Any) -> str:
    return "null" if kind is NoneType else str(getattr(kind, "__name__", kind))
