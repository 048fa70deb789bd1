"""PanNuke's arrays: every layout, classes that overlap, and whatever can be wrong with them."""

import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from made.made_sets import (
    made_truths,
    pannuke_arrays,
    same_set,
    write_pannuke,
    write_pannuke_download,
    write_pannuke_nuhtc,
)

from nuhtc.runtime.ground.errors import DataError
from nuhtc.training.data.classes import KNOWN, PANNUKE
from nuhtc.training.data.pannuke import PanNukeSet, flatten

TRUTHS = made_truths(5)


def test_three_files_in_a_folder(tmp_path: Path) -> None:
    found = PanNukeSet(write_pannuke(tmp_path / "fold3", TRUTHS))
    assert found.name == "pannuke-fold3" and found.names() == ["fold3_1", "fold3_2", "fold3_3"]
    assert (found.classes, found.mpp, found.info) == (PANNUKE, 0.25, KNOWN["pannuke"])
    same_set(found, TRUTHS, tissues=True)


def test_a_folder_of_any_name(tmp_path: Path) -> None:
    found = PanNukeSet(write_pannuke(tmp_path / "my data", TRUTHS))
    assert found.name == "pannuke-my_data" and found.names()[0] == "my_data_1"


def test_as_downloaded(tmp_path: Path) -> None:
    top = write_pannuke_download(tmp_path, 2, TRUTHS)
    found = PanNukeSet(top)
    assert found.name == "pannuke-fold2" and found.names()[0] == "fold2_1"
    same_set(found, TRUTHS, tissues=True)


def test_as_nuhtc_has_it(tmp_path: Path) -> None:
    one, two = (write_pannuke_nuhtc(tmp_path, fold, TRUTHS[fold:]) for fold in (1, 2))
    found = PanNukeSet(two)
    assert found.name == "pannuke-fold2"
    same_set(found, TRUTHS[2:], tissues=True)
    assert len(PanNukeSet(one)) == 2
    with pytest.raises(DataError, match="fold7: no fold of PanNuke"):
        PanNukeSet(tmp_path / "fold7")


@pytest.mark.parametrize("write", [write_pannuke_download, write_pannuke_nuhtc])
def test_several_folds_as_one(tmp_path: Path, write: Any) -> None:
    for fold in (10, 2, 1):
        write(tmp_path, fold, TRUTHS[: 1 + fold % 2])
    found = PanNukeSet(tmp_path)
    assert found.name == "pannuke"
    assert found.names() == ["fold1_1", "fold1_2", "fold2_1", "fold10_1"]
    same_set(found, [*TRUTHS[:2], TRUTHS[0], TRUTHS[0]], tissues=True)


def test_without_tissues(tmp_path: Path) -> None:
    root = write_pannuke(tmp_path / "fold1", TRUTHS)
    (root / "types.npy").unlink()
    same_set(PanNukeSet(root), TRUTHS)


def test_small_integers_in_place_of_floats(tmp_path: Path) -> None:
    root = write_pannuke(tmp_path / "fold1", TRUTHS)
    arrays = pannuke_arrays(TRUTHS)
    np.save(root / "images.npy", arrays["images"].astype(np.uint8))
    np.save(root / "masks.npy", arrays["masks"].astype(np.int32))
    same_set(PanNukeSet(root), TRUTHS, tissues=True)


def test_another_process_gets_the_paths_not_the_pictures(tmp_path: Path) -> None:
    found = PanNukeSet(write_pannuke(tmp_path / "fold1", TRUTHS))
    sent = pickle.dumps(found)
    assert len(sent) < 4000
    same_set(pickle.loads(sent), TRUTHS, tissues=True)


def test_a_pixel_of_two_classes_belongs_to_the_later() -> None:
    channels = np.zeros((2, 4, 3), np.int64)
    channels[0, :, 0] = [5, 5, 2, 0]
    channels[0, :, 1] = [0, 5, 5, 0]
    channels[1, :, 2] = [5, 0, 0, 8]
    instances, types = flatten(channels)
    # 2 of the first channel is covered; 5 is a nucleus of its own in each channel.
    assert instances.tolist() == [[1, 2, 2, 0], [3, 0, 0, 4]]
    assert types.tolist() == [0, 0, 1, 2, 2]


