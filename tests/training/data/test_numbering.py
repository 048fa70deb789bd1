"""Label maps become nuclei from 1 to n, each with one class."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nuhtc.runtime.ground.errors import DataError
from nuhtc.training.data.numbering import majority_types, renumber, whole_numbers

MAPS = hnp.arrays(
    np.int64, hnp.array_shapes(min_dims=2, max_dims=2, max_side=8), elements=st.integers(0, 6)
)


@given(MAPS, st.integers(1, 10**6))
def test_numbers_change_and_nuclei_stay(small: np.ndarray, factor: int) -> None:
    raw = small * factor
    instances, numbers = renumber(raw)
    assert instances.dtype == np.int32 and instances.shape == raw.shape
    assert np.array_equal(numbers[instances], raw), "back again"
    assert numbers[0] == 0 and (np.diff(numbers) > 0).all(), "in order"
    assert set(range(1, len(numbers))) == set(np.unique(instances)) - {0}, "no gaps"


def test_a_map_worked_by_hand() -> None:
    instances, numbers = renumber(np.array([[0, 9, 9], [4, 4, 30]]))
    assert instances.tolist() == [[0, 2, 2], [1, 1, 3]]
    assert numbers.tolist() == [0, 4, 9, 30]


@given(MAPS, st.data())
def test_majorities_against_counting(small: np.ndarray, data: st.DataObject) -> None:
    instances, numbers = renumber(small)
    types = data.draw(hnp.arrays(np.int64, small.shape, elements=st.integers(1, 3)))
    found = majority_types(instances, types, 3, "x")
    assert len(found) == len(numbers) and found.dtype == np.int64
    for number in range(1, len(numbers)):
        inside = types[instances == number].tolist()
        most = max(inside.count(one) for one in (1, 2, 3))
        assert found[number] + 1 == min(one for one in (1, 2, 3) if inside.count(one) == most)


def test_pixels_without_a_class_have_no_vote() -> None:
    instances = np.ones((1, 5), np.int32)
    assert majority_types(instances, np.array([[0, 0, 0, 2, 0]]), 3, "x").tolist() == [0, 1]


@pytest.mark.parametrize(
    ("types", "message"),
    [
        ([[1, 0]], "x: type_map and inst_map differ in size"),
        ([[1, 2, 4]], "x: type_map holds class 4, but there are only 3"),
        ([[0, 1, 1]], "x: a nucleus has no class in type_map"),
    ],
)
def test_types_that_do_not_fit(types: list[list[int]], message: str) -> None:
    with pytest.raises(DataError) as caught:
        majority_types(np.array([[1, 2, 2]], np.int32), np.array(types), 3, "x")
    assert str(caught.value) == message


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.uint64, np.float32, np.float64])
def test_whole_numbers_of_any_kind(kind: type) -> None:
    found = whole_numbers(np.array([[0, 7]], kind), "x")
    assert found.dtype == np.int64 and found.tolist() == [[0, 7]]


@pytest.mark.parametrize("value", [-1, -1.0, 0.5, np.nan, np.inf, 2.0**31, 2**40, True, "text", 1j])
def test_numbers_that_count_nothing_are_refused(value: object) -> None:
    with pytest.raises(DataError, match="x must hold whole numbers from 0"):
        whole_numbers(np.array([[value]]), "x")
