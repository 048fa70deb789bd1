"""Textures of nuclei: the twin's, HistomicsTK's own, and what is said where neither has a value."""

import csv
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from places import SHARED
from reference import features as twin
from scipy import ndimage

from nuhtc.native.textures import COLUMNS, canny_edges, texture_features

GOLDEN = SHARED / "parity" / "features"

# The twin's covariance and variance are differences of squares, up to 961, divided by each other.
# IMC2 is the root of a difference of entropies: rounding by 1e-16 is 1e-8 there.
LOOSER = {"Correlation": 1e-8, "IMC2": 1e-7}

Picture = tuple[NDArray[np.int32], NDArray[np.uint8]]


def smoothed(channel: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return what the twin's `canny` looks for edges in."""
    image = channel / 255
    covered = ndimage.gaussian_filter(np.ones_like(image), 1, mode="constant")
    smooth: NDArray[np.float64] = ndimage.gaussian_filter(image, 1, mode="constant")
    return smooth / (covered + np.finfo(float).eps)


def nuclei_of(label: NDArray[np.int32]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return the numbers that occur, and their boxes."""
    numbers, boxes = [], []
    for number, found in enumerate(ndimage.find_objects(label), start=1):
        if found is not None:
            numbers.append(number)
            boxes.append([found[1].start, found[0].start, found[1].stop, found[0].stop])
    return np.array(numbers, np.int32), np.array(boxes, np.int32).reshape(-1, 4)


def described(label: NDArray[np.int32], channel: NDArray[np.uint8]) -> NDArray[np.float64]:
    return texture_features(label, *nuclei_of(label), channel, canny_edges(smoothed(channel)))


def expected(label: NDArray[np.int32], channel: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the twin's columns, with 0 for NaN and lengths of gradients rounded correctly."""
    down, across = np.gradient(channel.astype(np.float64))
    slope, edges = np.sqrt(down**2 + across**2), twin.canny(channel)
    rows = []
    for number, (x0, y0, x1, y1) in zip(*nuclei_of(label), strict=True):
        inside = label == number
        gradient = twin.gradient(slope[inside], edges[inside])
        if np.ptp(slope[inside]) == 0:
            # Of equal values whose mean is rounded the twin has the skewness of that rounding.
            gradient["Mag.Skewness"] = gradient["Mag.Kurtosis"] = float("nan")
        row = {
            "Intensity": twin.intensity(channel[inside]),
            "Gradient": gradient,
            "Haralick": twin.haralick(channel[y0 : y1 + 1, x0 : x1 + 1]),
        }
        found = {f"Nucleus.{group}.{k}": v for group, of in row.items() for k, v in of.items()}
        assert tuple(found) == COLUMNS
        rows.append(list(found.values()))
    return np.nan_to_num(np.array(rows).reshape(-1, len(COLUMNS)))


def assert_alike(found: NDArray[np.float64], wanted: NDArray[np.float64], rtol: float) -> None:
    assert np.isfinite(found).all()
    for place, name in enumerate(COLUMNS):
        atol = next((atol for part, atol in LOOSER.items() if part in name), 1e-10)
        np.testing.assert_allclose(
            found[:, place], wanted[:, place], rtol=rtol, atol=atol, err_msg=name
        )


@st.composite
def pictures(draw: st.DrawFn) -> Picture:
    """Nuclei of one pixel to half the picture, ragged, with holes and of several parts."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    shape = (draw(st.integers(2, 40)), draw(st.integers(2, 60)))
    noise = ndimage.gaussian_filter(rng.random(shape), draw(st.sampled_from([0, 0.6, 1, 2, 4])))
    grey = (noise - noise.min()) / max(float(np.ptp(noise)), 1e-9)
    low = draw(st.integers(0, 255))
    channel = (low + grey * draw(st.integers(0, 255 - low))).astype(np.uint8)
    step = draw(st.sampled_from([1, 1, 2, 9, 50, 100]))
    blobs = ndimage.gaussian_filter(rng.random(shape), draw(st.sampled_from([0, 0.5, 1, 2])))
    label = ndimage.label(blobs > np.quantile(blobs, draw(st.sampled_from([0, 0.3, 0.5, 0.8]))))[0]
    if draw(st.booleans()):
        label[label > 0] = label[label > 0] % 5 + 1
    return label.astype(np.int32), channel // step * step


@settings(deadline=None)
@given(pictures())
def test_every_column_and_edge_is_the_twins(picture: Picture) -> None:
    label, channel = picture
    np.testing.assert_array_equal(canny_edges(smoothed(channel)), twin.canny(channel), strict=True)
    assert_alike(described(label, channel), expected(label, channel), rtol=1e-7)


@settings(deadline=None, max_examples=20)
@given(pictures(), st.integers(0, 2**32))
def test_neither_order_nor_number_nor_neighbours_matter(picture: Picture, seed: int) -> None:
    label, channel = picture
    numbers, boxes = nuclei_of(label)
    edges = canny_edges(smoothed(channel))
    before = [each.copy() for each in (label, channel, edges)]
    found = texture_features(label, numbers, boxes, channel, edges)
    order = np.random.default_rng(seed).permutation(len(numbers))
    large = np.where(label > 0, label + 70_000, 0).astype(np.int32)
    other = texture_features(large, numbers[order] + np.int32(70_000), boxes[order], channel, edges)
    assert other.tobytes() == found[order].tobytes()
    for each, number, box in zip(found, numbers, boxes, strict=True):
        alone = np.where(label == number, label, 0)
        assert (
            texture_features(alone, np.array([number]), box[None], channel, edges).tobytes()
            == each.tobytes()
        )
    for each, now in zip(before, (label, channel, edges), strict=True):
        np.testing.assert_array_equal(each, now)


def test_threads_get_the_same() -> None:
    rng = np.random.default_rng(1)
    label = ndimage.label(ndimage.gaussian_filter(rng.random((200, 300)), 2) > 0.5)[0]
    channel = rng.integers(0, 256, label.shape, np.uint8)
    label = label.astype(np.int32)
    once = described(label, channel)
    with ThreadPoolExecutor(4) as pool:
        for again in pool.map(lambda _: described(label, channel), range(8)):
            assert again.tobytes() == once.tobytes()


@pytest.mark.skipif(not GOLDEN.exists(), reason="needs ../shared/parity/features")
def test_every_column_is_histomicstks_own() -> None:
    with np.load(GOLDEN / "histomicstk_input.npz") as found:
        label, channel = found["label"].astype(np.int32), found["hematoxylin"]
    with (GOLDEN / "histomicstk_features.csv").open(newline="") as file:
        golden = list(csv.DictReader(file))
    wanted = np.array([[float(row[name] or "nan") for name in COLUMNS] for row in golden])
    assert [name for name in golden[0] if name.startswith("Nucleus.")] == list(COLUMNS)
    assert_alike(described(label, channel), np.nan_to_num(wanted), rtol=1e-6)


def column(found: NDArray[np.float64], name: str) -> list[float]:
    values: list[float] = found[:, COLUMNS.index(f"Nucleus.{name}")].tolist()
    return values


def test_one_pixel_and_flat_ground_have_no_shape_of_distribution() -> None:
    label = np.zeros((30, 40), np.int32)
    label[5:9, 10:14], label[20, 20], label[29, 39] = 1, 2, 3
    found = described(label, np.full(label.shape, 100, np.uint8))
    for name in ("Intensity.Skewness", "Intensity.Kurtosis", "Intensity.Std", "Intensity.IQR"):
        assert column(found, name) == [0, 0, 0]
    for name in ("Mag.Mean", "Mag.Std", "Mag.Skewness", "Mag.Kurtosis", "Mag.HistEntropy"):
        assert column(found, f"Gradient.{name}") == [0, 0, 0]
    assert column(found, "Intensity.HistEnergy") == column(found, "Gradient.Mag.HistEnergy")
    assert column(found, "Intensity.HistEnergy") == [1, 1, 1]
    assert column(found, "Haralick.Correlation.Mean") == [0, 0, 0]
    # The last one's box is a single pixel at the picture's corner: there are no pairs at all.
    assert column(found, "Haralick.ASM.Mean") == [1, 1, 0]
    haralick = found[2, COLUMNS.index("Nucleus.Haralick.ASM.Mean") :]
    assert haralick.tolist() == [0] * 26


def test_equal_slopes_are_constant_however_their_mean_is_rounded() -> None:
    """A slope along both axes: HistomicsTK would have a skewness of 1 or 0 by the picture."""
    label = np.zeros((12, 40), np.int32)
    label[3:8, 5:34] = 1
    y, x = np.indices(label.shape)
    found = described(label, (3 * x + 7 * y).astype(np.uint8))
    assert column(found, "Gradient.Mag.Mean") == [pytest.approx(np.sqrt(58), rel=1e-15)]
    for name in ("Std", "Skewness", "Kurtosis", "HistEntropy"):
        assert column(found, f"Gradient.Mag.{name}") == [0]


@pytest.mark.parametrize("turned", [False, True])
def test_a_last_row_or_column_has_pairs_along_it_only(turned: bool) -> None:
    label = np.zeros((5, 9), np.int32)
    label[4] = 1
    channel = np.zeros(label.shape, np.uint8)
    channel[4] = [0, 255, 0, 255, 0, 255, 0, 255, 0]
    if turned:
        label, channel = label.T.copy(), channel.T.copy()
    found = described(label, channel)
    with np.errstate(invalid="ignore"):
        assert np.isnan(
            twin.haralick(channel[4:, :] if not turned else channel[:, 4:])["IMC1.Mean"]
        )
    assert column(found, "Haralick.IMC1.Mean") == column(found, "Haralick.IMC1.Range") == [0]
    # One direction of four has pairs, all of them 0 beside 31.
    assert column(found, "Haralick.Contrast.Mean") == [31**2 / 4]
    assert column(found, "Haralick.Correlation.Range") == [1]


@pytest.mark.parametrize("shape", [(1, 9), (9, 1), (1, 1)])
def test_a_picture_of_one_row_has_no_slope_across_it(shape: tuple[int, int]) -> None:
    size = shape[0] * shape[1]
    channel = (np.arange(size) ** 2).astype(np.uint8).reshape(shape)
    label, edges = np.ones(shape, np.int32), np.zeros(shape, np.bool_)
    box = np.array([[0, 0, shape[1], shape[0]]], np.int32)
    found = texture_features(label, np.array([1], np.int32), box, channel, edges)
    assert np.isfinite(found).all()
    slopes = np.gradient(np.arange(size, dtype=float) ** 2) if size > 1 else np.zeros(1)
    assert column(found, "Gradient.Mag.Mean") == [pytest.approx(slopes.mean())]
    assert not canny_edges(channel / 255).any()


def test_many_pixels_of_few_values_are_counted_exactly() -> None:
    label = np.ones((600, 700), np.int32)
    channel = np.full(label.shape, 17, np.uint8)
    channel[300:, :] = 250
    channel[0, 0] = 0
    assert_alike(described(label, channel), expected(label, channel), rtol=1e-7)


GOOD: dict[str, NDArray[np.generic]] = {
    "label": np.ones((4, 5), np.int32),
    "numbers": np.ones(2, np.int32),
    "boxes": np.array([[0, 0, 5, 4], [1, 1, 2, 2]], np.int32),
    "channel": np.ones((4, 5), np.uint8),
    "edges": np.ones((4, 5), np.bool_),
}


@pytest.mark.parametrize(
    "box", [(-1, 0, 2, 2), (0, -1, 2, 2), (0, 0, 6, 2), (0, 0, 2, 5), (3, 0, 3, 2), (0, 3, 2, 1)]
)
def test_a_box_must_lie_in_the_picture(box: tuple[int, ...]) -> None:
    boxes = np.array([[0, 0, 5, 4], box], np.int32)
    with pytest.raises(ValueError, match=r"boxes must .* picture of 5 x 4: box 1 is"):
        texture_features(**{**GOOD, "boxes": boxes})


def test_the_ends_of_the_range_are_refused() -> None:
    low, high = -(2**31), 2**31 - 1
    boxes = np.array([[low, low, high, high]] * 2, np.int32)
    with pytest.raises(ValueError, match="boxes"):
        texture_features(**{**GOOD, "boxes": boxes})
    with pytest.raises(ValueError, match="numbers must be at least 1, not -2147483648"):
        texture_features(**{**GOOD, "numbers": np.array([1, low], np.int32)})


def test_no_nucleus_is_called_0() -> None:
    with pytest.raises(ValueError, match="numbers must be at least 1, not 0"):
        texture_features(**{**GOOD, "numbers": np.array([1, 0], np.int32)})


def test_a_box_without_its_nucleus_is_named() -> None:
    with pytest.raises(ValueError, match=r"boxes must .* box 1 holds none of number 7"):
        texture_features(**{**GOOD, "numbers": np.array([1, 7], np.int32)})


def test_edges_are_found_in_float64_only() -> None:
    smooth = np.ones((4, 5))
    assert canny_edges(smooth).dtype == np.bool_ and not canny_edges(smooth).any()
    assert canny_edges(np.zeros((0, 5))).shape == (0, 5)
    with pytest.raises(TypeError, match="smooth must be a NumPy array, not list"):
        canny_edges(smooth.tolist())  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="smooth must have dtype float64"):
        canny_edges(smooth.astype(np.float32))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="smooth must have shape"):
        canny_edges(smooth[0])


def test_a_weak_ridge_stays_where_it_hangs_on_a_strong_one() -> None:
    """A step that fades along its length, once by itself and once growing steep."""
    height = np.linspace(0.03, 0.045, 30)[:, None]
    weak = np.where(np.arange(20) >= 10, height, 0)
    strong = np.where(np.arange(20) >= 10, height * 1.5, 0)
    assert not canny_edges(weak).any()
    found = canny_edges(strong)
    assert found[1:-1].any(axis=1).all() and not found[[0, -1]].any()
    np.testing.assert_array_equal(canny_edges(np.asfortranarray(strong)), found)
