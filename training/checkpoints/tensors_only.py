"""Reading files of other programs without running anything in them.

PyTorch's restricted loader builds tensors, numbers, text and containers, and refuses the
whole file over any other object, such as the NumPy scalars that training tools leave in a
checkpoint's meta. Here such objects become :class:`Inert` ones instead.
"""

import pickle
import pickletools
import warnings
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import IO, Any
from zipfile import ZipFile, is_zipfile

import torch

from nuhtc.runtime.ground.errors import CheckpointError, first_line


class Inert:
    """Stands for an object of the file that is not loaded."""

    def __new__(cls, *args: object) -> "Inert":
        """Take whatever the file says that the object is made from, and drop it."""
        return super().__new__(cls)

    def __init__(self, *args: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        """Drop the object's state."""


def load_tensors(path: Path) -> Any:
    """Load what ``torch.save`` wrote, its tensors on the CPU; no code in the file runs.

    Raises
    ------
    CheckpointError
        The file is missing or damaged, or its plain part is built from other objects.
    """
    try:
        # The loader prefers its own classes; under any other name it finds Inert.
        inert: list[Any] = [(Inert, name) for name in sorted(_referred(path))]
        with torch.serialization.safe_globals(inert), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd pickle versions: they load, or raise
            return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: no such file") from error
    except IsADirectoryError as error:
        raise CheckpointError(
            f"{path}: is a folder, no checkpoint; name the file, such as {path / 'model.pt'}"
        ) from error
    except pickle.UnpicklingError as error:
        # PyTorch's own words are left out: they advise to let the file run code.
        raise CheckpointError(
            f"{path}: is damaged, or holds more than tensors and plain values, and was not"
            " loaded. If you trust it, save only its tensors with the program that made it:"
            " torch.save({'state_dict': checkpoint['state_dict']}, ...)"
        ) from error
    except MemoryError:
        raise
    except Exception as error:  # damaged bytes make its readers raise nearly everything
        # The first sentence; PyTorch goes on about its own insides.
        reason = first_line(error).split(". ")[0]
        raise CheckpointError(f"{path}: damaged, or no checkpoint ({reason})") from error


def _referred(path: Path) -> set[str]:
    """Return the names of the classes and functions that a file refers to."""
    if is_zipfile(path):
        with ZipFile(path) as archive:
            entries = [name for name in archive.namelist() if name.endswith("/data.pkl")]
            return set(chain.from_iterable(_globals(archive.open(name)) for name in entries))
    with path.open("rb") as file:
        # The format of before PyTorch 1.6: magic number, version, machine, then the content.
        return set(chain.from_iterable(_globals(file) for _ in range(4)))


def _globals(file: IO[bytes]) -> list[str]:
    """Return the names that one pickle refers to; nothing of it is run."""
    found = []
    # A stream that is no pickle is the loader's to refuse.
    with suppress(ValueError, UnicodeDecodeError, IndexError):
        for operation, argument, _ in pickletools.genops(file):
            if operation.name == "GLOBAL":
                found.append(str(argument).replace(" ", "."))
    return found
