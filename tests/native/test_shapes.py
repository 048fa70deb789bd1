"""Shapes of nuclei: the twin's, HistomicsTK's, and what is said of those that have none."""

import csv
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray
from places import SHARED
from reference import features as twin
from scipy import ndimage

from nuhtc.native.shapes import COLUMNS, shape_features

GOLDEN = SHARED / "parity" / "features"
Floats = NDArray[np.float64]
Picture = tuple[NDArray[np.int32], NDArray[np.uint8]]


def nuclei_of(label: NDArray[np.int32]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Numbers and boxes of all nuclei of a picture."""
    found = [
        (number, box[1].start, box[0].start, box[1].stop, box[0].stop)
        for number, box in enumerate(ndimage.find_objects(label), start=1)
        if box is not None
    ]
    both = np.array(found, np.int32).reshape(-1, 5)
    return both[:, 0], both[:, 1:]


def shapes(label: NDArray[np.int32], channel: NDArray[np.uint8]) -> dict[str, Floats]:
    """What the kernel says of all nuclei, by column."""
    table = shape_features(label, *nuclei_of(label), channel)
    assert table.dtype == np.float64 and np.isfinite(table).all()
    return dict(zip(COLUMNS, table.T, strict=True))


def one_shape(inside: NDArray[Any], margin: int = 1) -> dict[str, float]:
    """What the kernel says of a single mask away from the edges of its picture."""
    label = np.pad(inside.astype(np.int32), margin)
    return {name: float(values[0]) for name, values in shapes(label, weights_of(label)).items()}


def weights_of(label: NDArray[np.int32]) -> NDArray[np.uint8]:
    return np.random.default_rng(3).integers(0, 256, label.shape, np.uint8)


def twins_shapes(label: NDArray[np.int32], channel: NDArray[np.uint8]) -> dict[str, Floats]:
    """What the twin says; NaN where it says nothing."""
    rows = []
    for number, box in enumerate(ndimage.find_objects(label), start=1):
        if box is None:
            continue
        inside = label[box] == number
        row = twin.morphometry(inside) | twin.fourier_shape(label, number, box)
        values = channel[box].astype(np.float64)
        for name, weights in (("", inside * 1.0), ("Weighted", inside * values)):
            y, x = twin.centre(weights) if weights.any() else (math.nan, math.nan)
            row[f"Identifier.{name}CentroidX"] = box[1].start + x
            row[f"Identifier.{name}CentroidY"] = box[0].start + y
            moments = twin.hu_moments(weights) if weights.any() else [math.nan] * 7
            for place, moment in enumerate(moments, start=1):
                row[f"Shape.{name}HuMoments{place}"] = moment
        rows.append(row)
    assert not rows or set(rows[0]) == set(COLUMNS)
    return {name: np.array([row[name] for row in rows]) for name in COLUMNS}


def assert_like_the_twin(label: NDArray[np.int32], channel: NDArray[np.uint8]) -> None:
    ours, theirs = shapes(label, channel), twins_shapes(label, channel)
    for name in COLUMNS:
        mine, yours = ours[name], theirs[name]
        atol: float | Floats = 1e-10
        if name == "Orientation.Orientation":
            mine, yours = turned_alike(label, mine, yours)
        elif name in ("Size.MinorAxisLength", "Shape.Eccentricity", "Shape.MinorMajorAxisRatio"):
            # Roots of differences: where they should be 0, rounding by 1e-16 shows as 1e-8.
            atol = np.where(yours < 1e-3, 1e-6, atol)
        elif "HuMoments" in name and name[-1] in "567":
            # Differences of products, which may be large where parts lie far apart.
            hu = [np.abs(theirs[f"{name[:-1]}{place}"]) for place in (1, 3, 4)]
            atol = 1e-10 * (1 + hu[2] * (hu[0] if name[-1] == "6" else np.sqrt(hu[1] * hu[2])))
        elif "FSD" in name:
            # Rounded to seven decimals, in rare cases the other way.
            atol = 1.01e-7
        known = np.isfinite(yours)
        wrong = np.abs(mine - yours) > atol + 1e-7 * np.abs(yours)
        assert not wrong[known].any(), (name, mine[wrong & known], yours[wrong & known])


def turned_alike(label: NDArray[np.int32], ours: Floats, theirs: Floats) -> tuple[Floats, Floats]:
    """Orientations as twice their sines and cosines: 90 degrees up is 90 degrees down.

    Where a nucleus spreads alike both ways, the twin's is that of rounding: 45 degrees up or down.
    """
    spreads = []
    for number, _ in zip(*nuclei_of(label), strict=True):
        y, x = np.nonzero(label == number)
        spreads.append((y.var() - x.var(), ((y - y.mean()) * (x - x.mean())).mean()))
    difference, both = np.array(spreads).reshape(-1, 2).T
    tied = np.abs(difference) < 1e-9
    np.testing.assert_allclose(np.abs(ours[tied]), math.pi / 4)
    kept = ~tied & (np.hypot(difference, both) > 1e-6)
    return tuple(np.exp(2j * each[kept]).view(np.float64) for each in (ours, theirs))


@st.composite
def pictures(draw: st.DrawFn) -> Picture:
    """Blobs of noise, from single pixels to half a picture; with holes, at edges, in pieces."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = draw(st.tuples(st.integers(1, 40), st.integers(1, 60)))
    noise = ndimage.gaussian_filter(rng.normal(size=shape), draw(st.floats(0, 4)))
    corners = draw(st.sampled_from([4, 8]))
    structure = ndimage.generate_binary_structure(2, 1 if corners == 4 else 2)
    label, _ = ndimage.label(noise > np.quantile(noise, draw(st.floats(0, 0.98))), structure)
    if pieces := draw(st.integers(0, 3)):
        label = np.where(label, label % pieces + 1, 0)
    if draw(st.booleans()):
        channel = rng.integers(0, 256, shape, np.uint8)
    else:
        channel = np.where(rng.random(shape) < 0.1, 255, 0).astype(np.uint8)
    return label.astype(np.int32), channel


@given(pictures())
def test_equals_the_twin(picture: Picture) -> None:
    assert_like_the_twin(*picture)


@given(st.integers(1, 2**20 - 1), st.sampled_from([(4, 5), (5, 4), (2, 10), (1, 20), (20, 1)]))
@example(1, (1, 20))
@example(3, (20, 1))
def test_small_masks_equal_the_twin_wherever_they_touch_the_edge(
    bits: int, shape: tuple[int, int]
) -> None:
    inside = (bits >> np.arange(20) & 1).reshape(shape).astype(np.int32)
    for before in (0, 1, 9):
        for after in (0, 1, 9):
            for pads in (((before, after), (9, 9)), ((9, 9), (before, after)), (before, after)):
                label = np.pad(inside, pads)
                assert_like_the_twin(label, weights_of(label))


@pytest.mark.skipif(not GOLDEN.exists(), reason="needs ../shared/parity/features")
def test_equals_histomicstk() -> None:
    with np.load(GOLDEN / "histomicstk_input.npz") as found:
        ours = shapes(found["label"].astype(np.int32), found["hematoxylin"])
    with (GOLDEN / "histomicstk_features.csv").open(newline="") as file:
        golden = list(csv.DictReader(file))
    assert tuple(name for name in golden[0] if name in COLUMNS) == COLUMNS, "in the same order"
    for name in COLUMNS:
        theirs = np.array([float(row[name]) for row in golden])
        np.testing.assert_allclose(ours[name], theirs, rtol=1e-6, atol=1e-12, err_msg=name)


def test_a_single_pixel() -> None:
    found = one_shape(np.ones((1, 1)))
    for name, value in {
        "Identifier.CentroidX": 1,
        "Identifier.WeightedCentroidY": 1,
        "Orientation.Orientation": math.pi / 4,
        "Size.Area": 1,
        "Size.ConvexHullArea": 1,
        "Size.MajorAxisLength": 0,
        "Size.MinorAxisLength": 0,
        "Size.Perimeter": 0,
        "Shape.Circularity": 4 * math.pi,
        "Shape.Eccentricity": 0,
        "Shape.EquivalentDiameter": math.sqrt(4 / math.pi),
        "Shape.Extent": 1,
        "Shape.FractalDimension": 0,
        "Shape.MinorMajorAxisRatio": 1,
        "Shape.Solidity": 1,
    }.items():
        assert found[name] == value, name
    assert not any(found[name] for name in COLUMNS if "HuM" in name or "FSD" in name)


def test_without_weights_the_centre_is_the_plain_one_and_weighted_moments_are_0() -> None:
    label = np.zeros((9, 9), np.int32)
    label[2:4, 3:8] = 1
    found = shapes(label, np.where(label, 0, 255).astype(np.uint8))
    assert found["Identifier.WeightedCentroidX"] == found["Identifier.CentroidX"] == 5
    assert found["Identifier.WeightedCentroidY"] == found["Identifier.CentroidY"] == 2.5
    assert not any(found[f"Shape.WeightedHuMoments{place}"] for place in range(1, 8))
    assert found["Shape.HuMoments1"] > 0


def test_the_fractal_dimension_is_0_where_no_box_is_mixed() -> None:
    for side in (4, 8, 16):
        square = np.ones((side, side), bool)
        assert np.isnan(twin.fractal_dimension(square))
        assert one_shape(square)["Shape.FractalDimension"] == 0


def test_orientation_of_what_spreads_alike_both_ways() -> None:
    quarter = math.pi / 4
    assert one_shape(np.ones((5, 5)))["Orientation.Orientation"] == quarter
    assert one_shape(np.eye(3))["Orientation.Orientation"] == -quarter
    assert one_shape(np.eye(3)[::-1])["Orientation.Orientation"] == quarter
    assert one_shape(np.ones((3, 1)))["Orientation.Orientation"] == 0
    assert one_shape(np.ones((1, 3)))["Orientation.Orientation"] == 2 * quarter


def test_what_is_alike_has_the_same_values_wherever_it_lies() -> None:
    y, x = np.indices((21, 31))
    disc = (((y - 10) / 10) ** 2 + ((x - 15) / 15) ** 2 <= 1).astype(np.int32)
    near, far = (np.pad(disc, ((pad, 9), (9, 9))) for pad in (9, 20_000))
    apart = [
        shape_features(label, *nuclei_of(label), np.full(label.shape, 7, np.uint8))[0]
        for label in (near, far)
    ]
    np.testing.assert_array_equal(apart[0][4:], apart[1][4:])
    np.testing.assert_array_equal(apart[1][:4] - apart[0][:4], [0, 19_991, 0, 19_991])


def test_the_largest_box() -> None:
    label = np.ones((4096, 4096), np.int32)
    found = shapes(label, np.full(label.shape, 255, np.uint8))
    assert found["Size.Area"] == found["Size.ConvexHullArea"] == 1 << 24
    assert found["Size.MajorAxisLength"] == found["Size.MinorAxisLength"]
    np.testing.assert_allclose(found["Shape.HuMoments1"], ((1 << 24) - 1) / 6 / (1 << 24))
    np.testing.assert_allclose(
        found["Shape.WeightedHuMoments1"] * 255, found["Shape.HuMoments1"], rtol=1e-12
    )


def test_a_box_larger_than_its_nucleus_changes_nothing() -> None:
    rng = np.random.default_rng(5)
    noise = ndimage.gaussian_filter(rng.normal(size=(40, 60)), 2)
    label = ndimage.label(noise > 0.05)[0].astype(np.int32)
    numbers, boxes = nuclei_of(label)
    channel = weights_of(label)
    loose = np.clip(boxes + np.array([-3, -7, 5, 2]), 0, (60, 40, 60, 40)).astype(np.int32)
    np.testing.assert_array_equal(
        shape_features(label, numbers, loose, channel),
        shape_features(label, numbers, boxes, channel),
    )


def test_every_run_every_order_and_large_numbers_give_the_same() -> None:
    rng = np.random.default_rng(6)
    noise = ndimage.gaussian_filter(rng.normal(size=(40, 60)), 1.5)
    label = ndimage.label(noise > 0.05)[0].astype(np.int32)
    numbers, boxes = nuclei_of(label)
    channel = weights_of(label)
    first = shape_features(label, numbers, boxes, channel)
    np.testing.assert_array_equal(shape_features(label, numbers, boxes, channel), first)
    backwards = shape_features(label, numbers[::-1], boxes[::-1], channel)
    np.testing.assert_array_equal(backwards[::-1], first)
    large = np.where(label, label + (2**31 - 1 - label.max()), 0).astype(np.int32)
    np.testing.assert_array_equal(
        shape_features(large, large.max() - label.max() + numbers, boxes, channel), first
    )


GOOD: dict[str, Any] = {
    "label": np.array([[0, 1, 1, 0], [2, 2, 0, 70_000]], np.int32),
    "numbers": np.array([1, 2, 70_000], np.int32),
    "boxes": np.array([[1, 0, 3, 1], [0, 1, 2, 2], [3, 1, 4, 2]], np.int32),
    "channel": np.full((2, 4), 9, np.uint8),
}


def box_of(*corners: int) -> NDArray[np.int32]:
    boxes: NDArray[np.int32] = GOOD["boxes"].copy()
    boxes[1] = corners
    return boxes


@pytest.mark.parametrize(
    "name, value",
    [
        ("channel", np.zeros((2, 5), np.uint8)),
        ("numbers", np.array([1, 0, 70_000], np.int32)),
        ("numbers", np.array([1, -2, 70_000], np.int32)),
        ("boxes", GOOD["boxes"][:2]),
        ("boxes", box_of(-1, 1, 2, 2)),
        ("boxes", box_of(0, 1, 5, 2)),
        ("boxes", box_of(0, 1, 2, 3)),
        ("boxes", box_of(2, 1, 2, 2)),
        ("boxes", box_of(2, 1, 0, 2)),
        ("boxes", box_of(-(2**31), 1, 2**31 - 1, 2)),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(name: str, value: NDArray[Any]) -> None:
    with pytest.raises(ValueError, match=name):
        shape_features(**{**GOOD, name: value})


def test_a_box_without_its_nucleus_or_too_large_is_refused() -> None:
    with pytest.raises(ValueError, match=r"box 1, \[2, 0, 4, 1\], has no pixel of 2"):
        shape_features(**{**GOOD, "boxes": box_of(2, 0, 4, 1)})
    label = np.ones((1, 4097), np.int32)
    with pytest.raises(ValueError, match="boxes must hold 1 to 4096 pixels a side"):
        shapes(label, label.astype(np.uint8))
