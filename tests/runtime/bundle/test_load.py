"""Bundles: read back as written, and refused with the reason when anything is off."""

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nuhtc.runtime.bundle.card import (
    VERSION,
    Card,
    DataSource,
    DetectionSettings,
    FileDigest,
    GraphSet,
    NucleusClass,
    ProposalSettings,
    file_digest,
)
from nuhtc.runtime.bundle.load import default_bundle, load_bundle
from nuhtc.runtime.ground.errors import BundleError

FILES = ("trunk.onnx", "heads.onnx", "masks.onnx")

CARD = Card(
    name="made-up",
    preset="lite0",
    classes=(NucleusClass("Epithelial", (255, 0, 0)), NucleusClass("Ünïcode", (0, 1, 255))),
    mpp=0.25,
    input_scale=1.0,
    tile=256,
    multiple=32,
    mean=(127.0, 127.0, 127.0),
    std=(128.0, 128.0, 128.0),
    precisions={"fp32": GraphSet(*FILES, storage="float16")},
    proposals=ProposalSettings(count=250, min_side=5.0, nms=0.7, watershed_opening=1),
    detection=DetectionSettings(
        score=0.35, nms=0.5, nms_per_class=False, count=500, mask_threshold=0.5
    ),
    licence="research use only",
    data=(DataSource("CoNSeP", "research use", "Graham et al."),),
    metrics={"consep": {"pq": 0.5, "images": 5.0}},
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A bundle whose graphs are a few bytes each."""
    path = tmp_path / "bundle"
    path.mkdir()
    for name in FILES:
        (path / name).write_bytes(name.encode() * 20)
    files = {name: file_digest(path / name) for name in FILES}
    (path / "card.json").write_bytes(replace(CARD, files=files).to_json())
    return path


def refusal(folder: Path) -> str:
    """The message of the refusal: one line that names the folder or a file in it."""
    with pytest.raises(BundleError) as caught:
        load_bundle(folder)
    message = str(caught.value)
    assert message.startswith(str(folder)) and "\n" not in message
    return message


def edit(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change the card in place."""
    content = json.loads((folder / "card.json").read_text())
    change(content)
    (folder / "card.json").write_text(json.dumps(content))


def test_what_was_written_comes_back(folder: Path) -> None:
    bundle = load_bundle(folder)
    assert replace(bundle.card, files={}) == CARD
    assert set(bundle.card.files) == set(FILES)
    assert bundle.path("trunk.onnx") == folder / "trunk.onnx"
    assert bundle.digest == (
        "sha256:" + hashlib.sha256((folder / "card.json").read_bytes()).hexdigest()
    )
    assert bundle.card.to_json() == (folder / "card.json").read_bytes()


def test_a_file_digest(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert file_digest(tmp_path / "a") == FileDigest(expected, 3)


def test_the_digest_covers_every_file(folder: Path) -> None:
    before = load_bundle(folder).digest
    (folder / "masks.onnx").write_bytes(b"other masks")
    digest = file_digest(folder / "masks.onnx")
    edit(folder, lambda c: c["files"].update({"masks.onnx": vars(digest)}))
    assert load_bundle(folder).digest != before


def test_folders_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    assert "no such bundle" in refusal(tmp_path / "missing")
    assert "folder" in refusal(tmp_path / "file")
    assert "card.json" in refusal(tmp_path / "empty")


@pytest.mark.parametrize("name", FILES)
def test_a_changed_byte(folder: Path, name: str) -> None:
    content = bytearray((folder / name).read_bytes())
    content[50] ^= 1
    (folder / name).write_bytes(content)
    message = refusal(folder)
    assert name in message and "changed" in message


@pytest.mark.parametrize("keep", [0, 1, 199])
def test_a_truncated_file(folder: Path, keep: int) -> None:
    content = (folder / "heads.onnx").read_bytes()
    (folder / "heads.onnx").write_bytes(content[:keep])
    message = refusal(folder)
    assert "heads.onnx" in message and f"{keep} bytes, {len(content)} expected" in message


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file(folder: Path, name: str) -> None:
    (folder / name).unlink()
    assert f"{name}: missing" in refusal(folder)
    (folder / name).mkdir()
    assert name in refusal(folder)


@pytest.mark.parametrize("name", FILES)
def test_a_card_that_lists_too_little(folder: Path, name: str) -> None:
    edit(folder, lambda c: c["files"].pop(name))
    assert name in refusal(folder)


@pytest.mark.parametrize(
    "name",
    ["../outside", "/etc/hostname", "sub/file", "..", ".", "", "sub\\file", "..\\outside", "a\0b"],
)
def test_names_that_lead_out_of_the_bundle(folder: Path, name: str) -> None:
    (folder.parent / "outside").write_bytes(b"abc")
    (folder / "sub").mkdir()
    (folder / "sub" / "file").write_bytes(b"abc")
    digest = vars(file_digest(folder.parent / "outside"))
    edit(folder, lambda c: c["files"].update({name: digest}))
    assert "outside the bundle" in refusal(folder)


def test_a_card_cut_short(folder: Path) -> None:
    content = (folder / "card.json").read_bytes()
    for keep in (0, 1, len(content) // 2, len(content) - 2):
        (folder / "card.json").write_bytes(content[:keep])
        assert "damaged" in refusal(folder)


@pytest.mark.parametrize("text", ["[]", "null", "3", '"nuhtc-bundle"', "{}", '{"format": "zip"}'])
def test_a_card_of_another_program(folder: Path, text: str) -> None:
    (folder / "card.json").write_text(text)
    assert "nuhtc-export" in refusal(folder)


@pytest.mark.parametrize("version", [VERSION + 1, 0, None, "1"])
def test_another_version(folder: Path, version: Any) -> None:
    # Whatever else a newer card holds: the version is what matters.
    edit(folder, lambda c: c.update({"version": version, "invented": "later"}))
    message = refusal(folder)
    assert "version" in message and "update nuhtc" in message


def test_a_card_without_version(folder: Path) -> None:
    edit(folder, lambda c: c.pop("version"))
    assert "version" in refusal(folder)


def test_a_key_nobody_knows(folder: Path) -> None:
    edit(folder, lambda c: c.update(surprise=1))
    assert "surprise" in refusal(folder)


def test_a_key_nobody_knows_further_down(folder: Path) -> None:
    edit(folder, lambda c: c["detection"].update(surprise=1))
    message = refusal(folder)
    assert "surprise" in message and "detection" in message


@pytest.mark.parametrize("key", [k for k in vars(CARD) if k != "files"])
def test_a_key_that_is_missing(folder: Path, key: str) -> None:
    edit(folder, lambda c: c.pop(key))
    assert key in refusal(folder)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value in nested JSON."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in items:
        yield (*path, key)
        if isinstance(item, dict | list):
            yield from places(item, (*path, key))


FIELDS = [p for p in places(json.loads(CARD.to_json())) if p[0] not in {"format", "version"}]


def put(folder: Path, path: tuple[Any, ...], value: Any) -> None:
    def change(content: Any) -> None:
        for key in path[:-1]:
            content = content[key]
        content[path[-1]] = value

    edit(folder, change)


@pytest.mark.parametrize("path", FIELDS, ids=lambda p: ".".join(map(str, p)))
def test_no_field_may_be_null_or_of_a_strange_type(folder: Path, path: tuple[Any, ...]) -> None:
    original = (folder / "card.json").read_bytes()
    for value in (None, {"strange": "thing"}, [[]]):
        put(folder, path, value)
        refusal(folder)
        (folder / "card.json").write_bytes(original)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100)
@given(path=st.sampled_from(FIELDS), value=JSON)
def test_any_value_in_any_place_is_taken_or_refused(
    folder: Path, path: tuple[Any, ...], value: Any
) -> None:
    original = (folder / "card.json").read_bytes()
    try:
        put(folder, path, value)
        load_bundle(folder)
    except BundleError as error:
        assert str(error).startswith(str(folder))
    finally:
        (folder / "card.json").write_bytes(original)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=60))
