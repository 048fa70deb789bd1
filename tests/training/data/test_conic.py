"""CoNIC's two arrays and its table of names."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made.made_sets import made_truths, same_set, write_conic

from nuhtc.runtime.ground.errors import DataError
from nuhtc.training.data.classes import CONIC, KNOWN
from nuhtc.training.data.conic import ConicSet

TRUTHS = made_truths(6)


def test_the_arrays(tmp_path: Path) -> None:
    found = ConicSet(write_conic(tmp_path, TRUTHS))
    assert (found.name, found.mpp, found.classes) == ("conic", 0.5, CONIC)
    assert found.info == KNOWN["conic"]
    assert found.names() == ["conic_1", "conic_2", "conic_3"]
    same_set(found, TRUTHS)


def test_names_from_the_table(tmp_path: Path) -> None:
    root = write_conic(tmp_path, TRUTHS)
    (root / "patch_info.csv").write_text("patch_info\ncrag_1-0000\ncrag_1-0001\ndpath_2-0000\n")
    found = ConicSet(root)
    assert found.names() == ["crag_1-0000", "crag_1-0001", "dpath_2-0000"]
    same_set(found, TRUTHS)


@pytest.mark.parametrize(
    ("table", "word"),
    [("patch_info\na\nb\n", "names 2"), ("patch_info\na\nb\na\n", "same name"), ("", "names 0")],
)
def test_a_table_that_does_not_fit(tmp_path: Path, table: str, word: str) -> None:
    root = write_conic(tmp_path, TRUTHS)
    (root / "patch_info.csv").write_text(table)
    with pytest.raises(DataError, match=word) as caught:
        ConicSet(root)
    assert str(caught.value).startswith(f"{root / 'patch_info.csv'}: ")


def labels(instance: Any, kind: Any) -> Any:
    array = np.zeros((3, 40, 48, 2), np.result_type(type(instance), type(kind)))
    array[1, 3:6, 3:6] = instance, kind
    return array


@pytest.mark.parametrize(
    ("file", "array", "word"),
    [
        ("labels", labels(4, 7), "class 7"),
        ("labels", labels(4, 0), "no class"),
        ("labels", labels(-1, 1), "whole numbers"),
        ("labels", labels(0.5, 1), "whole numbers"),
        ("labels", labels(np.nan, 1), "whole numbers"),
        ("labels", np.zeros((2, 40, 48, 2)), "2 pictures"),
        ("labels", np.zeros((3, 40, 47, 2)), "47x40"),
        ("labels", np.zeros((3, 40, 48)), "(N, H, W, 2)"),
        ("labels", np.array([None]), "pickled"),
        ("images", np.zeros((3, 40, 48, 4)), "(N, H, W, 3)"),
        ("images", np.full((3, 40, 48, 3), 300), "0 to 255"),
    ],
)
def test_arrays_that_cannot_be(tmp_path: Path, file: str, array: Any, word: str) -> None:
    root = write_conic(tmp_path, TRUTHS)
    np.save(root / f"{file}.npy", array)
    with pytest.raises(DataError) as caught:
        found = ConicSet(root)
        for index in range(len(found)):
            found[index]
    assert str(caught.value).startswith(f"{root / file}.npy: ") and word in str(caught.value)


@pytest.mark.parametrize("file", ["images", "labels"])
def test_missing_and_cut_short(tmp_path: Path, file: str) -> None:
    path = write_conic(tmp_path, TRUTHS) / f"{file}.npy"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DataError, match="cut short"):
        ConicSet(tmp_path)
    path.unlink()
    with pytest.raises(DataError, match=rf"{file}\.npy: missing"):
        ConicSet(tmp_path)
