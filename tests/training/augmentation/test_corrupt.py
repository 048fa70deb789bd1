"""Corruptions have the strength of the paper's severity 1, and move nothing.

On flat pictures noise shows its law; on a lone bright pixel blur shows its shape.
"""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.colors import hsv_to_rgb, rgb_to_hsv
from numpy.typing import NDArray

from nuhtc.training.augmentation import corrupt as corruptions
from nuhtc.training.augmentation.corrupt import CORRUPTIONS, corrupt, scale_saturation, to_bytes

Change = Callable[[NDArray[np.float32], np.random.Generator], NDArray[np.float32]]

NAMES = {change.__name__: change for change in CORRUPTIONS}


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def flat(value: float, side: int = 200) -> NDArray[np.float32]:
    return np.full((side, side, 3), value, np.float32)


def random_picture(seed: int, side: int = 24) -> NDArray[np.uint8]:
    return generator(seed).integers(0, 256, (side, side, 3)).astype(np.uint8)


def spot() -> NDArray[np.float32]:
    """Darkness with one bright pixel in the middle."""
    picture = flat(0, 41)
    picture[20, 20] = 200
    return picture


def spread(picture: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return mean (x, y) and covariance of a picture's light."""
    light = picture[..., 0].astype(np.float64)
    light /= light.sum()
    y, x = np.mgrid[: light.shape[0], : light.shape[1]]
    places = np.stack([x.ravel(), y.ravel()])
    mean = places @ light.ravel()
    away = places - mean[:, None]
    return mean, (away * light.ravel()) @ away.T


def test_there_are_twelve() -> None:
    assert len(NAMES) == 12


@pytest.mark.parametrize("change", CORRUPTIONS, ids=NAMES)
@pytest.mark.parametrize("shape", [(40, 40, 3), (17, 33, 3), (1, 1, 3)])
def test_every_corruption_keeps_size_and_type(change: Change, shape: tuple[int, ...]) -> None:
    for value in (0, 255):
        found = change(np.full(shape, value, np.float32), generator())
        assert found.shape == shape and found.dtype == np.float32
        assert np.isfinite(found).all()
        assert abs(float(to_bytes(found).mean()) - value) < 60, "no wrap-around"


@pytest.mark.parametrize("change", CORRUPTIONS, ids=NAMES)
def test_the_picture_that_comes_in_stays_as_it_was(change: Change) -> None:
    picture = random_picture(1).astype(np.float32)
    before = picture.copy()
    found = change(picture, generator())
    assert np.array_equal(picture, before)
    assert not np.array_equal(to_bytes(found), before)
    assert np.array_equal(found, change(picture, generator()))


@pytest.mark.parametrize("value", [40, 128, 220])
def test_noise_has_its_strength(value: float) -> None:
    expected = {
        "gaussian_noise": 0.08 * 255,
        "shot_noise": np.sqrt(value * 255 / 60),
        "speckle_noise": 0.15 * value,
    }
    for name, sigma in expected.items():
        found = NAMES[name](flat(value), generator())
        assert float(found.mean()) == pytest.approx(value, abs=4 * sigma / np.sqrt(found.size))
        assert float(found.std()) == pytest.approx(sigma, rel=0.02)
        assert abs(float(np.corrcoef(found[..., 0].ravel(), found[..., 1].ravel())[0, 1])) < 0.03


def test_photons_are_counted() -> None:
    found = NAMES["shot_noise"](flat(100), generator()) * (60 / 255)
    assert np.allclose(found, np.rint(found), atol=1e-3)


def test_impulses_are_black_or_white() -> None:
    found = NAMES["impulse_noise"](flat(128), generator())
    shares = [float((found == value).mean()) for value in (0, 128, 255)]
    assert shares == pytest.approx([0.015, 0.97, 0.015], abs=0.002)


def test_gaussian_blur_is_one_pixel_wide() -> None:
    mean, covariance = spread(NAMES["gaussian_blur"](spot(), generator()))
    assert mean == pytest.approx([20, 20])
    assert covariance == pytest.approx(np.eye(2), abs=0.01)


def test_defocus_is_a_disc() -> None:
    found = NAMES["defocus_blur"](spot(), generator())[..., 0]
    y, x = np.mgrid[-20:21, -20:21]
    disc = x * x + y * y <= 9
    assert disc.sum() == 29
    assert np.allclose(found, np.where(disc, 200 / 29, 0), atol=1e-4)


def test_motion_is_a_line_around_the_pixel() -> None:
    angles = []
    for seed in range(40):
        mean, covariance = spread(NAMES["motion_blur"](spot(), generator(seed)))
        assert np.abs(mean - 20).max() < 0.3, "nuclei stay under their outlines"
        widths, axes = np.linalg.eigh(covariance)
        # Half a Gaussian of sigma 3 in whole pixels: the second moment about its mean.
        along = np.arange(21)
        light = np.exp(-(along**2) / 18)
        light /= light.sum()
        expected = (along**2 * light).sum() - (along * light).sum() ** 2
        assert widths[1] == pytest.approx(expected, rel=0.2) and widths[0] < 0.3
        angles.append(np.degrees(np.arctan2(axes[1, 1], axes[0, 1]) + np.pi / 2) % 180 - 90)
    assert min(angles) > -50 and max(angles) < 50
    assert min(angles) < -25 and max(angles) > 25


@pytest.mark.parametrize("name", ["gaussian_blur", "defocus_blur", "motion_blur", "pixelate"])
def test_blur_leaves_flat_pictures_alone(name: str) -> None:
    assert NAMES[name](flat(90, 30), generator()) == pytest.approx(90, abs=1e-3)


def test_pixels_become_fewer() -> None:
    picture = np.repeat(np.arange(0, 200, 2, dtype=np.float32)[None, :, None], 3, axis=2)
    found = NAMES["pixelate"](np.repeat(picture, 100, axis=0), generator())
    values = found[50, :, 0]
    assert all(b >= a for a, b in pairwise(values))
    assert np.abs(values - picture[0, :, 0]).max() <= 3
    # 60 pixels tell a hundred: two in three are blends or copies of a neighbour.
    assert (np.diff(values) == 0).sum() >= 20


def test_compression_keeps_what_is_smooth_and_drops_what_is_fine() -> None:
    y, x = np.mgrid[:64, :64]
    smooth = np.repeat((x + y)[..., None], 3, axis=2).astype(np.float32) + 60
    assert np.abs(NAMES["jpeg_compression"](smooth, generator()) - smooth).max() < 12
    fine = flat(128, 64) + generator().normal(0, 6, (64, 64, 1)).astype(np.float32)
    assert NAMES["jpeg_compression"](fine, generator()).std() < 0.6 * fine.std()


@settings(max_examples=30)
@given(st.integers(0, 10_000))
def test_brightness_and_saturation_are_those_of_hsv(seed: int) -> None:
    picture = random_picture(seed).astype(np.float32)
    picture[0, 0] = 0
    hsv = rgb_to_hsv(picture.astype(np.float64) / 255)
    brighter = hsv * (1, 1, 1)
    brighter[..., 2] = (hsv[..., 2] + 0.1).clip(max=1)
    expected = hsv_to_rgb(brighter) * 255
    assert NAMES["brightness"](picture, generator()) == pytest.approx(expected, abs=0.01)
    expected = hsv_to_rgb(hsv * (1, 0.3, 1)) * 255
    assert NAMES["saturate"](picture, generator()) == pytest.approx(expected, abs=0.01)
    assert scale_saturation(picture, 1.0) == pytest.approx(picture, abs=1e-4)


def test_contrast_shrinks_towards_each_channels_mean() -> None:
    picture = np.zeros((1, 2, 3), np.float32)
    picture[0, 0], picture[0, 1] = (100, 0, 50), (200, 0, 250)
    found = NAMES["contrast"](picture, generator())
    assert found[0, 0] == pytest.approx([130, 0, 110])
    assert found[0, 1] == pytest.approx([170, 0, 190])


def test_each_corruption_is_as_likely(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = np.zeros(12, int)

    def counting(number: int) -> Change:
        def change(picture: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
            counts[number] += 1
            return picture

        return change

    monkeypatch.setattr(corruptions, "CORRUPTIONS", [counting(i) for i in range(12)])
    picture = random_picture(0, 4)
    for seed in range(2400):
        assert np.array_equal(corrupt(picture, generator(seed), 1 + seed % 3), picture)
    # 200 each, within four standard deviations.
    assert np.abs(counts - 200).max() < 4 * np.sqrt(200 * 11 / 12)


def test_pixels_are_those_of_the_enlarged_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corruptions, "CORRUPTIONS", [NAMES["gaussian_blur"]])
    _, covariance = spread(corrupt(to_bytes(spot()), generator(), 2).astype(np.float32))
    # A quarter of the variance, and a little for the pixels' own width.
    assert 0.25 <= covariance[0, 0] < 0.5

    monkeypatch.setattr(corruptions, "CORRUPTIONS", [NAMES["gaussian_noise"]])
    noisy = corrupt(to_bytes(flat(128)), generator(), 2)
    assert float(noisy.std()) == pytest.approx(0.04 * 255, rel=0.03)
