"""What is held out is held out for good, whatever else is in the folder."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from places import SHARED

from nuhtc.training.data.open import open_set
from nuhtc.training.data.splits import is_validation, split

DATA = SHARED / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="data sets absent: ../shared/data")


def test_no_tnbc_patient_is_on_both_sides() -> None:
    for patient in range(1, 12):
        sides = {is_validation("tnbc", f"{patient:02d}_{i}") for i in range(1, 9)}
        assert len(sides) == 1


def test_consep_by_number() -> None:
    held = [i for i in range(1, 28) if is_validation("consep", f"train_{i}")]
    assert held == [3, 8, 13, 18, 23]


@given(st.sampled_from(["consep", "tnbc", "monuseg", "mine"]), st.text(max_size=12))
def test_any_name_falls_on_one_side(dataset: str, name: str) -> None:
    side = is_validation(dataset, name)
    assert isinstance(side, bool) and side == is_validation(dataset, name)


def test_some_of_any_data_set_is_held_out() -> None:
    sides = [is_validation("mine", f"picture_{i:03d}") for i in range(200)]
    assert 0.05 < sum(sides) / len(sides) < 0.4


@needs_data
@pytest.mark.parametrize(
    ("name", "train", "held"), [("consep", 22, 5), ("monuseg", 25, 5), ("tnbc", 41, 9)]
)
def test_the_split_of_the_real_data(name: str, train: int, held: int) -> None:
    dataset = open_set(DATA / name)
    sides = split(dataset)
    assert (len(sides[0]), len(sides[1])) == (train, held)
    assert sorted([*sides[0], *sides[1]]) == list(range(len(dataset)))
    names = dataset.names()
    assert all(is_validation(name, names[index]) for index in sides[1])
    if name == "tnbc":
        patients = [{names[index][:2] for index in side} for side in sides]
        assert not patients[0] & patients[1]


def test_patches_of_one_conic_picture_stay_together() -> None:
    for source in ("consep_1", "crag_22", "glas_3", "pannuke_9"):
        assert len({is_validation("conic", f"{source}-{i:04d}") for i in range(40)}) == 1
    sides = {is_validation("conic", f"dpath_{i}-0000") for i in range(60)}
    assert sides == {True, False}
