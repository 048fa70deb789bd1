"""CoNSeP's MATLAB labels: seven types into four, as a map and as a list."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made.made_sets import made_truths, same_nuclei, same_set, write_consep
from PIL import Image
from places import SHARED
from scipy import io

from nuhtc.runtime.ground.errors import DataError
from nuhtc.training.data.classes import CONSEP, KNOWN
from nuhtc.training.data.consep import ConsepSet
from nuhtc.training.data.open import open_set

TRUTHS = made_truths(4)
DATA = SHARED / "data" / "consep"


@pytest.mark.parametrize("as_list", [False, True])
def test_as_downloaded(tmp_path: Path, as_list: bool) -> None:
    train = write_consep(tmp_path / "CoNSeP" / "Train", TRUTHS, as_list=as_list)
    for path in (train, train.parent):
        found = ConsepSet(path)
        assert (found.name, found.mpp, found.classes) == ("consep", 0.25, CONSEP)
        assert found.info == KNOWN["consep"]
        assert found.names() == ["train_1", "train_2", "train_3"]
        same_set(found, TRUTHS)


def test_train_and_test_are_two_sets(tmp_path: Path) -> None:
    write_consep(tmp_path / "Train", TRUTHS)
    test = write_consep(tmp_path / "Test", TRUTHS[:1])
    assert len(ConsepSet(tmp_path)) == 3
    found = ConsepSet(test)
    assert (len(found), found.name, found.info) == (1, "consep-test", KNOWN["consep"])


def test_small_letters(tmp_path: Path) -> None:
    train = write_consep(tmp_path / "train", TRUTHS)
    for name in ("Images", "Labels"):
        (train / name).rename(train / name.lower())
    same_set(ConsepSet(tmp_path), TRUTHS)


def one_picture(folder: Path, **content: Any) -> ConsepSet:
    """A set of one picture of 4x2 pixels."""
    for name in ("Images", "Labels"):
        (folder / name).mkdir(parents=True)
    Image.fromarray(np.zeros((2, 4, 3), np.uint8)).save(folder / "Images" / "a.png")
    io.savemat(folder / "Labels" / "a.mat", content)
    return ConsepSet(folder)


INSTANCES = np.array([[1, 2, 3, 4], [5, 6, 7, 0]])


def test_seven_types_become_four(tmp_path: Path) -> None:
    wanted = [0, 0, 1, 2, 2, 3, 3, 3]
    found = one_picture(tmp_path / "map", inst_map=INSTANCES, type_map=INSTANCES)[0]
    assert found.types is not None and found.types.tolist() == wanted
    as_list = np.arange(1, 8).reshape(7, 1)
    found = one_picture(tmp_path / "list", inst_map=INSTANCES, inst_type=as_list)[0]
    assert found.types is not None and found.types.tolist() == wanted


def test_numbers_without_pixels_keep_their_place_in_the_list(tmp_path: Path) -> None:
    instances = np.array([[2, 2, 0, 0], [0, 0, 5, 0]])
    found = one_picture(tmp_path / "a", inst_map=instances, inst_type=[[1], [2], [1], [1], [5]])
    types = found[0].types
    assert types is not None and types.tolist() == [0, 1, 3]


def test_other_sets_of_mat_files_have_no_classes(tmp_path: Path) -> None:
    found = one_picture(tmp_path / "Kumar" / "Train", inst_map=INSTANCES)
    assert (found.name, found.classes, found[0].types) == ("kumar", None, None)
    assert len(found[0]) == 7


def test_a_picture_without_nuclei(tmp_path: Path) -> None:
    nothing = np.zeros((2, 4))
    found = one_picture(tmp_path / "a", inst_map=nothing, inst_type=np.zeros((0, 1)))[0]
    assert found.types is not None and found.types.tolist() == [0] and len(found) == 0


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ({"type_map": INSTANCES}, "no array inst_map"),
        ({"inst_map": INSTANCES.T, "type_map": INSTANCES}, "inst_map is 2x4, but a.png is 4x2"),
        ({"inst_map": INSTANCES, "type_map": INSTANCES.T}, "differ in size"),
        ({"inst_map": INSTANCES, "type_map": INSTANCES + 1}, "type 8"),
        ({"inst_map": INSTANCES, "type_map": INSTANCES * (INSTANCES > 1)}, "no class"),
        ({"inst_map": INSTANCES, "inst_type": [[1], [2]]}, "2 types"),
        ({"inst_map": INSTANCES, "inst_type": np.arange(7)}, "no class"),
        ({"inst_map": INSTANCES, "inst_type": np.arange(2, 9)}, "type 8"),
        ({"inst_map": INSTANCES - 1.0}, "whole numbers"),
        ({"inst_map": INSTANCES / 2}, "whole numbers"),
        ({"inst_map": INSTANCES * np.nan}, "whole numbers"),
        ({"inst_map": {"a": 1}}, "whole numbers"),
        ({"inst_map": "text"}, "whole numbers"),
    ],
)
def test_labels_that_cannot_be(tmp_path: Path, content: dict[str, Any], word: str) -> None:
    with pytest.raises(DataError) as caught:
        one_picture(tmp_path, **content)[0]
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / 'Labels' / 'a.mat'}: ") and word in message


@pytest.mark.parametrize(
    "content", [b"", b"text", b"MATLAB 5.0 MAT-file" + bytes(40)], ids=["none", "text", "header"]
)
def test_damaged_files(tmp_path: Path, content: bytes) -> None:
    found = one_picture(tmp_path, inst_map=INSTANCES)
    label, image = tmp_path / "Labels" / "a.mat", tmp_path / "Images" / "a.png"
    good = label.read_bytes()
    label.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.mat: damaged"):
        found[0]
    label.write_bytes(good[: len(good) // 2])
    with pytest.raises(DataError, match=r"a\.mat"):
        found[0]
    label.unlink()
    with pytest.raises(DataError, match=r"a\.mat: missing"):
        found[0]
    image.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.png: cannot be read as a picture"):
        found[0]


def test_labels_without_pictures(tmp_path: Path) -> None:
    root = write_consep(tmp_path / "Train", TRUTHS)
    (root / "Images" / "train_2.png").unlink()
    with pytest.raises(DataError, match=r"train_2\.png: missing, but .*train_2\.mat is there"):
        ConsepSet(root)
    for image in (root / "Images").iterdir():
        image.unlink()
    with pytest.raises(DataError, match=r"holds no \*\.png"):
        ConsepSet(root)


@pytest.mark.skipif(not DATA.is_dir(), reason="data set absent: ../shared/data/consep")
def test_the_real_data_through_mat_files(tmp_path: Path) -> None:
    real = open_set(DATA)
    for folder in ("Images", "Labels"):
        (tmp_path / folder).mkdir()
    truth = real[0]
    assert truth.types is not None
    Image.fromarray(truth.rgb).save(tmp_path / "Images" / f"{truth.name}.png")
    seven = np.array([1, 2, 4, 5])[truth.types[1:]].reshape(-1, 1)
    content = {"inst_map": truth.instances.astype(np.float64), "inst_type": seven}
    io.savemat(tmp_path / "Labels" / f"{truth.name}.mat", content)
    same_nuclei(open_set(tmp_path)[0], truth)
