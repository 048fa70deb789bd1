"""Packed bundles: read back as packed; whatever an archive should not hold is refused."""

import io
import json
import stat
import struct
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made.toy_bundle import toy_bundle

from nuhtc.runtime.bundle import archive as bundle_archive
from nuhtc.runtime.bundle.archive import pack_bundle
from nuhtc.runtime.bundle.card import file_digest
from nuhtc.runtime.bundle.load import load_bundle
from nuhtc.runtime.ground.errors import BundleError


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder that bundles are unpacked in; nothing may appear beside it."""
    inside = tmp_path / "outer" / "temporary"
    inside.mkdir(parents=True)
    monkeypatch.setattr(tempfile, "tempdir", str(inside))
    yield inside
    assert [path.name for path in inside.parent.iterdir()] == ["temporary"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return toy_bundle(tmp_path / "bundle").folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def archive_of(folder: Path, members: list[tuple[str | zipfile.ZipInfo, bytes]]) -> Path:
    path = folder.parent / "bundle.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in members:
            packed.writestr(name, content)
    return path


def refusal(archive: Path, temporary: Path) -> str:
    """The message, one line that names the archive; nothing stays unpacked."""
    with pytest.raises(BundleError) as caught:
        load_bundle(archive)
    message = str(caught.value)
    assert message.startswith(str(archive)) and "\n" not in message
    assert list(temporary.iterdir()) == []
    return message


def test_what_was_packed_comes_back(folder: Path, temporary: Path) -> None:
    archive = folder.parent / "packed.zip"
    pack_bundle(folder, archive)
    bundle = load_bundle(archive)
    assert bundle.digest == load_bundle(folder).digest
    assert bundle.archive == archive
    assert contents(bundle.folder) == contents(folder)
    [unpacked] = temporary.iterdir()
    assert bundle.folder == unpacked
    assert stat.S_IMODE(unpacked.stat().st_mode) == 0o700, "private"


def test_packing_twice_gives_the_same_bytes(folder: Path) -> None:
    pack_bundle(folder, folder.parent / "a.zip")
    for path in folder.iterdir():
        path.touch()
    pack_bundle(folder, folder.parent / "b.zip")
    assert (folder.parent / "a.zip").read_bytes() == (folder.parent / "b.zip").read_bytes()


def test_a_precision_that_is_missing_names_the_archive(folder: Path) -> None:
    archive = folder.parent / "packed.zip"
    pack_bundle(folder, archive)
    with pytest.raises(BundleError, match=str(archive)):
        load_bundle(archive).graph("trunk", "int8")


@pytest.mark.parametrize(
    "name",
    ["../evil", "/evil", "sub/evil", "..\\evil", "..", ".", "sub/", "C:\\evil", "../../tmp/evil"],
)
def test_names_that_lead_out(folder: Path, temporary: Path, name: str) -> None:
    archive = archive_of(folder, [*contents(folder).items(), (name, b"evil")])
    assert "leads out" in refusal(archive, temporary)


def test_a_name_cut_by_a_nul(folder: Path, temporary: Path) -> None:
    archive = archive_of(folder, [*contents(folder).items(), ("card.jsonXevil", b"evil")])
    archive.write_bytes(archive.read_bytes().replace(b"card.jsonXevil", b"card.json\0evil"))
    refusal(archive, temporary)


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFDIR])
def test_links_and_devices(folder: Path, temporary: Path, kind: int) -> None:
    members = contents(folder)
    members.pop("trunk.onnx")
    info = zipfile.ZipInfo("trunk.onnx")
    info.external_attr = (kind | 0o777) << 16
    archive = archive_of(folder, [*members.items(), (info, b"/etc/passwd")])
    assert "link or device" in refusal(archive, temporary)


def test_what_the_card_does_not_list(folder: Path, temporary: Path) -> None:
    archive = archive_of(folder, [*contents(folder).items(), ("extra.py", b"import os")])
    message = refusal(archive, temporary)
    assert "extra.py" in message and "does not list" in message


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_twice(folder: Path, temporary: Path) -> None:
    archive = archive_of(folder, [*contents(folder).items(), ("trunk.onnx", b"other")])
    assert "twice" in refusal(archive, temporary)


@pytest.mark.parametrize("name", ["trunk.onnx", "card.json"])
def test_what_is_missing(folder: Path, temporary: Path, name: str) -> None:
    archive = archive_of(folder, [item for item in contents(folder).items() if item[0] != name])
    assert name in refusal(archive, temporary)


def test_a_folder_inside(folder: Path, temporary: Path) -> None:
    members = [(f"bundle/{name}", content) for name, content in contents(folder).items()]
    refusal(archive_of(folder, members), temporary)


def test_a_changed_file(folder: Path, temporary: Path) -> None:
    members = contents(folder)
    members["heads.onnx"] = members["heads.onnx"][:-1] + b"?"
    message = refusal(archive_of(folder, list(members.items())), temporary)
    assert "heads.onnx" in message and "differs" in message


def test_a_file_larger_than_the_card_says(folder: Path, temporary: Path) -> None:
    members = contents(folder)
    members["heads.onnx"] += bytes(1 << 22)
    assert "card.json says" in refusal(archive_of(folder, list(members.items())), temporary)


def test_a_bomb_whose_header_lies(
    folder: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The header says what the card says, the stream holds 64 MB: no more than the card's is
    written."""
    members = contents(folder)
    honest = members["heads.onnx"]
    members["heads.onnx"] = bytes(1 << 26)
    archive = archive_of(folder, list(members.items()))
    raw = archive.read_bytes()
    archive.write_bytes(raw.replace(struct.pack("<I", 1 << 26), struct.pack("<I", len(honest))))
    written: list[int] = []
    remove = bundle_archive.shutil.rmtree

    def weigh(path: Path, ignore_errors: bool) -> None:
        written.append(sum(file.stat().st_size for file in Path(path).iterdir()))
        remove(path, ignore_errors=ignore_errors)

    monkeypatch.setattr(bundle_archive.shutil, "rmtree", weigh)
    refusal(archive, temporary)
    assert len(written) == 1
    assert written[0] <= sum(map(len, members.values())) - (1 << 26) + len(honest)


