"""Saved predictions: what is written comes back, and other tools' files are understood."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made.evaluated import NAMES, made_picture, made_prediction
from scipy.io import loadmat, savemat

from nuhtc.runtime.ground.errors import DataError
from nuhtc.training.data.classes import CONSEP
from nuhtc.training.data.images import AnnotatedImage
from nuhtc.training.measures.hovernet_protocol import centroids
from nuhtc.training.predictions.prediction import Prediction
from nuhtc.training.predictions.save import saving
from nuhtc.training.predictions.saved import open_saved


class MadeSet:
    """A data set in memory."""

    name = "made"
    path = Path("made")
    mpp = 0.25

    def __init__(self, count: int = 3, side: int = 64, typed: bool = True) -> None:
        self.classes = CONSEP if typed else None
        self.images = [made_picture(seed, side) for seed in range(count)]

    def names(self) -> Sequence[str]:
        return [image.name for image in self.images]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> AnnotatedImage:
        return self.images[index]


def as_set(made: MadeSet) -> Any:
    return made


def same(a: Prediction, b: Prediction, scores: bool) -> None:
    assert np.array_equal(a.instances, b.instances) and b.instances.dtype == np.int32
    assert a.types is not None and b.types is not None
    assert np.array_equal(a.types[1:], b.types[1:])
    if scores:
        assert a.scores is not None and b.scores is not None
        assert np.array_equal(a.scores[1:], b.scores[1:])
    else:
        assert b.scores is None


@pytest.mark.parametrize(("layout", "side"), [("consep", 64), ("pannuke", 256)])
def test_what_is_saved_comes_back(tmp_path: Path, layout: str, side: int) -> None:
    made = MadeSet(3, side)
    found = [made_prediction(image) for image in made.images]
    found[1] = Prediction(
        np.zeros((side, side), np.int32), np.zeros(1, np.int64), np.zeros(1, np.float32)
    )
    with saving(layout, tmp_path, made.names(), NAMES) as save:
        for place, prediction in enumerate(found):
            save(place, prediction)
    assert not list(tmp_path.rglob("*.partial"))
    saved = open_saved(tmp_path / layout, as_set(made), [0, 1, 2])
    assert saved.classes == NAMES
    if layout == "pannuke":
        # Its channels number by class; the nuclei are the same, in another order.
        for index, prediction in enumerate(found):
            back = saved.read(index)
            assert len(back) == len(prediction) and prediction.types is not None
            assert back.types is not None
            for number in range(1, len(back) + 1):
                [own] = np.unique(prediction.instances[back.instances == number])
                assert np.array_equal(prediction.instances == own, back.instances == number)
                assert prediction.types[own] == back.types[number]
    else:
        for index, prediction in enumerate(found):
            same(prediction, saved.read(index), scores=True)


def test_a_mat_file_is_as_hovernets_tools_write_it(tmp_path: Path) -> None:
    found = made_prediction(made_picture(0))
    with saving("consep", tmp_path, ["one"], NAMES) as save:
        save(0, found)
    content = loadmat(tmp_path / "consep" / "one.mat")
    assert found.types is not None
    assert np.array_equal(content["inst_map"], found.instances)
    assert content["inst_type"].shape == (len(found), 1)
    assert np.array_equal(content["inst_type"][:, 0], found.types[1:] + 1)
    assert np.allclose(content["inst_centroid"], centroids(found.instances, len(found)))


def test_a_pannuke_array_has_six_channels(tmp_path: Path) -> None:
    found = made_prediction(made_picture(0, 256))
    with saving("pannuke", tmp_path, ["one"], NAMES) as save:
        save(0, found)
    stack = np.load(tmp_path / "pannuke" / "predictions.npy")
    assert stack.shape == (1, 256, 256, 6) and stack.dtype == np.int32
    assert np.array_equal(stack[0].any(axis=2), np.ones((256, 256), bool))
    assert np.array_equal(stack[0, ..., 5] == 1, found.instances == 0)
    assert found.types is not None
    assert np.array_equal(
        stack[0, ..., 2] > 0, found.types[found.instances] * (found.instances > 0) == 2
    )


@pytest.mark.parametrize(
    ("side", "classes", "words"),
    [(64, NAMES, "256x256 pixels, this has 64x64"), (256, tuple("abcdef"), "these have 6")],
)
def test_what_pannukes_layout_cannot_hold(
    tmp_path: Path, side: int, classes: tuple[str, ...], words: str
) -> None:
    with (
        pytest.raises(DataError, match=words),
        saving("pannuke", tmp_path, ["one"], classes) as save,
    ):
        save(0, made_prediction(made_picture(0, side)))
    assert not list((tmp_path / "pannuke").iterdir())


def test_other_tools_mat_files(tmp_path: Path) -> None:
    made = MadeSet(2)
    for image in made.images:
        numbers = np.concatenate([[0], np.arange(len(image)) * 3 + 5])
        content = {"inst_map": numbers[image.instances].astype(float)}
        if image.name == "made-0":  # types in the order of the numbers, none for the first
            content["inst_type"] = np.concatenate([[0], image.types[2:] + 1])[None]
        else:  # in any order, by number, with one that has no pixel
            uid = np.append(numbers[:0:-1], 1)
            content |= {"inst_uid": uid, "inst_type": np.append(image.types[:0:-1] + 1, 9)}
            content["inst_type"][-1] = 4
        savemat(tmp_path / f"{image.name}.mat", content)
    saved = open_saved(tmp_path, as_set(made), [0, 1])
    assert saved.classes == NAMES
    for index, image in enumerate(made.images):
        back = saved.read(index)
        assert back.types is not None and back.scores is None
        assert np.array_equal(back.instances, image.instances)
        start = 2 if index == 0 else 1
        assert np.array_equal(back.types[start:], image.types[start:])
    first = saved.read(0)
    assert first.types is not None and first.types[1] == -1, "0 stands for no class"


def test_label_maps_one_by_one_and_stacked(tmp_path: Path) -> None:
    made = MadeSet(2)
    maps = np.stack([image.instances for image in made.images])
    types = np.stack(
        [(image.types + 1)[image.instances] * (image.instances > 0) for image in made.images]
    )
    (tmp_path / "labels").mkdir()
    for name, instances, type_map in zip(made.names(), maps, types, strict=True):
        np.savez(tmp_path / "labels" / f"{name}.npz", inst_map=instances, type_map=type_map)
    np.savez(tmp_path / "labels" / "stack.npz", inst_map=maps, type_map=types)
    np.savez(tmp_path / "labels" / "second.npz", inst_map=maps[1], type_map=types[1])
    for path, indices in ((tmp_path, [0, 1]), (tmp_path / "labels/stack.npz", [0]),
                          (tmp_path / "labels/second.npz", [1])):  # fmt: skip
        saved = open_saved(path, as_set(made), indices)
        for index in indices:
            image = made.images[index]
            same(Prediction(image.instances, image.types), saved.read(index), scores=False)


def test_where_channels_overlap_the_later_has_the_pixel(tmp_path: Path) -> None:
    made = MadeSet(1, 8)
    stack = np.zeros((1, 8, 8, 6))
    stack[0, :4, :4, 0] = 7
    stack[0, 2:6, 2:6, 3] = 7
    np.save(tmp_path / "some.npy", stack)
    back = open_saved(tmp_path, as_set(made), [0]).read(0)
    assert back.types is not None and back.types[1:].tolist() == [0, 3]
    assert np.bincount(back.instances.ravel()).tolist() == [64 - 28, 12, 16]


def test_predictions_without_classes(tmp_path: Path) -> None:
    made = MadeSet(1)
    savemat(tmp_path / "made-0.mat", {"inst_map": made.images[0].instances})
    saved = open_saved(tmp_path, as_set(made), [0])
    assert saved.classes is None and saved.read(0).types is None
    untyped = MadeSet(1, typed=False)
    np.savez(
        tmp_path / "one.npz", inst_map=made.images[0].instances, type_map=made.images[0].instances
    )
    assert open_saved(tmp_path / "one.npz", as_set(untyped), [0]).classes is None


def write_mat(folder: Path, **content: Any) -> None:
    instances = np.zeros((64, 64), np.int32)
    instances[:5, :5], instances[9:12, 9:12] = 1, 2
    savemat(folder / "made-0.mat", {"inst_map": instances, "inst_type": [1, 2]} | content)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"inst_type": [1, 5]}, r"made-0.mat: holds class 5, but there are only 4 \(Other"),
        ({"inst_type": [1, 2, 3]}, "inst_type lists 3 nuclei, inst_map holds 2"),
        ({"inst_type": [1, -2]}, "inst_type must hold whole numbers"),
        ({"inst_uid": [1, 3]}, "inst_uid lacks a nucleus"),
        ({"inst_map": np.zeros((2, 3, 4))}, "inst_map must be height x width"),
        ({"inst_map": np.full((64, 64), 0.5)}, "inst_map must hold whole numbers"),
        ({"inst_score": [np.nan, 1.0]}, "inst_score must hold finite numbers"),
    ],
)
def test_wrong_contents(tmp_path: Path, content: dict[str, Any], words: str) -> None:
    write_mat(tmp_path, **content)
    with pytest.raises(DataError, match=words) as error:
        open_saved(tmp_path, as_set(MadeSet(1)), [0]).read(0)
    assert "\n" not in str(error.value)


def test_missing_and_damaged_files(tmp_path: Path) -> None:
    made = as_set(MadeSet(3))

    def fails(path: Path, words: str) -> None:
        with pytest.raises(DataError, match=words) as error:
            open_saved(path, made, [0, 1, 2])
        assert "\n" not in str(error.value)

    fails(tmp_path / "none", "no such file or folder")
    fails(tmp_path, r"holds no .mat, .npz or single .npy")
    write_mat(tmp_path)
    fails(tmp_path, "no prediction for 2 of 3 pictures: made-1, made-2; .*NAME.mat")
    whole = (tmp_path / "made-0.mat").read_bytes()
    for index in range(3):
        (tmp_path / f"made-{index}.mat").write_bytes(whole[: len(whole) // 2])
    fails(tmp_path, "made-0.mat: damaged or truncated")
    np.save(tmp_path / "short.npy", np.zeros((3, 8, 8, 6)))
    data = (tmp_path / "short.npy").read_bytes()
    (tmp_path / "short.npy").write_bytes(data[:-100])
    fails(tmp_path / "short.npy", "short.npy: cut short")
    np.save(tmp_path / "flat.npy", np.zeros((3, 8, 8)))
    fails(tmp_path / "flat.npy", "PanNuke's layout is")
    np.save(tmp_path / "five.npy", np.zeros((5, 8, 8, 6)))
    fails(tmp_path / "five.npy", "holds 5 pictures, but made has 3, of which 3 are evaluated")
    np.save(tmp_path / "objects.npy", np.array([{}], object), allow_pickle=True)
    fails(tmp_path / "objects.npy", "pickled")
    (tmp_path / "text.txt").write_text("x")
    fails(tmp_path / "text.txt", "predictions are .npy, .npz, or a folder")


def test_the_file_beside_predictions(tmp_path: Path) -> None:
    made = as_set(MadeSet(2, 8))
    np.save(tmp_path / "p.npy", np.zeros((2, 8, 8, 3)))
    about: dict[str, Any] = {"format": "nuhtc-predictions", "classes": ["A", "B"]}
    about["names"] = ["made-1", "other"]
    (tmp_path / "predictions.json").write_text(json.dumps(about))
    with pytest.raises(DataError, match="no prediction for made-0"):
        open_saved(tmp_path, made, [0, 1])
    assert open_saved(tmp_path, made, [1]).classes == ("A", "B")
    for text, words in (("{", "no JSON"), (json.dumps(about | {"names": 3}), "lists of texts")):
        (tmp_path / "predictions.json").write_text(text)
        with pytest.raises(DataError, match=words):
            open_saved(tmp_path, made, [1])