@given(hnp.arrays(np.int64, (4, 5, 3), elements=st.sampled_from([0, 0, 1, 2, 9])))
def test_flattening_against_the_plain_way(channels: np.ndarray) -> None:
    instances, types = flatten(channels)
    seen: dict[tuple[int, int], int] = {}
    for y, x in np.ndindex(4, 5):
        claims = [(c, int(channels[y, x, c])) for c in range(3) if channels[y, x, c]]
        assert (instances[y, x] == 0) == (not claims)
        if claims:
            assert seen.setdefault(claims[-1], int(instances[y, x])) == instances[y, x]
    assert sorted(seen.values()) == list(range(1, len(types)))
    assert sorted(seen) == [key for key, _ in sorted(seen.items(), key=lambda item: item[1])]
    assert all(types[number] == channel for (channel, _), number in seen.items())


def refusal(root: Path, file: str) -> str:
    """The message of the refusal to open or read, which must name the file."""
    with pytest.raises(DataError) as caught:
        found = PanNukeSet(root)
        for index in range(len(found)):
            found[index]
    message = str(caught.value)
    assert message.startswith(f"{root / file}: ") and "\n" not in message
    return message


@pytest.mark.parametrize("file", ["images", "masks"])
def test_a_missing_file(tmp_path: Path, file: str) -> None:
    root = write_pannuke(tmp_path / "fold1", TRUTHS)
    (root / f"{file}.npy").unlink()
    assert "missing" in refusal(root, f"{file}.npy")


def test_missing_masks_of_other_layouts(tmp_path: Path) -> None:
    write_pannuke_nuhtc(tmp_path, 1, TRUTHS)
    shutil.rmtree(tmp_path / "masks")
    assert "missing" in refusal(tmp_path, "masks/fold1/masks.npy")


@pytest.mark.parametrize(
    ("file", "array", "word"),
    [
        ("masks", np.zeros((2, 40, 48, 6)), "2 pictures"),
        ("masks", np.zeros((3, 48, 40, 6)), "40x48"),
        ("masks", np.zeros((3, 40, 48, 5)), "(N, H, W, 6)"),
        ("masks", np.zeros((3, 40, 48)), "(N, H, W, 6)"),
        ("images", np.zeros((3, 40, 48)), "(N, H, W, 3)"),
        ("masks", np.full((3, 40, 48, 6), np.nan), "whole numbers"),
        ("masks", np.full((3, 40, 48, 6), -1), "whole numbers"),
        ("masks", np.full((3, 40, 48, 6), 0.5), "whole numbers"),
        ("images", np.full((3, 40, 48, 3), 256), "0 to 255"),
        ("images", np.full((3, 40, 48, 3), 0.5), "0 to 255"),
        ("images", np.full((3, 40, 48, 3), np.nan), "0 to 255"),
        ("masks", np.array([{}]), "pickled"),
        ("types", np.array(["Breast", None, 3], object), "pickled"),
        ("types", np.array(["Breast"] * 2), "3 tissues"),
        ("types", np.array([1, 2, 3]), "text"),
    ],
)
def test_arrays_that_cannot_be(tmp_path: Path, file: str, array: Any, word: str) -> None:
    root = write_pannuke(tmp_path / "fold1", TRUTHS)
    np.save(root / f"{file}.npy", array)
    assert word in refusal(root, f"{file}.npy")


def test_no_pictures_at_all(tmp_path: Path) -> None:
    root = write_pannuke(tmp_path / "fold1", TRUTHS)
    for file, array in pannuke_arrays(TRUTHS).items():
        np.save(root / f"{file}.npy", array[:0])
    refusal(root, "images.npy")


@pytest.mark.parametrize("file", ["images", "masks", "types"])
@pytest.mark.parametrize("part", [0.0, 0.0001, 0.5, 0.999])
def test_a_download_cut_short(tmp_path: Path, file: str, part: float) -> None:
    root = write_pannuke(tmp_path / "fold1", TRUTHS)
    path = root / f"{file}.npy"
    content = path.read_bytes()
    path.write_bytes(content[: int(part * len(content))])
    refusal(root, f"{file}.npy")


def test_an_archive_in_place_of_an_array(tmp_path: Path) -> None:
    root = write_pannuke(tmp_path / "fold1", TRUTHS)
    with (root / "masks.npy").open("wb") as file:
        np.savez(file, masks=np.zeros(3))
    assert ".npz" in refusal(root, "masks.npy")


def test_one_fold_twice(tmp_path: Path) -> None:
    write_pannuke_download(tmp_path, 1, TRUTHS)
    write_pannuke(tmp_path / "fold1", TRUTHS)
    with pytest.raises(DataError, match="fold1 twice"):
        PanNukeSet(tmp_path)
