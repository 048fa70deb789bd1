"""Outlines of small masks: against the twin, against known shapes, and valid whatever comes."""

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from made.blobs import fill_ring
from numpy.typing import NDArray
from reference import outlines as twin
from scipy import ndimage

from nuhtc.native.outlines import trace_masks

WIDTH, HEIGHT = 41, 37


def ring(outlines: twin.Outlines, index: int) -> NDArray[np.int32]:
    coords, offsets = outlines[:2]
    return coords[offsets[index] : offsets[index + 1]]


def pixels_of(mask: NDArray[np.bool_]) -> twin.Outlines:
    """Trace a mask of pixels as it is: one cell of the small mask lies on each pixel."""
    size = max(mask.shape)
    square = np.zeros((1, size, size), np.float32)
    square[0, : mask.shape[0], : mask.shape[1]] = mask
    return trace_masks(square, np.array([[0, 0, size, size]], np.float32), size, size)


@st.composite
def smooth_nuclei(draw: st.DrawFn) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Masks from noise to smooth blobs, in boxes in, across and beyond a tile's border."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    count, size = draw(st.integers(0, 4)), draw(st.sampled_from([1, 2, 7, 28]))
    noise = rng.random((count, size, size))
    for mask in noise:
        mask[:] = ndimage.gaussian_filter(mask, rng.choice([0, 0.7, 1.5, 3]))
    masks = ((noise - noise.mean()) * 4 + 0.5 if count else noise).clip(0, 1)
    centre = rng.uniform(-8, max(WIDTH, HEIGHT) + 8, (count, 2))
    side = rng.uniform(0, 60, (count, 2)) ** rng.choice([0.2, 1, 1.2], (count, 1))
    boxes = np.concatenate([centre - side / 2, centre + side / 2], axis=1)
    return masks.astype(np.float32), boxes.astype(np.float32)


@settings(deadline=None)
@given(smooth_nuclei(), st.sampled_from([0.5, 0.25, 1.0, 1e-3]))
def test_equals_the_twin_bit_for_bit(
    nuclei: tuple[NDArray[np.float32], NDArray[np.float32]], threshold: float
) -> None:
    fast = trace_masks(*nuclei, WIDTH, HEIGHT, threshold)
    plain = twin.trace_masks(*nuclei, WIDTH, HEIGHT, threshold)
    for ours, theirs in zip(fast, plain, strict=True):
        np.testing.assert_array_equal(ours, theirs, strict=True)


@settings(deadline=None)
@given(smooth_nuclei())
def test_each_ring_is_valid_and_encloses_exactly_its_pixels(
    nuclei: tuple[NDArray[np.float32], NDArray[np.float32]],
) -> None:
    outlines = trace_masks(*nuclei, WIDTH, HEIGHT)
    for i, (mask, box) in enumerate(zip(*nuclei, strict=True)):
        pixels = twin.solid(twin.paste(mask, box, WIDTH, HEIGHT))
        points = ring(outlines, i)
        np.testing.assert_array_equal(fill_ring(points, HEIGHT, WIDTH), pixels)
        area, centroid, bbox = (part[i] for part in outlines[2:])
        assert area == pixels.sum()
        if not len(points):
            continue
        polygon = shapely.Polygon(points)
        assert polygon.is_valid
        assert polygon.area == area
        assert polygon.exterior.is_ccw
        assert tuple(bbox) == polygon.bounds
        np.testing.assert_allclose(centroid, (polygon.centroid.x, polygon.centroid.y), atol=1e-3)
        first_y, first_x = np.argwhere(pixels)[0]
        assert tuple(points[0]) == (first_x, first_y)
        horizontal = (np.roll(points, -1, axis=0) == points)[:, 1]
        assert (horizontal == (np.arange(len(points)) % 2 == 0)).all(), "corners alternate"


@settings(deadline=None)
@given(hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12)))
def test_any_picture_of_pixels_comes_back_as_its_largest_part_filled(
    mask: NDArray[np.bool_],
) -> None:
    size = max(mask.shape)
    square = np.zeros((size, size), bool)
    square[: mask.shape[0], : mask.shape[1]] = mask
    points = ring(pixels_of(mask), 0)
    np.testing.assert_array_equal(fill_ring(points, size, size), twin.solid(square))
    if len(points):
        assert shapely.Polygon(points).is_valid


def test_a_full_mask_is_its_box() -> None:
    full = np.ones((1, 28, 28), np.float32)
    coords, offsets, area, centroid, bbox = trace_masks(
        full, np.array([[10, 20, 15, 27]], np.float32), 64, 64
    )
    assert coords.tolist() == [[10, 20], [15, 20], [15, 27], [10, 27]]
    assert offsets.tolist() == [0, 4]
    assert area.tolist() == [35]
    assert centroid.tolist() == [[12.5, 23.5]]
    assert bbox.tolist() == [[10, 20, 15, 27]]


def test_outlines_end_at_the_tile() -> None:
    full = np.ones((2, 28, 28), np.float32)
    boxes = np.array([[-5, -6, 3, 4], [60, 58, 80, 90]], np.float32)
    assert trace_masks(full, boxes, 64, 60)[4].tolist() == [[0, 0, 3, 4], [60, 58, 64, 60]]


