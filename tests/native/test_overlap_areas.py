"""Shared areas of outlines: the twin's, shapely's, and exact wherever on the slide."""

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from reference import stitch as twin

from nuhtc.native.outlines import trace_masks
from nuhtc.native.stitch import overlap_areas

Rings = tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int32]]


@st.composite
def ragged_rings(draw: st.DrawFn) -> Rings:
    """Rings of arbitrary shape, some of them empty, all within 16 x 16 pixels."""
    masks = draw(hnp.arrays(bool, (draw(st.integers(1, 5)), 8, 8)))
    corner = draw(hnp.arrays(np.int8, (len(masks), 2), elements=st.integers(0, 8)))
    boxes = np.concatenate([corner, corner + 8], axis=1).astype(np.float32)
    return trace_masks(masks.astype(np.float32), boxes, 16, 16)[:3]


def all_pairs(count: int) -> NDArray[np.int64]:
    return np.stack(np.meshgrid(np.arange(count), np.arange(count)), axis=-1).reshape(-1, 2)


@settings(deadline=None)
@given(ragged_rings())
def test_equals_the_twin_and_shapely(rings: Rings) -> None:
    coords, offsets, area = rings
    pairs = all_pairs(len(area))
    shared = overlap_areas(coords, offsets, pairs)
    assert shared.dtype == np.int64
    np.testing.assert_array_equal(shared, twin.overlap_areas(coords, offsets, pairs))
    polygons = np.array(
        [shapely.Polygon(ring if len(ring) else None) for ring in twin.rings_of(coords, offsets)]
    )
    expected = shapely.area(shapely.intersection(polygons[pairs[:, 0]], polygons[pairs[:, 1]]))
    np.testing.assert_allclose(shared, expected)
    np.testing.assert_array_equal(shared[pairs[:, 0] == pairs[:, 1]], area)


@settings(deadline=None)
@given(ragged_rings(), st.sampled_from([-(2**31), -12345, 2**31 - 17]))
def test_neither_place_nor_direction_nor_first_point_matters(rings: Rings, shift: int) -> None:
    coords, offsets, area = rings
    pairs = all_pairs(len(area))
    other = (coords.astype(np.int64) + shift).astype(np.int32)
    for ring in twin.rings_of(other, offsets):
        ring[:] = np.roll(ring[::-1], 3, axis=0)
    np.testing.assert_array_equal(
        overlap_areas(other, offsets, pairs), overlap_areas(coords, offsets, pairs)
    )


def test_rings_of_many_points_are_compared_completely() -> None:
    # Combs of 200 teeth: upright ones of every second column, crossed with lying ones.
    upright = [(0, 0)]
    for tooth in range(200):
        upright += [(2 * tooth, 400), (2 * tooth + 1, 400), (2 * tooth + 1, 1), (2 * tooth + 2, 1)]
    upright[-2:] = [(399, 0)]
    comb = np.array(upright, np.int32)
    coords = np.concatenate([comb, comb[:, ::-1]])
    offsets = np.array([0, len(comb), 2 * len(comb)])
    assert overlap_areas(coords, offsets, np.array([[0, 1], [0, 0]])).tolist() == [
        twin.shared_area(comb, comb[:, ::-1]),
        200 * 399 + 399,
    ]


def test_squares_as_large_as_coordinates_allow() -> None:
    low, high = -(2**30), 2**30
    square = [(low, low), (high, low), (high, high), (low, high)]
    coords = np.array([*square, (0, 0), (high, 0), (high, high), (0, high)], np.int32)
    assert overlap_areas(coords, np.array([0, 4, 8]), np.array([[0, 1], [0, 0]])).tolist() == [
        2**60,
        2**62,
    ]


def test_no_rings_and_no_pairs() -> None:
    none = np.zeros((0, 2), np.int32), np.zeros(1, np.int64), np.zeros((0, 2), np.int64)
    assert overlap_areas(*none).shape == (0,)


@pytest.mark.parametrize("pair", [(0, 1), (-1, 0)])
def test_a_pair_must_name_rings(pair: tuple[int, int]) -> None:
    square = np.array([(0, 0), (1, 0), (1, 1), (0, 1)], np.int32)
    with pytest.raises(ValueError, match="pairs must name rings from 0 to 0"):
        overlap_areas(square, np.array([0, 4]), np.array([pair]))


def test_slanted_edges_are_refused() -> None:
    triangle = np.array([(0, 0), (2, 0), (2, 2)], np.int32)
    with pytest.raises(ValueError, match="coords: ring 0"):
        overlap_areas(triangle, np.array([0, 3]), np.zeros((0, 2), np.int64))
