"""Every class comes up equally often, however rare, and its nuclei too."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made.blobs import random_ellipses

from nuhtc.runtime.ground.errors import DataError
from nuhtc.training.augmentation.sampling import ClassAware, class_presence, focus
from nuhtc.training.data.images import AnnotatedImage


def picture(types: Sequence[int] | None, name: str = "made") -> AnnotatedImage:
    """Return a picture with one column of three pixels per nucleus."""
    count = 2 if types is None else len(types)
    instances = np.zeros((5, 2 * count + 2), np.int32)
    for i in range(count):
        instances[1:4, 2 * i + 1] = i + 1
    rgb = np.zeros((*instances.shape, 3), np.uint8)
    return AnnotatedImage(
        name, rgb, instances, None if types is None else np.array([0, *types], np.int64)
    )


def frequencies(sampler: ClassAware, draws: int, seed: int = 0) -> dict[tuple[int, int], int]:
    """Return how often each (picture, class) comes up."""
    rng = np.random.default_rng(seed)
    counts: dict[tuple[int, int], int] = {}
    for _ in range(draws):
        drawn = sampler.draw(rng)
        counts[drawn] = counts.get(drawn, 0) + 1
    return counts


def bound(draws: int, share: float) -> float:
    """Four standard deviations of a count."""
    return 4 * float(np.sqrt(draws * share * (1 - share)))


def test_presence() -> None:
    images = [picture([0, 0, 2]), picture([1]), picture([]), picture([2, 1])]
    found = class_presence(images, 4, progress=False)
    assert found.dtype == np.bool_
    assert found.tolist() == [
        [True, False, True, False],
        [False, True, False, False],
        [True, True, True, False],  # no nuclei: every class that there is
        [False, True, True, False],
    ]
    sampler = ClassAware(found)
    assert sampler.classes == (0, 1, 2) and sampler.left_out == (3,)


def test_nuclei_without_classes_may_be_any() -> None:
    found = class_presence([picture(None), picture([1])], 3, progress=False)
    assert found.tolist() == [[False, True, False]] * 2


@pytest.mark.parametrize("images", [[], [picture([])], [picture(None), picture(None)]])
def test_nothing_to_draw(images: list[AnnotatedImage]) -> None:
    presence = class_presence(images, 3, progress=False)
    assert presence.shape == (len(images), 3) and not presence.any()
    sampler = ClassAware(presence)
    assert sampler.classes == () and sampler.left_out == (0, 1, 2)
    with pytest.raises(DataError, match="no training picture has a nucleus with a class"):
        sampler.draw(np.random.default_rng(0))


@pytest.mark.parametrize("wrong", [3, -1])
def test_a_class_that_there_is_not(wrong: int) -> None:
    images = [picture([0]), picture([1, wrong], "slide_7")]
    with pytest.raises(DataError, match=rf"slide_7: .* class {wrong} .* only 3"):
        class_presence(images, 3, progress=False)


def test_every_picture_is_read_once(capsys: pytest.CaptureFixture[str]) -> None:
    class Counting:
        def __init__(self) -> None:
            self.read: list[int] = []

        def __len__(self) -> int:
            return 3

        def __getitem__(self, index: int, /) -> AnnotatedImage:
            self.read.append(index)
            return picture([0])

    images = Counting()
    class_presence(images, 1, progress=False)
    assert images.read == [0, 1, 2]
    assert capsys.readouterr() == ("", "")


def test_a_rare_class_comes_up_as_often_as_the_rest() -> None:
    presence = np.zeros((500, 4), np.bool_)
    presence[:, 0] = True
    presence[::2, 1] = True
    presence[7, 2] = True
    sampler = ClassAware(presence)
    assert sampler.left_out == (3,)
    draws = 6000
    counts = frequencies(sampler, draws)
    for label in sampler.classes:
        found = sum(count for (_, drawn), count in counts.items() if drawn == label)
        assert abs(found - draws / 3) < bound(draws, 1 / 3)
    assert {index for index, label in counts if label == 2} == {7}
    assert all(presence[index, label] for index, label in counts)


def test_the_pictures_of_a_class_come_up_equally_often() -> None:
    presence = np.array([[True, True], [True, False], [False, True], [True, True]])
    draws = 6000
    counts = frequencies(ClassAware(presence), draws)
    for label in (0, 1):
        for index in np.flatnonzero(presence[:, label]):
            assert abs(counts[int(index), label] - draws / 6) < bound(draws, 1 / 6)


def test_one_class() -> None:
    counts = frequencies(ClassAware(np.ones((2, 1), np.bool_)), 400)
    assert set(counts) == {(0, 0), (1, 0)}
    assert abs(counts[0, 0] - 200) < bound(400, 0.5)


def test_the_seed_decides() -> None:
    sampler = ClassAware(np.ones((50, 3), np.bool_))

    def sequence(seed: int) -> list[tuple[int, int]]:
        return [sampler.draw(np.random.default_rng([seed, n])) for n in range(40)]

    assert sequence(1) == sequence(1)
    assert sequence(1) != sequence(2)


def test_focus_is_on_a_nucleus_of_the_class() -> None:
    image = picture([1, 0, 1, 2])
    rng = np.random.default_rng(0)
    found = [focus(image, 1, rng) for _ in range(400)]
    # Columns 1 and 5, rows 1 to 3, pixels being one wide.
    assert set(found) == {(1.5, 2.5), (5.5, 2.5)}
    assert abs(found.count((1.5, 2.5)) - 200) < bound(400, 0.5)
    assert focus(image, 0, rng) == (3.5, 2.5)


def test_nothing_to_focus_on() -> None:
    rng = np.random.default_rng(0)
    assert focus(picture([0, 1]), 2, rng) is None
    assert focus(picture([]), 0, rng) is None


def test_any_nucleus_where_no_classes_are_known() -> None:
    rng = np.random.default_rng(0)
    assert {focus(picture(None), 3, rng) for _ in range(50)} == {(1.5, 2.5), (3.5, 2.5)}


@given(st.integers(0, 1000))
def test_focus_lies_within_its_nucleus(seed: int) -> None:
    instances = random_ellipses(seed, 50, 70, 8, (6.0, 20.0))
    rng = np.random.default_rng(seed)
    types = rng.integers(0, 3, int(instances.max()) + 1)
    image = AnnotatedImage("blobs", np.zeros((50, 70, 3), np.uint8), instances, types)
    for label in range(3):
        point = focus(image, label, rng)
        assert (point is None) == (label not in types[1:])
        if point is not None:
            number = instances[int(point[1]), int(point[0])]
            assert number > 0 and types[number] == label
