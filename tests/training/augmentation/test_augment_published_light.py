"""The published changes of light, each within its range, against matplotlib's HSV."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.colors import hsv_to_rgb, rgb_to_hsv
from numpy.typing import NDArray

from nuhtc.training.augmentation.augment_published import (
    PublishedAugment,
    draw_published_tile,
    turn_hue,
)
from nuhtc.training.data.images import AnnotatedImage

STILL = PublishedAugment(
    photometric=0, swap_channels=0, flip=0, corrupt=0, translate=0, rotate=0, shear=0
)


def relight(rgb: NDArray[np.uint8], seed: int, how: PublishedAugment) -> NDArray[np.uint8]:
    """Return a picture changed as a whole."""
    side = len(rgb)
    image = AnnotatedImage("lit", rgb, np.zeros((side, side), np.int32), None)
    return draw_published_tile(image, side, np.random.default_rng(seed), how, 0.25)[0]


def changed_light(value: tuple[int, int, int], seed: int, how: PublishedAugment) -> list[int]:
    """Return what becomes of a flat colour."""
    rgb = np.full((8, 8, 3), value, np.uint8)
    found = relight(rgb, seed, how)
    assert (found == found[0, 0]).all()
    return [int(channel) for channel in found[0, 0]]


ONE_CHANGE = replace(
    STILL, photometric=1, brightness=0, contrast=(1, 1), saturation=(1, 1), hue=0, bleached=1
)


def test_brightness_adds() -> None:
    how = replace(ONE_CHANGE, brightness=32)
    found = np.array([changed_light((100, 120, 90), seed, how) for seed in range(200)])
    added = found - (100, 120, 90)
    assert (added == added[:, :1]).all()
    assert added.min() in range(-32, -28) and added.max() in range(29, 33)


def test_contrast_multiplies() -> None:
    how = replace(ONE_CHANGE, contrast=(0.5, 1.5))
    found = np.array([changed_light((60, 120, 30), seed, how) for seed in range(200)])
    assert found[:, 1].min() in range(60, 64) and found[:, 1].max() in range(177, 181)
    assert np.abs(found[:, 0] - found[:, 1] / 2).max() <= 1


def test_saturation_keeps_value_and_hue() -> None:
    how = replace(ONE_CHANGE, saturation=(0.5, 1.5))
    found = np.array([changed_light((200, 150, 100), seed, how) for seed in range(200)])
    assert (found[:, 0] == 200).all()
    assert found[:, 2].min() in range(50, 53) and found[:, 2].max() in range(148, 151)
    assert np.abs(found[:, 1] - (200 + found[:, 2]) / 2).max() <= 1


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.floats(-400, 400))
def test_hue_turns_as_in_hsv(seed: int, degrees: float) -> None:
    picture = np.random.default_rng(seed).integers(0, 256, (6, 7, 3)).astype(np.float32)
    picture[0, 0] = 77
    picture[0, 1] = (30, 30, 200)
    hsv = rgb_to_hsv(picture.astype(np.float64) / 255)
    hsv[..., 0] = (hsv[..., 0] + degrees / 360) % 1
    assert turn_hue(picture, degrees) == pytest.approx(hsv_to_rgb(hsv) * 255, abs=0.05)
    assert turn_hue(picture, 120) == pytest.approx(picture[..., [2, 0, 1]], abs=0.01)


def test_hue_keeps_to_its_range() -> None:
    how = replace(ONE_CHANGE, hue=9)
    found = np.array([changed_light((200, 100, 100), seed, how) for seed in range(200)])
    turned = np.degrees(rgb_to_hsv(found / 255)[:, 0] * 2 * np.pi + np.pi) % 360 - 180
    assert -9.5 < turned.min() < -8 and 8 < turned.max() < 9.5


def test_channels_come_in_every_order() -> None:
    how = replace(STILL, swap_channels=0.5)
    found = [tuple(changed_light((10, 20, 30), seed, how)) for seed in range(600)]
    assert {tuple(sorted(colour)) for colour in found} == {(10, 20, 30)}
    counts = sorted(found.count(colour) for colour in set(found))
    assert len(counts) == 6
    assert counts[-1] == pytest.approx(350, abs=50), "as it was: one half and a sixth of the other"


def test_a_light_picture_is_not_bleached() -> None:
    rng = np.random.default_rng(0)
    rgb = rng.integers(180, 241, (64, 64, 3)).astype(np.uint8)
    lighter = replace(ONE_CHANGE, contrast=(1.5, 1.5))
    white = relight(rgb, 0, lighter)
    assert (white == 255).all()
    kept = relight(rgb, 0, replace(lighter, bleached=0.25))
    assert 0.2 < float((kept == 255).mean()) < 0.3
    dark = rgb < 220
    assert float(np.corrcoef(kept[dark], rgb[dark])[0, 1]) > 0.99
