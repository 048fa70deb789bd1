"""What a run learns from and is measured on."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made.tiny import disc_image
from PIL import Image

from nuhtc.runtime.ground.errors import DataError
from nuhtc.training.data.images import AnnotatedImage, Part, Subset, WithoutClasses
from nuhtc.training.data.open import open_set
from nuhtc.training.data.selection import NUCLEUS, select


def write_set(
    root: Path, stems: list[str], *, typed: bool = True, classes: list[str] | None = None
) -> Path:
    (root / "images").mkdir(parents=True)
    (root / "labels").mkdir()
    for seed, stem in enumerate(stems):
        picture = disc_image(seed, 80)
        Image.fromarray(picture.rgb).save(root / "images" / f"{stem}.png")
        arrays = {"inst_map": picture.instances}
        if typed and picture.types is not None:
            arrays["type_map"] = np.where(
                picture.instances > 0, picture.types[picture.instances] + 1, 0
            ).astype(np.int32)
        np.savez(root / "labels" / f"{stem}.npz", **arrays)
    if classes is not None:
        described = [{"name": name, "color": [1, 2, 3]} for name in classes]
        (root / "dataset.json").write_text(
            json.dumps({"name": root.name, "mpp": 0.25, "classes": described}), "utf-8"
        )
    return root


def all_of(pictures: object) -> list[AnnotatedImage]:
    return [pictures[i] for i in range(len(pictures))]  # type: ignore[index, arg-type]


def test_some_pictures_are_held_out(tmp_path: Path) -> None:
    root = write_set(tmp_path / "consep", ["train_1", "train_2", "train_3"])
    chosen = select([root])
    assert [p.name for p in all_of(chosen.data.train["consep"])] == ["train_1", "train_2"]
    assert [p.name for p in all_of(chosen.data.validation["consep"])] == ["train_3"]
    assert [c.name for c in chosen.classes][-1] == "Spindle"
    assert len(chosen.data) == 2
    assert chosen.table() == "  consep: 2 pictures to learn from, 1 held out"


def test_given_validation_data_leave_all_the_rest_to_learn_from(tmp_path: Path) -> None:
    root = write_set(tmp_path / "consep", ["train_1", "train_3"])
    other = write_set(tmp_path / "other", ["a", "b"])
    chosen = select([root], validation=[other])
    assert len(chosen.data.train["consep"]) == 2
    assert list(chosen.data.validation) == ["other"] and len(chosen.data.validation["other"]) == 2
    assert chosen.data.validation["other"][0].types is not None, "the same classes"


def test_untyped_data_give_outlines_only(tmp_path: Path) -> None:
    root = write_set(tmp_path / "consep", ["train_1", "train_2"])
    mine = write_set(tmp_path / "mine", ["a", "b", "c"], classes=["Red", "Blue"])
    with pytest.raises(DataError, match=r"Red, Blue.*--untyped-data"):
        select([root, mine])
    chosen = select([root], [mine])
    assert all(p.types is None for p in all_of(chosen.data.train["mine"]))
    assert all(p.types is not None for p in all_of(chosen.data.train["consep"]))
    assert chosen.data.weights == {"consep": 1.0, "mine": 1.0}


def test_the_first_classes_count_wherever_they_stand(tmp_path: Path) -> None:
    plain = write_set(tmp_path / "tnbc", ["01_1", "02_1"], typed=False)
    mine = write_set(tmp_path / "mine", ["a", "b", "c"], classes=["Red", "Blue"])
    assert [c.name for c in select([plain, mine]).classes] == ["Red", "Blue"]


def test_without_any_class_a_nucleus_is_a_nucleus(tmp_path: Path) -> None:
    plain = write_set(tmp_path / "tnbc", ["01_1", "02_1"], typed=False)
    assert select([plain]).classes == NUCLEUS


def test_pictures_are_kept_as_far_as_the_memory_reaches(tmp_path: Path) -> None:
    found = open_set(write_set(tmp_path / "consep", ["train_1", "train_2", "train_4"]))
    one = found[0].rgb.nbytes + found[0].instances.nbytes
    subset = Subset(found, [0, 1, 2], memory=one + 1)
    assert subset[0] is subset[0] and subset[1] is subset[1]
    assert subset[2] is not subset[2], "read each time"
    assert [subset[i].name for i in range(3)] == ["train_1", "train_2", "train_4"]


def test_parts_and_untyped_pictures() -> None:
    pictures = [replace(disc_image(i), name=str(i)) for i in range(4)]
    part = Part(pictures, [3, 1])
    assert len(part) == 2 and [part[i].name for i in range(2)] == ["3", "1"]
    plain = WithoutClasses(part)
    assert len(plain) == 2 and plain[0].types is None and plain[0].name == "3"
