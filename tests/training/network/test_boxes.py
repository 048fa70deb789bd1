"""Deltas turn boxes into boxes and back; overlap is what geometry says it is."""

import math

import pytest
import shapely
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from nuhtc.training.network import boxes
from nuhtc.training.network.box_head import STAGE_STDS

UNIT = (1.0, 1.0, 1.0, 1.0)


def quarters(low: int, high: int) -> st.SearchStrategy[float]:
    return st.integers(4 * low, 4 * high).map(lambda n: n / 4)


def one_box(least: int = 4, most: int = 200) -> st.SearchStrategy[list[float]]:
    parts = st.tuples(quarters(-100, 500), quarters(-100, 500), quarters(least, most),
                      quarters(least, most))  # fmt: skip
    return parts.map(lambda p: [p[0], p[1], p[0] + p[2], p[1] + p[3]])


def table(rows: list[list[float]]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64).reshape(-1, 4)


@given(st.lists(st.tuples(one_box(), one_box()), max_size=6), st.sampled_from([UNIT, *STAGE_STDS]))
def test_decoding_undoes_encoding(
    pairs: list[tuple[list[float], list[float]]], stds: tuple[float, float, float, float]
) -> None:
    start, goal = table([a for a, _ in pairs]), table([b for _, b in pairs])
    moved = boxes.decode(start, boxes.encode(start, goal, stds), stds)
    torch.testing.assert_close(moved, goal, rtol=0, atol=1e-6)


def test_decoding_by_hand() -> None:
    # Centre (5, 10) moves by a tenth of the sides; the width doubles.
    start = table([[0, 0, 10, 20]])
    deltas = table([[0.1, -0.1, math.log(2), 0]])
    torch.testing.assert_close(boxes.decode(start, deltas, UNIT), table([[-4, -2, 16, 18]]))
    smaller = boxes.decode(start, deltas / table([[0.1, 0.1, 0.2, 0.2]]), STAGE_STDS[0])
    torch.testing.assert_close(smaller, table([[-4, -2, 16, 18]]))


@given(one_box(), st.sampled_from(STAGE_STDS))
def test_no_delta_leaves_a_box_alone(
    box: list[float], stds: tuple[float, float, float, float]
) -> None:
    torch.testing.assert_close(boxes.decode(table([box]), table([[0] * 4]), stds), table([box]))


def test_no_delta_blows_a_box_up() -> None:
    start = table([[0, 0, 16, 16], [0, 0, 16, 16]])
    moved = boxes.decode(start, table([[0, 0, 1e6, 0], [0, 0, -1e6, 1e6]]), UNIT)
    sides = moved[:, 2:] - moved[:, :2]
    torch.testing.assert_close(sides, torch.tensor([[1000, 16], [0.256, 1000]]).double())


def test_decoding_takes_any_leading_axes() -> None:
    start = table([[0, 0, 10, 20], [5, 5, 9, 9]])[None].expand(3, -1, -1)
    deltas = torch.linspace(-1, 1, 24, dtype=torch.float64).reshape(3, 2, 4)
    moved = boxes.decode(start, deltas, UNIT)
    for i in range(3):
        torch.testing.assert_close(moved[i], boxes.decode(start[i], deltas[i], UNIT))


@given(st.lists(one_box(0, 600), max_size=5))
def test_clipped_boxes_lie_in_the_picture_and_stay_there(rows: list[list[float]]) -> None:
    before = table(rows)
    after = boxes.clip(before, 256, 128)
    assert after.shape == before.shape
    assert bool((after >= 0).all())
    assert bool((after[:, 0::2] <= 256).all()) and bool((after[:, 1::2] <= 128).all())
    inside = (before >= 0).all(dim=1) & (before[:, 2] <= 256) & (before[:, 3] <= 128)
    assert torch.equal(after[inside], before[inside])
    assert torch.equal(boxes.clip(after, 256, 128), after)


def test_clipping_by_hand() -> None:
    before = table([[-5, 10, 300, 140], [260, -9, 270, -3]])
    expected = table([[0, 10, 256, 128], [256, 0, 256, 0]])
    assert torch.equal(boxes.clip(before, 256, 128), expected)


@given(st.lists(one_box(0, 300), max_size=4), st.lists(one_box(0, 300), max_size=4))
def test_overlap_is_shapelys(a: list[list[float]], b: list[list[float]]) -> None:
    found = boxes.iou(table(a), table(b))
    assert found.shape == (len(a), len(b))
    for i, p in enumerate(shapely.box(*table(a).T.numpy()) if a else []):
        for j, q in enumerate(shapely.box(*table(b).T.numpy()) if b else []):
            union = p.area + q.area - p.intersection(q).area
            expected = p.intersection(q).area / union if union else 0.0
            assert float(found[i, j]) == pytest.approx(expected, abs=1e-9)


def test_overlap_by_hand() -> None:
    a = table([[0, 0, 10, 10]])
    b = table([[0, 0, 10, 10], [5, 0, 15, 10], [10, 0, 20, 10], [2, 2, 7, 7], [3, 3, 3, 9]])
    torch.testing.assert_close(boxes.iou(a, b)[0], torch.tensor([1, 1 / 3, 0, 0.25, 0]).double())


def test_an_inside_out_box_overlaps_nothing() -> None:
    assert float(boxes.iou(table([[0, 0, 10, 10]]), table([[8, 8, 2, 2]]))) == 0


def test_overlap_leaves_its_arguments_alone() -> None:
    a, b = table([[0, 0, 10, 10]]), table([[5, 5, 20, 20]])
    kept = a.clone(), b.clone()
    boxes.iou(a, b)
    assert torch.equal(a, kept[0]) and torch.equal(b, kept[1])
