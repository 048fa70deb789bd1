"""Options of every command: numbers with limits, and the cores there are."""

import argparse
import math
import os
from collections.abc import Callable


def whole(least: int, most: int | None = None) -> Callable[[str], int]:
    """Return what reads an option's whole number and checks its limits."""

    def whole_number(text: str) -> int:
        value = int(text)
        if value < least:
            raise argparse.ArgumentTypeError(f"{text} is below {least}")
        if most is not None and value > most:
            raise argparse.ArgumentTypeError(f"{text} is above {most}")
        return value

    return whole_number


def number(least: float, most: float) -> Callable[[str], float]:
    """Return what reads an option's number and checks its limits."""

    def decimal(text: str) -> float:
        value = float(text)
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