def test_holes_are_filled_and_diagonal_neighbours_are_apart() -> None:
    picture = np.array(
        [
            [1, 1, 1, 0, 0, 1, 1],
            [1, 0, 1, 0, 0, 1, 1],
            [1, 1, 0, 1, 0, 0, 0],
        ],
        bool,
    )
    # The hole opens to the outside at a corner only, which lets no background through; the
    # pixel beyond that corner is a component of its own.
    assert ring(pixels_of(picture), 0).tolist() == [
        [0, 0], [3, 0], [3, 2], [2, 2], [2, 3], [0, 3],
    ]  # fmt: skip


def test_an_island_in_a_hole_is_part_of_the_filled_nucleus() -> None:
    picture = np.ones((7, 7), bool)
    picture[1:6, 1:6] = False
    picture[3, 3] = True
    outlines = pixels_of(picture)
    assert ring(outlines, 0).tolist() == [[0, 0], [7, 0], [7, 7], [0, 7]]
    assert outlines[2].tolist() == [49]


def test_of_equal_components_the_first_in_scan_order_stays() -> None:
    picture = np.zeros((6, 6), bool)
    picture[3:5, 0:2] = True
    picture[1:3, 4:6] = True
    assert pixels_of(picture)[4].tolist() == [[4, 1, 6, 3]]


@settings(deadline=None)
@given(smooth_nuclei(), st.integers(0, 20), st.integers(0, 20))
def test_moving_a_box_by_whole_pixels_moves_the_outline(
    nuclei: tuple[NDArray[np.float32], NDArray[np.float32]], dx: int, dy: int
) -> None:
    masks, boxes = nuclei
    boxes = (boxes * 4).round() / np.float32(4) + np.float32(100)
    before = trace_masks(masks, boxes, 400, 400)
    after = trace_masks(masks, boxes + np.array([dx, dy, dx, dy], np.float32), 400, 400)
    np.testing.assert_array_equal(before[0] + (dx, dy), after[0])
    np.testing.assert_array_equal(before[1], after[1])


@pytest.mark.parametrize(
    "box",
    [
        (np.nan, 0, 5, 5),
        (0, 0, np.inf, 5),
        (-np.inf, -np.inf, np.inf, np.inf),
        (5, 5, 5, 9),
        (9, 5, 5, 9),
        (100, 100, 120, 120),
        (-50, 0, -20, 20),
        (2.0**31, 2.0**31, 2.0**31 + 512, 2.0**31 + 512),
        (-3e38, 1e38, -2e38, 3e38),
    ],
)
def test_a_box_that_cannot_be_gives_an_empty_outline(box: tuple[float, ...]) -> None:
    masks = np.ones((3, 28, 28), np.float32)
    boxes = np.array([(1, 1, 4, 4), box, (2, 2, 6, 6)], np.float32)
    coords, offsets, area, centroid, bbox = trace_masks(masks, boxes, 64, 64)
    assert offsets.tolist() == [0, 4, 4, 8]
    assert area.tolist() == [9, 0, 16]
    assert centroid[1].tolist() == [0, 0]
    assert bbox[1].tolist() == [0, 0, 0, 0]
    assert coords.dtype == np.int32


def test_a_box_far_larger_than_the_tile_fills_it() -> None:
    boxes = np.array([[-1e6, -1e6, 1e6, 1e6]], np.float32)
    coords = trace_masks(np.ones((1, 28, 28), np.float32), boxes, 50, 40)[0]
    assert coords.tolist() == [[0, 0], [50, 0], [50, 40], [0, 40]]


def test_a_pixel_that_touches_nan_is_background() -> None:
    masks = np.ones((1, 8, 8), np.float32)
    masks[0, :, 4:] = np.nan
    bbox = trace_masks(masks, np.array([[0, 0, 8, 8]], np.float32), 8, 8)[4]
    # Pixel 3 lies on cell 3, but its interpolation reaches for cell 4 with weight 0.
    assert bbox.tolist() == [[0, 0, 3, 8]]


def test_an_empty_mask_has_no_points() -> None:
    coords, offsets, area, _, _ = trace_masks(
        np.zeros((2, 28, 28), np.float32), np.array([[0, 0, 9, 9]] * 2, np.float32), 16, 16
    )
    assert coords.shape == (0, 2)
    assert offsets.tolist() == [0, 0, 0]
    assert area.tolist() == [0, 0]


def test_strided_and_read_only_arrays_are_read_as_they_are() -> None:
    rng = np.random.default_rng(0)
    masks = rng.random((6, 28, 56), np.float32)[::2, :, ::2]
    boxes = np.asfortranarray(np.array([[3, 4, 30, 31], [1, 2, 9, 9], [5, 5, 40, 20]], np.float32))
    plain = trace_masks(masks.copy(), boxes.copy("C"), 64, 64)
    masks.flags.writeable = boxes.flags.writeable = False
    for ours, theirs in zip(trace_masks(masks, boxes, 64, 64), plain, strict=True):
        np.testing.assert_array_equal(ours, theirs)
