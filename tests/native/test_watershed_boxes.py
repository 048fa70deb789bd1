"""Proposals from a foreground map: the published step's own values, the twin, known shapes."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from places import SHARED
from reference import proposals as twin
from scipy import ndimage

from nuhtc.native.proposals import watershed_boxes

GOLDEN = SHARED / "parity" / "golden.npz"


@pytest.mark.skipif(not GOLDEN.exists(), reason="needs ../shared/parity/golden.npz")
@pytest.mark.parametrize("index, image", [(0, 242), (1, 148)])
@pytest.mark.parametrize("source", ["made-up weights", "realistic map"])
def test_equals_the_published_boxes(index: int, image: int, source: str) -> None:
    with np.load(GOLDEN) as golden:
        if source == "realistic map":
            logits, expected = golden[f"ws_logits_{image}"], golden[f"ws_boxes_{image}"]
        else:
            logits = golden["semantic_logits"][index, 0]
            expected = golden[f"watershed_proposals_{image}"]
    np.testing.assert_array_equal(watershed_boxes(logits, 512, 512), expected[:, :4])


@st.composite
def foreground_maps(draw: st.DrawFn) -> tuple[NDArray[np.float32], int, int]:
    """A random map of any smoothness, one or many pixels wide, and the size to enlarge it to."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    height, width = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    noise = ndimage.gaussian_filter(rng.standard_normal((height, width)), rng.uniform(0, 4))
    logits = 3 * noise / max(float(noise.std()), 1e-3) + rng.uniform(-1, 3)
    return logits.astype(np.float32), draw(st.integers(1, 90)), draw(st.integers(1, 90))


@settings(deadline=None)
@given(foreground_maps(), st.sampled_from([0, 0.3, 1, 2.5]))
def test_equals_the_twin(case: tuple[NDArray[np.float32], int, int], split: float) -> None:
    logits, width, height = case
    # The twin computes in double precision: a pixel at zero may fall to either side.
    assume(np.abs(twin.blur(twin.resize_corners(logits, width, height), 1.1)).min() > 1e-5)
    np.testing.assert_array_equal(
        watershed_boxes(logits, width, height, split=split),
        twin.watershed_boxes(logits, width, height, split=split),
    )


@settings(deadline=None)
@given(foreground_maps(), st.sampled_from([0.3, 1.01, 2.51]))
def test_parts_are_as_many_as_the_maxima_of_such_dynamics(
    case: tuple[NDArray[np.float32], int, int], split: float
) -> None:
    logits, width, height = case
    smooth = twin.blur(twin.resize_corners(logits, width, height), 1.1)
    assume(np.abs(smooth).min() > 1e-5)
    filled = ndimage.binary_fill_holes(smooth > 0)
    assume(not filled.all())
    boxes = watershed_boxes(
        logits, width, height, opening=0, min_area=0, max_fraction=2, split=split
    )
    depth = np.where(filled, ndimage.distance_transform_edt(filled), -1000)
    lowered = reconstruct(depth - split, depth)
    maxima = lowered - reconstruct(lowered - 1e-6, lowered) > 5e-7
    assert len(boxes) == ndimage.label(maxima & filled)[1]


def reconstruct(seed: NDArray[np.float64], ceiling: NDArray[np.float64]) -> NDArray[np.float64]:
    """Let a seed grow along 4-neighbours as far as the ceiling lets it."""
    cross = ndimage.generate_binary_structure(2, 1)
    while True:
        grown = np.minimum(ndimage.grey_dilation(seed, footprint=cross), ceiling)
        if np.array_equal(grown, seed):
            return seed
        seed = grown


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_finds_exactly_the_rectangles_that_are_there(seed: int) -> None:
    rng = np.random.default_rng(seed)
    logits = np.full((100, 120), -8, np.float32)
    truth = []
    for _ in range(12):
        # Large enough to pass the opening though the blur has rounded their corners.
        width, height = rng.integers(12, 30, 2)
        # A gap of one or two pixels to the border would close: the blur mirrors there.
        x, y = rng.integers(3, 117 - width), rng.integers(3, 97 - height)
        if (logits[max(y - 6, 0) : y + height + 6, max(x - 6, 0) : x + width + 6] < 0).all():
            logits[y : y + height, x : x + width] = 8
            truth.append((x, y, x + width, y + height))
    boxes = watershed_boxes(logits, 120, 100)
    assert set(map(tuple, boxes.tolist())) == set(truth)
    assert (np.diff(boxes[:, 1]) >= 0).all(), "scan order"


def framed(size: int, frame: int) -> NDArray[np.float32]:
    """Make a square whose frame is foreground and whose middle is a hole."""
    logits = np.full((100, 100), -8, np.float32)
    logits[20 : 20 + size, 20 : 20 + size] = 8
    logits[20 + frame : 20 + size - frame, 20 + frame : 20 + size - frame] = -8
    return logits


def test_a_hole_counts_as_area_of_its_component() -> None:
    ring = framed(48, 14)
    assert watershed_boxes(ring, 100, 100).tolist() == [[20, 20, 68, 68]]
    # The frame alone has 1,904 pixels, with its hole 2,304.
    assert len(watershed_boxes(ring, 100, 100, max_fraction=0.21)) == 0


def test_components_as_large_as_the_limits_are_dropped() -> None:
    logits = np.full((64, 64), 8, np.float32)
    assert watershed_boxes(logits, 64, 64).tolist() == []
    assert watershed_boxes(logits, 64, 64, max_fraction=1).tolist() == []
    assert watershed_boxes(logits, 64, 64, max_fraction=1.01).tolist() == [[0, 0, 64, 64]]
    few = np.full((64, 64), -8, np.float32)
    few[10:21, 10] = 8
    few[10:21, 11] = 100
    assert len(watershed_boxes(few, 64, 64, opening=0, min_area=0)) == 1
    assert len(watershed_boxes(few, 64, 64)) == 0, "the opening wipes out what is thin"


@pytest.mark.parametrize("shape", [(0, 0), (0, 5), (5, 0)])
def test_a_map_without_pixels_has_no_boxes(shape: tuple[int, int]) -> None:
    boxes = watershed_boxes(np.zeros(shape, np.float32), 64, 64)
    assert boxes.shape == (0, 4)
    assert boxes.dtype == np.float32


@pytest.mark.parametrize("value", [np.nan, -np.inf, 0.0])
def test_what_is_not_positive_is_background(value: float) -> None:
    assert len(watershed_boxes(np.full((32, 32), value, np.float32), 64, 64)) == 0


def test_nan_takes_away_only_its_surroundings() -> None:
    logits = np.full((60, 100), -8, np.float32)
    logits[10:30, 10:30] = logits[10:30, 60:80] = 8
    logits[20, 70] = np.nan
    assert watershed_boxes(logits, 100, 60)[0].tolist() == [10, 10, 30, 30]


def test_a_strided_read_only_map_is_read_as_it_is() -> None:
    rng = np.random.default_rng(3)
    logits = ndimage.gaussian_filter(rng.standard_normal((60, 80)), 3).astype(np.float32)
    view = logits.T[::2]
    view.flags.writeable = False
    np.testing.assert_array_equal(
        watershed_boxes(view, 160, 120), watershed_boxes(view.copy(), 160, 120)
    )
