"""Whether weights are exactly what a network needs."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from nuhtc.runtime.ground.errors import CheckpointError

LISTED = 20
"""At most this many names of a kind stand in a message."""


def check_fit(
    path: Path,
    weights: Mapping[str, Tensor],
    shapes: Mapping[str, tuple[int, ...]],
    naming: Callable[[str], str] = str,
) -> None:
    """Refuse weights that are not exactly what a network needs.

    Parameters
    ----------
    path
        Where the weights are from, for the message.
    weights
        Under our names.
    shapes
        What the network needs.
    naming
        Gives the name that the file has for one of ours.

    Raises
    ------
    CheckpointError
        A tensor is missing, unknown, of another shape or not finite; the message lists them.
    """
    refuse_listed(
        path,
        {
            "missing": (naming(name) for name in shapes if name not in weights),
            "unknown": (naming(name) for name in weights if name not in shapes),
            "wrong shape": (
                f"{naming(name)} {tuple(weights[name].shape)} instead of {tuple(shape)}"
                for name, shape in shapes.items()
                if name in weights and weights[name].shape != shape
            ),
            "not finite": (
                naming(name)
                for name, tensor in weights.items()
                if not bool(torch.isfinite(tensor).all())
            ),
        },
    )


def refuse_listed(path: Path, problems: Mapping[str, Iterable[str]]) -> None:
    """Raise CheckpointError if there is a problem of any kind, with the names of each.

    Parameters
    ----------
    path
        What the message is about.
    problems
        Names by kind of problem, in any order.
    """
    found = []
    for kind, items in problems.items():
        names = sorted(items)
        if names:
            more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
            found.append(f"{len(names)} {kind}: {', '.join(names[:LISTED])}{more}")
    if found:
        raise CheckpointError(f"{path}: does not fit the network; {'; '.join(found)}")
