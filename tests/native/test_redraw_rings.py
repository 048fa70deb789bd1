"""Outlines united and taken away: the twin's rings, and valid ones whatever is drawn."""

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from reference import redraw as twin
from reference.stitch import rings_of

from nuhtc.native.outlines import trace_masks
from nuhtc.native.redraw import redraw_rings

Drawing = tuple[
    NDArray[np.int32], NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_], NDArray[np.int64]
]


def squares(*corners: tuple[int, int]) -> NDArray[np.int32]:
    """Return squares of 4 pixels at their top left corners."""
    square = np.array([(0, 0), (4, 0), (4, 4), (0, 4)], np.int32)
    return (square + np.array(corners, np.int32)[:, None]).reshape(-1, 2)


@st.composite
def drawings(draw: st.DrawFn) -> Drawing:
    """Rings of any shape, some of them empty, and new outlines from some of them in any order."""
    masks = draw(hnp.arrays(bool, (draw(st.integers(1, 5)), 8, 8)))
    corner = draw(hnp.arrays(np.int8, (len(masks), 2), elements=st.integers(0, 8)))
    boxes = np.concatenate([corner, corner + 8], axis=1).astype(np.float32)
    coords, offsets = trace_masks(masks.astype(np.float32), boxes, 16, 16)[:2]
    steps = draw(st.lists(st.tuples(st.integers(0, len(masks) - 1), st.booleans()), max_size=8))
    cuts = draw(st.lists(st.integers(0, len(steps)), max_size=3))
    return (
        coords,
        offsets,
        np.array([ring for ring, _ in steps], np.int64),
        np.array([take for _, take in steps], np.bool_),
        np.array([0, *sorted(cuts), len(steps)], np.int64),
    )


@settings(deadline=None)
@given(drawings())
def test_equals_the_twin_and_every_ring_is_valid(drawing: Drawing) -> None:
    coords, offsets, area, centroid, bbox = redraw_rings(*drawing)
    made = rings_of(coords, offsets)
    expected = twin.redraw_rings(*drawing)
    assert [list(map(tuple, ring.tolist())) for ring in made] == [ring for ring, _ in expected]
    assert area.tolist() == [pixels.sum() for _, pixels in expected]
    for ring, place, box in zip(made, centroid, bbox, strict=True):
        if len(ring):
            polygon = shapely.Polygon(ring)
            assert polygon.is_valid
            assert tuple(box) == polygon.bounds
            np.testing.assert_allclose(place, (polygon.centroid.x, polygon.centroid.y))
        else:
            assert not place.any()
            assert not box.any()


@settings(deadline=None)
@given(drawings(), st.sampled_from([-(2**31), 2**31 - 17]))
def test_the_place_does_not_matter(drawing: Drawing, shift: int) -> None:
    coords, *others = drawing
    moved = (coords.astype(np.int64) + shift).astype(np.int32)
    here, there = redraw_rings(coords, *others), redraw_rings(moved, *others)
    np.testing.assert_array_equal(here[0].astype(np.int64) + shift, there[0])
    for ours, theirs in zip(here[1:3], there[1:3], strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_pieces_are_united_and_a_better_neighbour_takes_its_part() -> None:
    coords = squares((0, 0), (3, 0), (6, 1))
    offsets = np.array([0, 4, 8, 12])
    new, ends, area, _, _ = redraw_rings(
        coords,
        offsets,
        np.array([0, 1, 0, 1, 2]),
        np.array([False, False, False, False, True]),
        np.array([0, 2, 5]),
    )
    assert area.tolist() == [28, 25]
    assert new[: ends[1]].tolist() == [[0, 0], [7, 0], [7, 4], [0, 4]]
    assert new[ends[1] :].tolist() == [[0, 0], [7, 0], [7, 1], [6, 1], [6, 4], [0, 4]]


def test_an_outline_too_wide_to_draw_is_refused() -> None:
    coords = squares((0, 0), (2**15, 0))
    with pytest.raises(ValueError, match="outline 0 would span more than 16384 pixels"):
        redraw_rings(
            coords, np.array([0, 4, 8]), np.arange(2), np.zeros(2, np.bool_), np.array([0, 2])
        )
