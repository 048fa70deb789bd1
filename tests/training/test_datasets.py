"""Annotated pictures: read right, split for good, and refused by name when something is off."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from nuhtc.training.datasets import ImageFile, find_images, is_validation, load, read_image
from nuhtc.training.errors import DataError

DATA = Path(__file__).parents[2].parent / "shared" / "data"
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
        files = find_images(given_root)
        assert [file.stem for file in files] == ["a", "b_10", "b_2"]
        assert {file.dataset for file in files} == {"mine"}
        assert len(load(files, 4)) == 3


def test_folders_without_pictures(tmp_path: Path) -> None:
    (tmp_path / "empty" / "images").mkdir(parents=True)
    for root in (tmp_path / "missing", tmp_path, tmp_path / "empty"):
        with pytest.raises(DataError, match=str(root)):
            find_images(root)


def named(dataset: str, stem: str) -> ImageFile:
    return ImageFile(Path(f"{stem}.png"), Path(f"{stem}.npz"), dataset)


def test_no_tnbc_patient_is_on_both_sides() -> None:
    for patient in range(1, 12):
        sides = {is_validation(named("tnbc", f"{patient:02d}_{i}")) for i in range(1, 9)}
        assert len(sides) == 1


def test_consep_by_number() -> None:
    held = [i for i in range(1, 28) if is_validation(named("consep", f"train_{i}"))]
    assert held == [3, 8, 13, 18, 23]


@given(st.sampled_from(["consep", "tnbc", "monuseg", "mine"]), st.text(max_size=12))
def test_any_name_falls_on_one_side(dataset: str, stem: str) -> None:
    side = is_validation(named(dataset, stem))
    assert isinstance(side, bool) and side == is_validation(named(dataset, stem))


def test_some_of_any_data_set_is_held_out() -> None:
    sides = [is_validation(named("mine", f"picture_{i:03d}")) for i in range(200)]
    assert 0.05 < sum(sides) / len(sides) < 0.4


@needs_data
@pytest.mark.parametrize(
    ("name", "train", "held"), [("consep", 22, 5), ("monuseg", 25, 5), ("tnbc", 41, 9)]
)
def test_the_split_of_the_real_data(name: str, train: int, held: int) -> None:
    files = find_images(DATA / name)
    sides = [is_validation(file) for file in files]
    assert (sides.count(False), sides.count(True)) == (train, held)
    assert {file.dataset for file in files} == {name}
    assert len({file.stem for file in files}) == len(files)
    assert all(file.label.exists() for file in files)
    if name == "tnbc":
        patients = [{f.stem[:2] for f, v in zip(files, sides, strict=True) if v == side}
                    for side in (True, False)]  # fmt: skip
        assert not patients[0] & patients[1]


@needs_data
def test_a_real_picture() -> None:
    file = next(f for f in find_images(DATA / "consep") if f.stem == "train_1")
    found = load([file], 4)[0]
    assert found.rgb.shape == (1000, 1000, 3)
    assert found.types is not None and len(found.types) == found.instances.max() + 1
    assert set(found.types[1:].tolist()) <= {0, 1, 2, 3}
    with np.load(file.label) as archive:
        raw = archive["inst_map"]
    assert len(np.unique(raw)) == len(np.unique(found.instances))
    assert np.array_equal(raw > 0, found.instances > 0)
