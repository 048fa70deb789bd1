"""Options of every command: numbers with limits, and the cores there are."""

import argparse
import math
import os
from collections.abc import Callable, Sequence
from typing import TypeVar

Value = TypeVar("Value")


def whole(least: int, most: int | None = None) -> Callable[[str], int]:
    """Return what reads an option's whole number and checks its limits."""

    def whole_number(text: str) -> int:
        try:
            value = int(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number") from error
        if value < least:
            raise argparse.ArgumentTypeError(f"{text} is below {least}")
        if most is not None and value > most:
            raise argparse.ArgumentTypeError(f"{text} is above {most}")
        return value

    return whole_number


def number(least: float, most: float) -> Callable[[str], float]:
    """Return what reads an option's number and checks its limits."""

    def decimal(text: str) -> float:
        try:
            value = float(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"{text!r} is no number") from error
        if not (least <= value <= most and math.isfinite(value)):
            limits = f"from {least:g} to {most:g}" if math.isfinite(most) else f"{least:g} or more"
            raise argparse.ArgumentTypeError(f"{text} is not {limits}")
        return value

    return decimal


def available_cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def names_of(known: Sequence[str], every: str | None = None) -> Callable[[str], tuple[str, ...]]:
    """Return what reads an option's names, separated by commas, each of `known` and once.

    `every` is a word that stands for all of them.
    """

    def names(text: str) -> tuple[str, ...]:
        if text == every:
            return tuple(known)
        found = tuple(dict.fromkeys(text.split(",")))
        unknown = [name for name in found if name not in known]
        if unknown:
            raise argparse.ArgumentTypeError(
                f"{', '.join(map(repr, unknown))}: there is {', '.join(known)}"
            )
        return found

    return names


def several(read: Callable[[str], Value]) -> Callable[[str], list[Value]]:
    """Return what reads an option's values, separated by commas."""
    return lambda text: [read(part) for part in text.split(",")]


def checked(read: Callable[[str], Value]) -> Callable[[str], Value]:
    """Return what reads an option as `read` does, whose ValueError says what is wrong."""

    def value(text: str) -> Value:
        try:
            return read(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return value
