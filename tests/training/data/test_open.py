"""The layout of a data set is recognised by what is there, or it is said what is missing."""

from pathlib import Path

import pytest
from made.made_sets import (
    made_truths,
    same_set,
    write_coco,
    write_every_layout,
    write_folder,
    write_pannuke_nuhtc,
)

from nuhtc.runtime.ground.errors import DataError
from nuhtc.training.data.open import open_set

KINDS = {
    "pannuke": "PanNukeSet",
    "conic": "ConicSet",
    "consep": "ConsepSet",
    "coco": "CocoSet",
    "folder": "FolderSet",
}


def test_every_layout(tmp_path: Path) -> None:
    written = write_every_layout(tmp_path)
    assert written.keys() == KINDS.keys()
    for layout, (path, truths) in written.items():
        found = open_set(path)
        assert type(found).__name__ == KINDS[layout]
        same_set(found, truths, tissues=layout == "pannuke")


def test_a_fold_that_is_no_folder(tmp_path: Path) -> None:
    path = write_pannuke_nuhtc(tmp_path, 1, made_truths(5))
    assert not path.exists()
    assert open_set(path).name == "pannuke-fold1"


@pytest.mark.parametrize(
    "file", ["annotations.json", "instances.json", "coco/My/My_annt_RLE_fold1.json"]
)
def test_a_folder_with_a_coco_file(tmp_path: Path, file: str) -> None:
    truths = made_truths(4)
    write_coco(tmp_path / file, tmp_path / "rgb", truths)
    same_set(open_set(tmp_path), truths)


def test_label_files_come_before_a_coco_file(tmp_path: Path) -> None:
    truths = made_truths(4)
    write_coco(tmp_path / "annotations.json", tmp_path / "elsewhere", truths)
    write_folder(tmp_path, truths)
    assert type(open_set(tmp_path)).__name__ == "FolderSet"


def test_a_given_folder_of_pictures(tmp_path: Path) -> None:
    truths = made_truths(4)
    file = write_coco(tmp_path / "my.json", tmp_path / "elsewhere", truths)
    same_set(open_set(file, tmp_path / "elsewhere"), truths)
    with pytest.raises(DataError, match="only with one"):
        open_set(write_folder(tmp_path / "folder", truths), tmp_path / "elsewhere")


def refusal(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        open_set(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ") and "\n" not in message
    return message


def test_nothing_there(tmp_path: Path) -> None:
    for name in ("missing", "missing.json", "missing/fold1"):
        assert "no such file" in refusal(tmp_path / name)


def test_nothing_known(tmp_path: Path) -> None:
    message = refusal(tmp_path)
    for wanted in ("labels/*.npz", "annotations.json", "masks.npy", "labels.npy", "Labels/*.mat"):
        assert wanted in message
    (tmp_path / "slide.svs").touch()
    assert "neither" in refusal(tmp_path / "slide.svs")


def test_half_of_something(tmp_path: Path) -> None:
    (tmp_path / "images.npy").touch()
    assert "masks.npy (PanNuke) or labels.npy (CoNIC) is missing" in refusal(tmp_path)
    pictures = write_folder(tmp_path / "b", made_truths(4))
    for file in (pictures / "labels").iterdir():
        file.unlink()
    (pictures / "labels").rmdir()
    assert "labels/*.npz" in refusal(pictures)


def test_one_of_several_coco_files_must_be_chosen(tmp_path: Path) -> None:
    for fold in (1, 2):
        write_coco(tmp_path / f"coco/P/P_annt_RLE_fold{fold}.json", tmp_path / "rgb", [])
    assert "P_annt_RLE_fold1.json" in refusal(tmp_path)