def test_more_than_the_disk_holds(folder: Path, temporary: Path) -> None:
    members = contents(folder)
    card = json.loads(members["card.json"])
    card["files"]["trunk.onnx"]["size"] = 1 << 60
    members["card.json"] = json.dumps(card).encode()
    refusal(archive_of(folder, list(members.items())), temporary)


def test_a_card_that_never_ends(folder: Path, temporary: Path) -> None:
    members = contents(folder)
    members["card.json"] += b" " * (2 << 20)
    assert "too long" in refusal(archive_of(folder, list(members.items())), temporary)


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None
)
@given(data=st.data())
def test_a_damaged_archive_is_refused_or_the_same(
    folder: Path, temporary: Path, data: st.DataObject
) -> None:
    archive = folder.parent / "damaged.zip"
    pack_bundle(folder, archive)
    raw = bytearray(archive.read_bytes())
    place = data.draw(st.integers(0, len(raw) - 1))
    if data.draw(st.booleans()):
        raw = raw[:place]
    else:
        raw[place] ^= data.draw(st.integers(1, 255))
    archive.write_bytes(raw)
    try:
        bundle = load_bundle(archive)
    except BundleError as error:
        assert str(error).startswith(str(archive)) and "\n" not in str(error)
    else:
        # Times and the like are not the bundle's.
        assert contents(bundle.folder) == contents(folder)


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x05\x06" + bytes(18)])
def test_files_that_are_no_archives(temporary: Path, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "some.zip"
    path.write_bytes(content)
    refusal(path, temporary)


def test_a_locked_archive(folder: Path, temporary: Path) -> None:
    pack_bundle(folder, folder.parent / "locked.zip")
    archive = folder.parent / "locked.zip"
    raw = bytearray(archive.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        place = raw.find(signature)
        while place >= 0:
            raw[place + offset] |= 1
            place = raw.find(signature, place + 4)
    archive.write_bytes(raw)
    assert "zip archive" in refusal(archive, temporary)


def test_a_changed_card_with_fitting_digests_is_another_bundle(folder: Path) -> None:
    archive = folder.parent / "packed.zip"
    pack_bundle(folder, archive)
    before = load_bundle(archive).digest
    with zipfile.ZipFile(io.BytesIO(archive.read_bytes())) as packed:
        members = {name: packed.read(name) for name in packed.namelist()}
    card = json.loads(members["card.json"])
    (folder / "masks.onnx").write_bytes(b"others")
    card["files"]["masks.onnx"] = vars(file_digest(folder / "masks.onnx"))
    members["card.json"], members["masks.onnx"] = json.dumps(card).encode(), b"others"
    assert load_bundle(archive_of(folder, list(members.items()))).digest != before
