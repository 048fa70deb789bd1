"""COCO files: polygons and run lengths, categories by id, and whatever can be wrong."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from made.made_sets import coco_content, compressed, made_truths, same_set, uncompressed, write_coco
from pycocotools import mask as coco_mask

from nuhtc.runtime.bundle.card import NucleusClass
from nuhtc.runtime.ground.errors import DataError
from nuhtc.training.data.categories import NUHTC_NAMES, PALETTE
from nuhtc.training.data.classes import CONSEP, KNOWN, PANNUKE
from nuhtc.training.data.coco import CocoSet
from nuhtc.training.data.numbering import renumber
from nuhtc.training.data.rle import encode, paint

TRUTHS = made_truths(4)
MASKS = hnp.arrays(np.bool_, hnp.array_shapes(min_dims=2, max_dims=2, max_side=40))


def painted(segmentation: object, height: int, width: int) -> np.ndarray:
    canvas = np.zeros((height, width), np.int32, order="F")
    paint(canvas, segmentation, 3)
    assert set(np.unique(canvas)) <= {0, 3}
    return canvas == 3


@given(MASKS)
def test_run_lengths_are_the_mask_again(mask: np.ndarray) -> None:
    for segmentation in (compressed(mask), uncompressed(mask)):
        assert np.array_equal(painted(segmentation, *mask.shape), mask)


@given(
    hnp.arrays(np.int64, hnp.array_shapes(min_dims=2, max_dims=2, max_side=40),
               elements=st.sampled_from([0, 0, 1, 2, 5]))
)  # fmt: skip
def test_masks_are_written_as_pycocotools_writes_them(raw: np.ndarray) -> None:
    instances, _ = renumber(raw)
    wanted = [compressed(instances == number) for number in range(1, instances.max() + 1)]
    assert encode(instances) == wanted


def test_long_runs_are_written_as_pycocotools_writes_them() -> None:
    instances = np.zeros((700, 900), np.int32)
    instances[650:, 3] = instances[:2, 4:90] = instances[699, 899] = 1
    instances[5, 800] = 2
    assert encode(instances) == [compressed(instances == 1), compressed(instances == 2)]


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@given(
    st.lists(
        st.lists(st.floats(-5, 30).map(lambda x: round(x, 2)), min_size=6, max_size=12).filter(
            lambda points: len(points) % 2 == 0
        ),
        min_size=1,
        max_size=3,
    )
)
def test_polygons_are_as_pycocotools_draws_them(polygons: list[list[float]]) -> None:
    runs = coco_mask.merge(coco_mask.frPyObjects(polygons, 20, 25))
    assert np.array_equal(painted(polygons, 20, 25), coco_mask.decode(runs).astype(bool))


def test_a_polygon_of_whole_pixels() -> None:
    square = painted([[2, 1, 5, 1, 5, 4, 2, 4]], 6, 8)
    wanted = np.zeros((6, 8), bool)
    wanted[1:4, 2:5] = True
    assert np.array_equal(square, wanted)


@pytest.mark.parametrize(
    ("segmentation", "word"),
    [
        (None, "neither"),
        ([], "neither"),
        ("text", "neither"),
        ([[1, 2, 3, 4]], "three points"),
        ([[1, 2, 3, 4, 5, 6, 7]], "three points"),
        ([[1, 2, 3, 4, 5, "6"]], "no number"),
        ([[1, 2, 3, 4, 5, float("nan")]], "outside"),
        ([[1, 2, 3, 4, 5, 1e9]], "outside"),
        ({"size": [4, 5], "counts": [20]}, "size [4, 5]"),
        ({"size": [5, 4], "counts": [19]}, "add up"),
        ({"size": [5, 4], "counts": [30, -10]}, "add up"),
        ({"size": [5, 4], "counts": [2**63, -(2**63), 20]}, "add up"),
        ({"size": [5, 4], "counts": [20.0]}, "neither"),
        ({"size": [5, 4]}, "neither"),
        ({"size": [5, 4], "counts": "05l"}, "cut short"),
        ({"size": [5, 4], "counts": "!"}, "mean nothing"),
        ({"size": [5, 4], "counts": "o" * 30 + "0"}, "mean nothing"),
        ({"size": [5, 4], "counts": ""}, "add up"),
    ],
)
def test_masks_that_cannot_be(segmentation: object, word: str) -> None:
    with pytest.raises(ValueError) as caught:
        painted(segmentation, 5, 4)
    assert word in str(caught.value) and "\n" not in str(caught.value)


@given(st.text(st.characters(min_codepoint=40, max_codepoint=120)))
def test_any_text_is_a_mask_or_refused(text: str) -> None:
    try:
        painted({"size": [5, 4], "counts": text}, 5, 4)
    except ValueError as error:
        assert str(error).startswith("the run lengths")


@pytest.mark.parametrize("encode", [compressed, uncompressed])
@pytest.mark.parametrize("folder", ["", "images", "rgb"])
def test_pictures_near_the_file(
    tmp_path: Path, folder: str, encode: Callable[[np.ndarray], dict[str, Any]]
) -> None:
    content = coco_content(TRUTHS, CONSEP, encode)
    found = CocoSet(write_coco(tmp_path / "my.json", tmp_path / folder, TRUTHS, content))
    assert (found.name, found.mpp, found.classes) == ("my", 0.25, CONSEP)
    assert found.names() == ["p_0", "p_1", "p_2"]
    same_set(found, TRUTHS)


def test_pictures_in_a_given_folder(tmp_path: Path) -> None:
    file = write_coco(tmp_path / "a" / "annotations.json", tmp_path / "b", TRUTHS)
    same_set(CocoSet(file, tmp_path / "b"), TRUTHS)
    assert CocoSet(file, tmp_path / "b").name == "a", "annotations says nothing"
    with pytest.raises(DataError, match=r"looked in .*--images"):
        CocoSet(file)
    with pytest.raises(DataError, match="no such folder"):
        CocoSet(file, tmp_path / "c")


@pytest.mark.parametrize("pictures", ["datasets/PanNuke/rgb", "rgb"])
def test_as_nuhtc_has_it(tmp_path: Path, pictures: str) -> None:
    truths = made_truths(5)
    classes = [NucleusClass(name, (0, 0, 0)) for name in NUHTC_NAMES[PANNUKE]]
    file = tmp_path / "coco" / "PanNuke" / "PanNuke_annt_RLE_fold1.json"
    content = coco_content(truths, classes)
    found = CocoSet(write_coco(file, tmp_path / pictures, truths, content))
    assert (found.name, found.info, found.classes) == ("pannuke-fold1", KNOWN["pannuke"], PANNUKE)
    same_set(found, truths)


def small(**changes: Any) -> dict[str, Any]:
    """The content of a file of one 5x4 picture with two nuclei."""
    return {
        "images": [{"id": 1, "file_name": "p_0.png", "height": 4, "width": 5}],
        "annotations": [
            nucleus(1, 7, [3, 6, 11]),
            nucleus(2, 8, [6, 4, 10]),
        ],
        "categories": [{"id": 8, "name": "b"}, {"id": 7, "name": "Epithelial"}],
    } | changes


def nucleus(called: int, category: int, counts: list[int], **more: Any) -> dict[str, Any]:
    runs = {"size": [4, 5], "counts": counts}
    return {"id": called, "image_id": 1, "category_id": category, "segmentation": runs} | more


def open_small(folder: Path, content: Any) -> CocoSet:
    truth = made_truths(1, 1, 4, 5)
    return CocoSet(write_coco(folder / "my.json", folder, truth, content))


def test_the_later_annotation_wins(tmp_path: Path) -> None:
    found = open_small(tmp_path, small())[0]
    flat = [0, 0, 0, 1, 1, 1, 2, 2, 2, 2, *[0] * 10]
    assert found.instances.tolist() == np.reshape(flat, (4, 5), order="F").tolist()
    assert found.types is not None and found.types.tolist() == [0, 0, 1]
    covered = small(annotations=[nucleus(1, 7, [6, 3, 11]), nucleus(2, 8, [6, 4, 10])])
    found = open_small(tmp_path, covered)[0]
    assert len(found) == 1
    assert found.types is not None and found.types.tolist() == [0, 1]


def test_crowds_are_left_out(tmp_path: Path) -> None:
    crowd = nucleus(2, 8, [6, 4, 10], iscrowd=1)
    assert len(open_small(tmp_path, small(annotations=[crowd]))[0]) == 0


def test_a_picture_without_nuclei(tmp_path: Path) -> None:
    found = open_small(tmp_path, small(annotations=[]))[0]
    assert len(found) == 0 and found.types is not None and found.types.tolist() == [0]


def test_what_the_file_says_of_itself(tmp_path: Path) -> None:
    said = {"mpp": 0.5, "name": "ours", "title": "Ours", "licence": "CC0", "source": "us"}
    images = small()["images"]
    images[0]["tissue"] = "Colon"
    found = open_small(tmp_path, small(info=said, images=images))
    assert (found.name, found.mpp, found.info.name) == ("ours", 0.5, "Ours")
    assert (found[0].tissue, found[0].mpp) == ("Colon", 0.5)


def test_colours(tmp_path: Path) -> None:
    categories = [
        {"id": 3, "name": "Mitosis"},
        {"id": 1, "name": "EPITHELIAL"},
        {"id": 7, "name": "dead cells"},
        {"id": 8, "name": "b", "color": [1, 2, 3]},
    ]
    found = open_small(tmp_path, small(categories=categories))
    assert found.classes == (
        NucleusClass("EPITHELIAL", (255, 0, 255)),
        NucleusClass("Mitosis", PALETTE[1]),
        NucleusClass("dead cells", (255, 255, 0)),
        NucleusClass("b", (1, 2, 3)),
    )


def test_a_sole_category_named_nucleus_is_no_class(tmp_path: Path) -> None:
    content = small(categories=[{"id": 7, "name": "Nucleus"}])
    content["annotations"] = content["annotations"][:1]
    found = open_small(tmp_path, content)
    assert found.classes is None and found[0].types is None and len(found[0]) == 1


def test_pictures_of_the_same_name_in_two_folders(tmp_path: Path) -> None:
    images = [small()["images"][0] | {"id": i, "file_name": f"{i}/x.png"} for i in (1, 2)]
    truth = made_truths(1, 1, 4, 5)
    file = write_coco(tmp_path / "my.json", tmp_path, truth, small(images=images))
    for folder in ("1", "2"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.png").write_bytes((tmp_path / "p_0.png").read_bytes())
    found = CocoSet(file)
    assert found.names() == ["1_x", "2_x"] and [len(found[0]), len(found[1])] == [2, 0]


IMAGE = small()["images"][0]


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ([], "no COCO file"),
        ({}, "no COCO file"),
        ({"images": [], "annotations": {}}, "no COCO file"),
        (small(images=[]), "lists no images"),
        (small(images=["a"]), "number 1"),
        (small(images=[{"id": 1}]), "file_name"),
        (small(images=[IMAGE | {"height": "4"}]), "height"),
        (small(images=[IMAGE | {"width": 0}]), "width"),
        (small(images=[IMAGE, IMAGE | {"id": 2}]), "called p_0"),
        (small(images=[IMAGE, IMAGE | {"file_name": "p_0.jpg", "id": 2}]), "called p_0"),
        (small(images=[IMAGE, IMAGE | {"file_name": "b.png"}]), "the id 1"),
        (small(images=[IMAGE | {"file_name": "../p_0.png"}]), "outside"),
        (small(images=[IMAGE | {"file_name": "/etc/p_0.png"}]), "outside"),
        (small(images=[IMAGE | {"file_name": "..\\p_0.png"}]), "outside"),
        (small(images=[IMAGE | {"file_name": "q.png"}]), "q.png, is missing"),
        (small(categories=[]), "no categories"),
        (small(categories=None), "no categories"),
        (small(categories=["b"]), "category"),
        (small(categories=[{"id": "7", "name": "b"}]), "category"),
        (small(categories=[{"id": 7, "name": ""}]), "category"),
        (small(categories=[{"id": 7, "name": "b"}, {"id": 8, "name": "b"}]), "same id or name"),
        (small(categories=[{"id": 7, "name": "a"}, {"id": 7, "name": "b"}]), "same id or name"),
        (small(annotations=["a"]), "annotation number 1"),
        (small(annotations=[nucleus(5, 9, [20])]), "annotation 5 has category_id 9"),
        (small(annotations=[nucleus(5, 7, [20], image_id=4)]), "annotation 5 has image_id 4"),
        (small(annotations=[nucleus(5, 7, [20], image_id=[4])]), "annotation 5 has image_id [4]"),
        (small(annotations=[nucleus(5, 7, [19])]), "annotation 5 of p_0.png: the run lengths"),
        (small(info={"mpp": -1}), "mpp"),
    ],
)
def test_files_that_cannot_be(tmp_path: Path, content: Any, word: str) -> None:
    with pytest.raises(DataError) as caught:
        open_small(tmp_path, copy.deepcopy(content))[0]
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / 'my.json'}: ") and "\n" not in message
    assert word in message


def test_pictures_that_cannot_be(tmp_path: Path) -> None:
    images = [IMAGE, IMAGE | {"id": 2, "file_name": "q.png"}]
    found = open_small(tmp_path, small(images=images))
    with pytest.raises(DataError, match=r"q\.png: missing; my\.json lists it"):
        found[1]
    (tmp_path / "q.png").write_text("no picture")
    with pytest.raises(DataError, match=r"q\.png: cannot be read as a picture"):
        found[1]
    found = open_small(tmp_path, small(images=[IMAGE | {"width": 6}]))
    with pytest.raises(DataError, match=r"p_0\.png: is 5x4, but my\.json says 6x4"):
        found[0]


@pytest.mark.parametrize("text", ["", "{", '{"images": [', "\xff\x00", "[" * 100_000])
def test_broken_json(tmp_path: Path, text: str) -> None:
    file = tmp_path / "my.json"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError, match=r"my\.json: no JSON"):
        CocoSet(file)
    file.write_text(json.dumps({"images": [], "annotations": []}), encoding="utf-16")
    with pytest.raises(DataError, match="lists no images"):
        CocoSet(file)
