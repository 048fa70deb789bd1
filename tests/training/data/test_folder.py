"""Folders of pictures with label maps: read right, refused by name when something is off."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from places import SHARED

from nuhtc.runtime.bundle.card import DataSource, NucleusClass
from nuhtc.runtime.ground.errors import DataError
from nuhtc.training.data.classes import CONSEP, KNOWN
from nuhtc.training.data.folder import FolderSet, read_image

DATA = SHARED / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="data sets absent: ../shared/data")

SHAPE = (12, 16)


def labels() -> dict[str, Any]:
    instances = np.zeros(SHAPE, np.uint16)
    instances[1:4, 1:4] = 7
    instances[6:9, 6:12] = 40
    types = np.zeros(SHAPE, np.uint8)
    types[1:4, 1:4] = 2
    types[6:9, 6:12] = 4
    types[6, 6:8] = 1
    return {"inst_map": instances, "type_map": types}


def write(folder: Path, stem: str = "a", **arrays: Any) -> tuple[Path, Path]:
    image, label = folder / "images" / f"{stem}.png", folder / "labels" / f"{stem}.npz"
    image.parent.mkdir(parents=True, exist_ok=True)
    label.parent.mkdir(parents=True, exist_ok=True)
    rgb = np.random.default_rng(0).integers(0, 256, (*SHAPE, 3), dtype=np.uint8)
    Image.fromarray(rgb).save(image)
    np.savez_compressed(label, **(arrays or labels()))
    return image, label


def refusal(image: Path, label: Path, names: Path, classes: int = 4) -> str:
    """The message of the refusal, which must name the file."""
    with pytest.raises(DataError) as caught:
        read_image(image, label, classes)
    message = str(caught.value)
    assert message.startswith(f"{names}: ") and "\n" not in message
    return message


def test_a_typed_picture(tmp_path: Path) -> None:
    found = read_image(*write(tmp_path), 4)
    assert found.name == "a"
    assert found.rgb.shape == (*SHAPE, 3) and found.rgb.dtype == np.uint8
    truth = labels()["inst_map"]
    assert np.array_equal(found.instances == 1, truth == 7)
    assert np.array_equal(found.instances == 2, truth == 40)
    assert found.types is not None
    assert found.types[1:].tolist() == [1, 3], "the class of most pixels, from 0"


def test_an_untyped_picture(tmp_path: Path) -> None:
    found = read_image(*write(tmp_path, inst_map=labels()["inst_map"]), 4)
    assert found.types is None
    assert int(found.instances.max()) == 2


def test_a_picture_without_background(tmp_path: Path) -> None:
    found = read_image(*write(tmp_path, inst_map=np.full(SHAPE, 9, np.uint16)), 4)
    assert np.array_equal(found.instances, np.ones(SHAPE, np.int32))


def test_a_picture_without_nuclei(tmp_path: Path) -> None:
    nothing = np.zeros(SHAPE, np.uint16)
    found = read_image(*write(tmp_path, inst_map=nothing, type_map=nothing), 4)
    assert not found.instances.any()


def test_whole_numbers_stored_as_floats(tmp_path: Path) -> None:
    arrays = {name: value.astype(np.float64) for name, value in labels().items()}
    found = read_image(*write(tmp_path, **arrays), 4)
    assert found.types is not None and found.types[1:].tolist() == [1, 3]


def test_a_missing_label(tmp_path: Path) -> None:
    image, label = write(tmp_path)
    label.unlink()
    assert "missing" in refusal(image, label, label)


def test_a_missing_picture(tmp_path: Path) -> None:
    image, label = write(tmp_path)
    image.unlink()
    refusal(image, label, image)


def test_no_inst_map(tmp_path: Path) -> None:
    image, label = write(tmp_path, other=np.zeros(SHAPE))
    assert "inst_map" in refusal(image, label, label)


@pytest.mark.parametrize("shape", [(16, 12), (12, 17), (12,), (12, 16, 1), ()])
def test_sizes_that_differ(tmp_path: Path, shape: tuple[int, ...]) -> None:
    image, label = write(tmp_path, inst_map=np.zeros(shape, np.uint16))
    assert "inst_map" in refusal(image, label, label)


def test_a_type_map_of_another_size(tmp_path: Path) -> None:
    arrays = labels() | {"type_map": np.zeros((16, 12), np.uint8)}
    image, label = write(tmp_path, **arrays)
    assert "type_map" in refusal(image, label, label)


def test_a_class_beyond_the_last(tmp_path: Path) -> None:
    image, label = write(tmp_path)
    assert "class 4" in refusal(image, label, label, classes=3)


def test_a_nucleus_without_a_class(tmp_path: Path) -> None:
    types = labels()["type_map"]
    types[1:4, 1:4] = 0
    image, label = write(tmp_path, **(labels() | {"type_map": types}))
    assert "no class" in refusal(image, label, label)


@pytest.mark.parametrize("name", ["inst_map", "type_map"])
@pytest.mark.parametrize("value", [-1, 0.5, np.nan, np.inf, "text"])
def test_numbers_that_count_nothing(tmp_path: Path, name: str, value: Any) -> None:
    arrays = labels()
    wrong = arrays[name].astype(np.array(value).dtype if value == "text" else np.float64)
    wrong[0, 0] = value
    image, label = write(tmp_path, **(arrays | {name: wrong}))
    assert name in refusal(image, label, label)


def test_pickled_arrays_are_not_loaded(tmp_path: Path) -> None:
    image, label = write(tmp_path, inst_map=np.array([{"a": 1}], dtype=object))
    refusal(image, label, label)


def test_other_files_in_place_of_labels(tmp_path: Path) -> None:
    image, label = write(tmp_path)
    plain = io.BytesIO()
    np.save(plain, labels()["inst_map"])
    for content in (b"", b"nonsense", b"PK\x03\x04", plain.getvalue()):
        label.write_bytes(content)
        refusal(image, label, label)


def test_text_in_place_of_a_picture(tmp_path: Path) -> None:
    image, label = write(tmp_path)
    image.write_text("no picture")
    refusal(image, label, image)


def damaged(content: bytes, cut: float, at: float, change: int) -> bytes:
    """The content, cut short or with one byte changed."""
    if change == 0:
        return content[: int(cut * len(content))]
    place = int(at * (len(content) - 1))
    return content[:place] + bytes([content[place] ^ change]) + content[place + 1 :]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(
    which=st.sampled_from(["images/a.png", "labels/a.npz"]),
    cut=st.floats(0, 1, exclude_max=True),
    at=st.floats(0, 1),
    change=st.integers(0, 255),
)
def test_damage_is_refused_or_harmless(
    tmp_path: Path, which: str, cut: float, at: float, change: int
) -> None:
    image, label = write(tmp_path)
    path = tmp_path / which
    path.write_bytes(damaged(path.read_bytes(), cut, at, change))
    try:
        found = read_image(image, label, 4)
    except DataError as error:
        assert str(error).startswith(str(tmp_path))
    else:
        assert found.instances.shape == found.rgb.shape[:2]


def test_pictures_of_a_folder_in_order(tmp_path: Path) -> None:
    for stem in ("b_2", "b_10", "a"):
        write(tmp_path / "mine" / "train", stem)
    for given_root in (tmp_path / "mine", tmp_path / "mine" / "train"):
        found = FolderSet(given_root)
        assert list(found.names()) == ["a", "b_10", "b_2"] and len(found) == 3
        assert [found[i].name for i in range(3)] == ["a", "b_10", "b_2"]
        assert found.name == "mine"


def test_labels_without_a_picture(tmp_path: Path) -> None:
    write(tmp_path, "a")
    lost, _ = write(tmp_path, "b")
    lost.unlink()
    with pytest.raises(DataError, match=r"b\.png: missing, but .*b\.npz is there"):
        FolderSet(tmp_path)


def test_hidden_files_are_not_pictures(tmp_path: Path) -> None:
    write(tmp_path, "a")
    for name in ("images/._a.png", "labels/._a.npz"):
        (tmp_path / name).touch()
    assert FolderSet(tmp_path).names() == ["a"]


def test_folders_without_pictures(tmp_path: Path) -> None:
    (tmp_path / "empty" / "images").mkdir(parents=True)
    for root in (tmp_path / "missing", tmp_path, tmp_path / "empty"):
        with pytest.raises(DataError, match=str(root)):
            FolderSet(root)


def test_without_a_description(tmp_path: Path) -> None:
    write(tmp_path / "consep")
    found = FolderSet(tmp_path / "consep")
    assert (found.mpp, found.classes, found.info) == (0.25, CONSEP, KNOWN["consep"])
    assert found[0].tissue is None
    write(tmp_path / "plain", inst_map=labels()["inst_map"])
    assert FolderSet(tmp_path / "plain").classes is None


def describe(folder: Path, content: Any) -> FolderSet:
    """A set of one typed picture, with a dataset.json."""
    write(folder)
    text = content if isinstance(content, str) else json.dumps(content)
    (folder / "dataset.json").write_text(text, "utf-8")
    return FolderSet(folder)


def test_a_description(tmp_path: Path) -> None:
    names = ["one", "two", "drei", "четыре"]
    found = describe(
        tmp_path,
        {
            "name": "ours-1",
            "mpp": 0.5,
            "title": "Ours",
            "licence": "CC0",
            "source": "us",
            "classes": [{"name": name, "color": [i, 2, 3]} for i, name in enumerate(names)],
            "tissues": {"a": "Colon", "elsewhere": "Skin"},
        },
    )
    assert (found.name, found.mpp, found[0].mpp) == ("ours-1", 0.5, 0.5)
    assert found.info == DataSource("Ours", "CC0", "us")
    assert found.classes == tuple(NucleusClass(name, (i, 2, 3)) for i, name in enumerate(names))
    assert found[0].tissue == "Colon"


def test_what_a_description_leaves_out_is_as_without(tmp_path: Path) -> None:
    found = describe(tmp_path / "consep", {"mpp": 1})
    assert (found.name, found.mpp, found.classes) == ("consep", 1.0, CONSEP)
    assert found.info == KNOWN["consep"]


def test_classes_fewer_than_the_label_map_has(tmp_path: Path) -> None:
    for folder, classes in (("a", [{"name": "x", "color": [0, 0, 0]}]), ("b", None)):
        found = describe(tmp_path / folder, {"classes": classes})
        with pytest.raises(DataError, match=r"a\.npz: type_map holds class 4"):
            found[0]


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ("{", "JSON"),
        ("[]", "object"),
        ({"name": 3}, "name"),
        ({"licence": ""}, "licence"),
        ({"mpp": 0}, "mpp"),
        ({"mpp": "0.25"}, "mpp"),
        ({"mpp": True}, "mpp"),
        ('{"mpp": NaN}', "mpp"),
        ({"classes": []}, "classes"),
        ({"classes": ["Epithelial"]}, "classes"),
        ({"classes": [{"name": "x", "color": [0, 0]}]}, "classes"),
        ({"classes": [{"name": "x", "color": [0, 0, 256]}]}, "classes"),
        ({"classes": [{"name": "x", "color": [0, 0, 0]}] * 2}, "same name"),
        ({"tissues": ["Colon"]}, "tissues"),
        ({"tissues": {"a": 1}}, "tissues"),
    ],
)
def test_a_description_that_makes_no_sense(tmp_path: Path, content: Any, word: str) -> None:
    with pytest.raises(DataError, match=word) as caught:
        describe(tmp_path, content)
    assert str(caught.value).startswith(f"{tmp_path / 'dataset.json'}: ")


@needs_data
@pytest.mark.parametrize(("name", "count"), [("consep", 27), ("monuseg", 30), ("tnbc", 50)])
def test_the_real_data(name: str, count: int) -> None:
    found = FolderSet(DATA / name)
    assert found.name == name and found.info == KNOWN[name]
    assert len(found) == len(set(found.names())) == count
    assert (found.classes is None) == (name != "consep")


@needs_data
def test_a_real_picture() -> None:
    dataset = FolderSet(DATA / "consep")
    found = dataset[list(dataset.names()).index("train_1")]
    assert found.rgb.shape == (1000, 1000, 3)
    assert found.types is not None and len(found.types) == len(found) + 1
    assert set(found.types[1:].tolist()) <= {0, 1, 2, 3}
    with np.load(DATA / "consep" / "train" / "labels" / "train_1.npz") as archive:
        raw = archive["inst_map"]
    assert len(np.unique(raw)) == len(np.unique(found.instances))
    assert np.array_equal(raw > 0, found.instances > 0)
