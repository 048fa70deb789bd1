"""Non-maximum suppression: the twin's and torchvision's answer, and its own promises."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from reference import proposals as twin

from nuhtc.native.proposals import nms

Boxes = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]


@st.composite
def scored_boxes(draw: st.DrawFn) -> Boxes:
    """Boxes on a small grid, so that equal ones, equal scores and empty boxes are common."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    count = draw(st.integers(0, 60))
    corner = rng.integers(0, 20, (count, 2))
    boxes = np.concatenate([corner, corner + rng.integers(0, 12, (count, 2))], axis=1)
    scores = rng.integers(0, 8, count) / 8
    return boxes.astype(np.float32), scores.astype(np.float32), rng.integers(0, 3, count)


@settings(deadline=None)
@given(scored_boxes(), st.sampled_from([0.0, 0.3, 0.5, 0.7, 1.0]), st.integers(-1, 20))
def test_equals_the_twin(case: Boxes, threshold: float, most: int) -> None:
    boxes, scores, groups = case
    for group in (None, groups, groups.astype(np.int32)):
        kept = nms(boxes, scores, threshold, group, most)
        wide = None if group is None else group.astype(np.int64)
        assert kept.dtype == np.int64
        np.testing.assert_array_equal(kept, twin.nms(boxes, scores, threshold, wide, most))


def test_equals_torchvision_on_proposals_as_they_come() -> None:
    torch = pytest.importorskip("torch")
    ops = pytest.importorskip("torchvision.ops")
    rng = np.random.default_rng(0)
    centre, side = rng.uniform(0, 512, (2000, 2)), rng.uniform(10, 60, (2000, 2))
    boxes = np.concatenate([centre - side / 2, centre + side / 2], axis=1).astype(np.float32)
    scores = rng.permutation(2000).astype(np.float32)
    for threshold in (0.3, 0.5, 0.7):
        expected = ops.nms(torch.from_numpy(boxes), torch.from_numpy(scores), threshold)
        np.testing.assert_array_equal(nms(boxes, scores, threshold), expected.numpy())


@settings(deadline=None)
@given(scored_boxes(), st.integers(0, 2**32 - 1))
def test_the_order_of_distinct_scores_does_not_matter(case: Boxes, seed: int) -> None:
    boxes, _, groups = case
    rng = np.random.default_rng(seed)
    scores = rng.permutation(len(boxes)).astype(np.float32)
    shuffle = rng.permutation(len(boxes))
    kept = nms(boxes, scores, 0.4, groups)
    again = nms(boxes[shuffle], scores[shuffle], 0.4, groups[shuffle])
    np.testing.assert_array_equal(shuffle[again], kept)


def test_a_threshold_is_compared_in_double_precision_as_torchvision_does() -> None:
    boxes = np.array([[0, 0, 10, 1], [0, 0, 3, 1]], np.float32)
    scores = np.array([0.9, 0.8], np.float32)
    # float32(3) / float32(10) is a little more than 0.3.
    assert nms(boxes, scores, 0.3).tolist() == [0]
    torch = pytest.importorskip("torch")
    ops = pytest.importorskip("torchvision.ops")
    assert ops.nms(torch.from_numpy(boxes), torch.from_numpy(scores), 0.3).tolist() == [0]


def test_only_more_than_the_threshold_suppresses() -> None:
    boxes = np.array([[0, 0, 4, 4], [0, 0, 4, 2]], np.float32)
    scores = np.array([0.9, 0.8], np.float32)
    assert nms(boxes, scores, 0.5).tolist() == [0, 1]
    assert nms(boxes, scores, 0.49).tolist() == [0]
    assert nms(boxes, scores, 0.49, np.array([0, 1])).tolist() == [0, 1]


def test_infinite_scores_are_in_order_and_nan_is_refused() -> None:
    boxes = np.array([[0, 0, 1, 1], [2, 2, 3, 3], [4, 4, 5, 5]], np.float32)
    scores = np.array([-np.inf, 0, np.inf], np.float32)
    assert nms(boxes, scores, 0.5).tolist() == [2, 1, 0]
    scores[1] = np.nan
    with pytest.raises(ValueError, match="scores must not be NaN"):
        nms(boxes, scores, 0.5)


def test_boxes_that_are_not_finite_or_empty_neither_drop_nor_are_dropped() -> None:
    boxes = np.array(
        [[0, 0, 9, 9], [np.nan, 0, 9, 9], [0, 0, np.nan, 9], [-np.inf, 0, np.inf, 9], [3, 3, 3, 3]],
        np.float32,
    )
    scores = np.linspace(1, 0, 5, dtype=np.float32)
    for order in ([0, 1, 2, 3, 4], [4, 3, 2, 1, 0]):
        assert nms(boxes[order], scores, 0.1).tolist() == [0, 1, 2, 3, 4]


def test_no_boxes_and_one_box() -> None:
    none = nms(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), 0.5)
    assert none.shape == (0,)
    assert none.dtype == np.int64
    one = np.array([[0, 0, 1, 1]], np.float32), np.array([0.5], np.float32)
    assert nms(*one, 0.5).tolist() == [0]
    assert nms(*one, 0.5, max_keep=0).tolist() == []


def test_strided_and_read_only_arrays_are_read_as_they_are() -> None:
    rng = np.random.default_rng(1)
    boxes = np.sort(rng.random((40, 8), np.float32) * 30, axis=1)[::2, ::2]
    scores = rng.random(40, np.float32)[::2]
    plain = nms(boxes.copy(), scores.copy(), 0.3)
    boxes.flags.writeable = scores.flags.writeable = False
    np.testing.assert_array_equal(nms(boxes, scores, 0.3), plain)