def test_any_bytes_in_place_of_a_card(folder: Path, content: bytes) -> None:
    (folder / "card.json").write_bytes(content)
    refusal(folder)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("classes",), []),
        (("classes", 0, "color"), [256, 0, 0]),
        (("classes", 0, "color"), [-1, 0, 0]),
        (("classes", 0, "color"), [1, 2]),
        (("mpp",), 0),
        (("mpp",), -0.25),
        (("input_scale",), 0),
        (("input_scale",), "2"),
        (("multiple",), 0),
        (("tile",), 0),
        (("tile",), 250),
        (("tile",), -256),
        (("tile",), True),
        (("mean",), [127.0, 127.0]),
        (("detection", "score"), 1.5),
        (("detection", "nms"), -0.1),
        (("detection", "count"), 0),
        (("detection", "mask_threshold"), 0),
        (("detection", "nms_per_class"), 1),
        (("proposals", "count"), 0),
        (("proposals", "nms"), 2),
        (("proposals", "watershed_opening"), -1),
    ],
)
def test_values_that_mean_nothing(folder: Path, path: tuple[Any, ...], value: Any) -> None:
    put(folder, path, value)
    refusal(folder)


def test_whole_numbers_do_for_real_ones(folder: Path) -> None:
    put(folder, ("mpp",), 1)
    card = load_bundle(folder).card
    assert card.mpp == 1.0 and isinstance(card.mpp, float)


def test_the_model_in_the_package() -> None:
    path = default_bundle()
    if not (path / "card.json").exists():
        pytest.skip("this checkout holds no trained model")
    bundle = load_bundle(path)
    assert sum(file.stat().st_size for file in path.iterdir()) <= 16_000_000
    assert {file.name for file in path.iterdir()} == {"card.json", *bundle.card.files}
    assert {source.name.split()[0] for source in bundle.card.data} == {"CoNSeP", "MoNuSeg", "TNBC"}
    assert all(source.licence and source.source for source in bundle.card.data)
    assert "research" in bundle.card.licence
    assert bundle.card.metrics["consep"]["pq"] >= 0.42
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", bundle.digest)
