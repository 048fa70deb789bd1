"""A bundle: what export writes and the runtime reads.

A bundle is a folder, or that folder packed into one ``.zip`` file. It holds ``card.json`` and
three ONNX graphs, ``trunk``, ``heads`` and ``masks``, in one precision or several (fp32, fp16,
int8), which may share files. It is data: nothing in it is unpickled or executed as code. Every
file's SHA-256 is in the card and is checked before the file is used.
"""

import hashlib
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path

from nuhtc.runtime.bundle.archive import is_archive, is_archive_name, unpack_bundle
from nuhtc.runtime.bundle.card import CARD, Card, FileDigest, file_digest, parse_card, plain_name
from nuhtc.runtime.ground.errors import BundleError

DEFAULT_MODEL = "lite0"


@dataclass(frozen=True, repr=False)
class Bundle:
    """A bundle whose card has been read and whose files have been checked."""

    folder: Path
    card: Card
    digest: str
    """``sha256:`` of ``card.json``, which holds the digests of all other files"""
    archive: Path | None = None
    """the ``.zip`` that ``folder`` was unpacked from, if it was"""

    def __repr__(self) -> str:
        classes = ", ".join(cls.name for cls in self.card.classes)
        return f"<bundle {self.archive or self.folder}: {self.card.name}, {classes}>"

    def path(self, name: str) -> Path:
        """Return where a file of the bundle is."""
        return self.folder / name

    def graph(self, name: str, precision: str = "fp32") -> Path:
        """Return where one of GRAPHS lies in a precision that the card lists.

        Raises
        ------
        BundleError
            The bundle has no graphs of this precision.
        """
        graphs = self.card.precisions.get(precision)
        if graphs is None:
            raise BundleError(
                f"{self.archive or self.folder}: has no {precision} graphs, only "
                f"{', '.join(self.card.precisions)}; export the model with --{precision}, or "
                f"choose another --precision"
            )
        return self.folder / str(getattr(graphs, name))


def default_bundle() -> Path:
    """Return the folder of the model that comes with the package."""
    return Path(str(resources.files("nuhtc.runtime"))) / "models" / DEFAULT_MODEL


def is_bundle(path: Path) -> bool:
    """Tell whether a path is meant as a bundle, good or damaged: a folder, or a ``.zip``."""
    return path.is_dir() or is_archive_name(path)


def load_bundle(folder: Path) -> Bundle:
    """Read a bundle and check every file in it.

    Parameters
    ----------
    folder
        The bundle's folder, or a ``.zip`` of it, which is unpacked into a temporary folder that
        goes when the process ends.

    Raises
    ------
    BundleError
        The folder is missing or no bundle, its card is damaged or of a newer version, or a
        file is missing or differs from the card.
    """
    if is_archive(folder):
        return replace(load_bundle(unpack_bundle(folder)), archive=folder)
    text = _read_card(folder)
    card = parse_card(folder / CARD, text)
    for graphs in card.precisions.values():
        for name in (graphs.trunk, graphs.heads, graphs.masks):
            if name not in card.files:
                raise BundleError(f"{folder / CARD}: lists no {name}; export the model again")
    for name, expected in card.files.items():
        _check_file(folder, name, expected)
    return Bundle(folder, card, f"sha256:{hashlib.sha256(text).hexdigest()}")


def _read_card(folder: Path) -> bytes:
    if not folder.exists():
        raise BundleError(f"{folder}: no such bundle; --bundle takes a folder from nuhtc-export")
    if not folder.is_dir():
        raise BundleError(f"{folder}: a bundle is a folder with card.json, and this is a file")
    try:
        return (folder / CARD).read_bytes()
    except FileNotFoundError as error:
        raise BundleError(
            f"{folder}: holds no card.json, so it is no bundle; nuhtc-export makes one"
        ) from error
    except OSError as error:
        raise BundleError(f"{folder / CARD}: cannot be read ({error.strerror})") from error


def _check_file(folder: Path, name: str, expected: FileDigest) -> None:
    if not plain_name(name):
        raise BundleError(f"{folder / CARD}: names a file outside the bundle: {name!r}")
    path = folder / name
    try:
        found = file_digest(path)
    except FileNotFoundError as error:
        raise BundleError(f"{path}: missing; copy the whole bundle again") from error
    except OSError as error:
        raise BundleError(f"{path}: cannot be read ({error.strerror})") from error
    if found != expected:
        raise BundleError(
            f"{path}: differs from what card.json says ({found.size} bytes, {expected.size} "
            "expected); truncated or changed: copy or export the bundle again"
        )
