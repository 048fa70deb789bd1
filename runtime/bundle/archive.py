"""A bundle as one ``.zip`` file: packed reproducibly, unpacked with distrust.

An archive comes from anywhere. Nothing of it is believed before it is checked: it may hold the
card and the files that the card lists and nothing else, under plain names, with the sizes and
digests that the card says; no more bytes than that are ever written.
"""

import atexit
import hashlib
import shutil
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

from nuhtc.runtime.bundle.card import CARD, CARD_MOST_BYTES, FileDigest, parse_card, plain_name
from nuhtc.runtime.ground.errors import BundleError
from nuhtc.runtime.ground.whole_files import whole_file

EPOCH = (1980, 1, 1, 0, 0, 0)
"""The time of every file in an archive, so that the same bundle gives the same bytes."""

BLOCK = 1 << 20


def is_archive_name(path: Path) -> bool:
    """Tell whether a bundle at a path is one file, by its name, unless a folder is there."""
    return path.suffix.lower() == ".zip" and not path.is_dir()


def is_archive(path: Path) -> bool:
    """Tell whether a path is to be read as a packed bundle."""
    return is_archive_name(path) and path.is_file()


def pack_bundle(folder: Path, archive: Path) -> None:
    """Pack a bundle's folder into one file, which appears whole or not at all.

    Raises
    ------
    OutputError
        The archive cannot be written.
    """
    with (
        whole_file(archive) as partial,
        zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for path in sorted(folder.iterdir()):
            info = zipfile.ZipInfo(path.name, EPOCH)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = (stat.S_IFREG | 0o644) << 16
            packed.writestr(info, path.read_bytes())


def unpack_bundle(archive: Path) -> Path:
    """Unpack a bundle into a private temporary folder, removed when the process ends.

    Parameters
    ----------
    archive
        The ``.zip`` file.

    Raises
    ------
    BundleError
        It is no archive, holds anything but a bundle, or a file differs from the card. Then
        nothing is left behind.
    """
    try:
        folder = Path(tempfile.mkdtemp(prefix="nuhtc-bundle-"))
    except OSError as error:
        raise BundleError(
            f"{archive}: no temporary folder to unpack it in ({error.strerror}); set TMPDIR"
        ) from error
    try:
        with zipfile.ZipFile(archive) as packed:
            _unpack(archive, packed, folder)
    except BaseException as stopped:
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(stopped, BundleError):
            raise
        # zipfile raises RuntimeError for passwords, NotImplementedError for rare compressions.
        damaged = zipfile.BadZipFile, zlib.error, EOFError, ValueError, RuntimeError
        if isinstance(stopped, damaged):
            raise BundleError(
                f"{archive}: no whole zip archive ({stopped}); copy the bundle again"
            ) from stopped
        if isinstance(stopped, OSError):
            raise BundleError(
                f"{archive}: cannot be unpacked ({stopped.strerror or stopped})"
            ) from stopped
        raise
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _unpack(archive: Path, packed: zipfile.ZipFile, folder: Path) -> None:
    members = _members(archive, packed)
    if CARD not in members:
        raise BundleError(
            f"{archive}: has no card.json at its top, so it is no bundle; zip the files of the "
            "bundle, not its folder"
        )
    with packed.open(members[CARD]) as stream:
        text = stream.read(CARD_MOST_BYTES + 1)
    files = parse_card(archive / CARD, text).files
    strange = sorted(set(members) - set(files) - {CARD})
    if strange:
        raise BundleError(f"{archive}: holds {strange[0]!r}, which card.json does not list")
    _check_sizes(archive, members, files, folder)
    (folder / CARD).write_bytes(text)
    for name, expected in files.items():
        _extract(archive, packed, members[name], expected, folder / name)


def _members(archive: Path, packed: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """Return the archive's members by name; refuse a name or kind that a bundle cannot have."""
    members: dict[str, zipfile.ZipInfo] = {}
    for info in packed.infolist():
        # As stored: `filename` has been cut at a NUL and had its separators changed.
        name = info.orig_filename
        if not plain_name(name) or info.is_dir():
            raise BundleError(f"{archive}: holds {name!r}, which leads out of the bundle's folder")
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in {0, stat.S_IFREG}:
            raise BundleError(f"{archive}: {name!r} is a link or device, not a file")
        if name in members:
            raise BundleError(f"{archive}: holds {name!r} twice")
        members[name] = info
    return members


def _check_sizes(
    archive: Path,
    members: Mapping[str, zipfile.ZipInfo],
    files: Mapping[str, FileDigest],
    folder: Path,
) -> None:
    for name, expected in files.items():
        if name not in members:
            raise BundleError(f"{archive}: {name} is missing; copy the whole bundle again")
        if members[name].file_size != expected.size:
            raise BundleError(
                f"{archive}: {name} unpacks to {members[name].file_size} bytes, card.json says "
                f"{expected.size}; copy or export the bundle again"
            )
    needed, free = sum(file.size for file in files.values()), shutil.disk_usage(folder).free
    if needed > free:
        raise BundleError(
            f"{archive}: unpacks to {needed / 1e6:,.0f} MB, and {folder.parent} has "
            f"{free / 1e6:,.0f} MB free; set TMPDIR to a larger disk"
        )


def _extract(
    archive: Path,
    packed: zipfile.ZipFile,
    member: zipfile.ZipInfo,
    expected: FileDigest,
    target: Path,
) -> None:
    """Write one file; what is longer than its header says ends as soon as that shows."""
    digest, size = hashlib.sha256(), 0
    with packed.open(member) as stream, target.open("xb") as file:
        while block := stream.read(BLOCK):
            size += len(block)
            if size > expected.size:
                break
            digest.update(block)
            file.write(block)
    if (digest.hexdigest(), size) != (expected.sha256, expected.size):
        raise BundleError(
            f"{archive}: {target.name} differs from what card.json says; truncated or changed: "
            "copy or export the bundle again"
        )
