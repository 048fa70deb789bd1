"""The published augmentation: each change within its range, and the truth moves along.

Pictures whose pixels tell their own position show where each tile pixel came from.
"""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from made.blobs import random_ellipses
from numpy.typing import NDArray
from scipy import ndimage

from nuhtc.training.augmentation import augment_published
from nuhtc.training.augmentation.augment_published import (
    FILL,
    PublishedAugment,
    draw_published_tile,
)
from nuhtc.training.augmentation.random_tiles import make_targets
from nuhtc.training.data.images import AnnotatedImage

STILL = PublishedAugment(
    photometric=0, swap_channels=0, flip=0, corrupt=0, translate=0, rotate=0, shear=0
)
MOVING = PublishedAugment(photometric=0, swap_channels=0, corrupt=0)

Tile = tuple[NDArray[np.uint8], NDArray[np.int32]]


def draw(
    image: AnnotatedImage,
    size: int,
    seed: int,
    how: PublishedAugment = STILL,
    mpp: float = 0.25,
    centre: tuple[float, float] | None = None,
) -> Tile:
    return draw_published_tile(image, size, np.random.default_rng(seed), how, mpp, centre)


def positions(height: int, width: int, mpp: float = 0.25) -> AnnotatedImage:
    """Each pixel is its own nucleus, red is its column and green its row."""
    row, column = np.mgrid[:height, :width]
    rgb = np.stack([column, row, np.zeros_like(row)], axis=-1).astype(np.uint8)
    return AnnotatedImage("positions", rgb, (row * width + column + 1).astype(np.int32), None, mpp)


def painted(seed: int, side: int = 96) -> tuple[AnnotatedImage, NDArray[np.uint8]]:
    """Return blobs, each of one colour, on the grey that fills; and the colours."""
    instances = random_ellipses(seed, side, side, 25, (8.0, 24.0))
    colours = np.random.default_rng(seed).integers(0, 256, (int(instances.max()) + 1, 3))
    colours[0] = FILL
    palette = colours.astype(np.uint8)
    return AnnotatedImage("painted", palette[instances], instances, None), palette


def sources(instances: NDArray[np.int32], width: int) -> tuple[NDArray[np.float64], ...]:
    """Return (row, column) of tile pixels inside the picture, and (row, column) there."""
    row, column = np.divmod(instances[instances > 0] - 1, width)
    return (*(a.astype(float) for a in np.nonzero(instances)), row * 1.0, column * 1.0)


def test_nothing_changes_without_changes() -> None:
    image = positions(200, 200)
    for seed in range(12):
        rgb, instances = draw(image, 200, seed)
        assert np.array_equal(rgb, image.rgb) and np.array_equal(instances, image.instances)
        assert rgb.dtype == np.uint8 and instances.dtype == np.int32
        assert rgb.flags.writeable and instances.flags.writeable


def test_the_picture_stays_as_it_was() -> None:
    image, _ = painted(0)
    before = image.rgb.copy(), image.instances.copy()
    for seed in range(20):
        draw(image, 96, seed, PublishedAugment(photometric=1, corrupt=1))
    assert np.array_equal(image.rgb, before[0]) and np.array_equal(image.instances, before[1])


def test_the_seed_decides() -> None:
    image, _ = painted(1)
    for seed in range(10):
        first, second = (draw(image, 96, seed, PublishedAugment()) for _ in range(2))
        assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    assert not np.array_equal(first[0], draw(image, 96, 99, PublishedAugment())[0])


@settings(max_examples=60)
@given(st.integers(0, 100_000))
def test_label_and_colour_agree(seed: int) -> None:
    image, palette = painted(seed % 50)
    rgb, instances = draw(image, 96, seed, MOVING)
    assert set(np.unique(instances)) <= set(range(len(palette)))
    # Bilinear sampling blends colours along the edges only.
    around = {"size": 3, "mode": "constant", "cval": -1}
    plain = ndimage.maximum_filter(instances, **around) == ndimage.minimum_filter(
        instances, **around
    )
    assert plain.mean() > 0.5
    assert np.array_equal(rgb[plain], palette[instances][plain])
    targets = make_targets(rgb, instances, None)
    for i, box in enumerate(targets.boxes.tolist()):
        y, x = np.nonzero(targets.instances.numpy() == i + 1)
        assert box == [x.min(), y.min(), x.max() + 1, y.max() + 1]


@settings(max_examples=60)
@given(st.integers(0, 100_000))
@example(5049)  # an edge that Pillow puts inside for colours and outside for numbers
def test_what_comes_into_view_is_empty(seed: int) -> None:
    rgb, instances = draw(positions(128, 128), 128, seed, MOVING)
    assert (rgb[instances == 0] == FILL).all()
    row, column = np.divmod(instances - 1, 128)
    inside = instances > 0
    assert np.abs(rgb[..., 0].astype(int) - column)[inside].max() <= 1
    assert np.abs(rgb[..., 1].astype(int) - row)[inside].max() <= 1


def test_each_movement_keeps_to_its_range() -> None:
    side = 160
    kinds = dict.fromkeys(("x", "y", "xy", "turn", "shear"), 0)
    extremes = dict.fromkeys(kinds, 0.0)
    how = replace(MOVING, flip=0)
    for seed in range(600):
        _, instances = draw(positions(side, side), side, seed, how)
        y, x, v, u = sources(instances, side)
        # Least squares: tile = matrix @ picture + shift.
        known = np.stack([u, v, np.ones_like(u)], axis=1)
        fit, *_ = np.linalg.lstsq(known, np.stack([x, y], axis=1), rcond=None)
        matrix, shift = fit[:2].T, fit[2]
        if np.allclose(matrix, np.eye(2), atol=1e-9):
            kind = {(True, False): "x", (False, True): "y"}.get(tuple(abs(shift) > 0.5), "xy")
            amount = float(abs(shift).max()) / side
            assert amount <= 0.1 + 0.5 / side
            assert np.allclose(shift, np.rint(shift), atol=1e-6)
        elif abs(matrix[0, 0] - matrix[1, 1]) < 2e-3 and abs(matrix[0, 1] + matrix[1, 0]) < 2e-3:
            kind = "turn"
            amount = abs(float(np.degrees(np.arcsin(matrix[1, 0]))))
            middle = matrix @ ((side - 1) / 2, (side - 1) / 2) + shift
            assert np.abs(middle - (side - 1) / 2).max() < 0.1
        else:
            kind = "shear"
            # In x, then in y: [[1, a], [b, 1 + a b]].
            a, b = float(matrix[0, 1]), float(matrix[1, 0])
            assert matrix[0, 0] == pytest.approx(1, abs=2e-3)
            assert matrix[1, 1] == pytest.approx(1 + a * b, abs=2e-3)
            assert np.abs(matrix @ (-0.5, -0.5) + shift + 0.5).max() < 0.5, "about the corner"
            amount = float(np.degrees(np.arctan(max(abs(a), abs(b)))))
        if kind in ("turn", "shear"):
            assert amount < 10.1
        kinds[kind] += 1
        extremes[kind] = max(extremes[kind], amount)
    # 120 each, within four standard deviations (and the few that round to no movement).
    assert all(abs(count - 120) < 4 * np.sqrt(600 * 0.2 * 0.8) for count in kinds.values())
    assert all(extremes[kind] > 0.09 for kind in ("x", "y", "xy"))
    assert all(extremes[kind] > 9 for kind in ("turn", "shear"))


def test_mirror_images() -> None:
    image = positions(40, 40)
    wanted = {
        "none": image.instances,
        "left-right": image.instances[:, ::-1],
        "up-down": image.instances[::-1],
        "both": image.instances[::-1, ::-1],
    }
    counts = dict.fromkeys(wanted, 0)
    for seed in range(600):
        rgb, instances = draw(image, 40, seed, replace(STILL, flip=0.5))
        (kind,) = (name for name, known in wanted.items() if np.array_equal(known, instances))
        counts[kind] += 1
        assert np.array_equal(rgb[..., 0], (instances - 1) % 40)
    assert abs(counts.pop("none") - 300) < 4 * np.sqrt(150)
    assert all(abs(count - 100) < 4 * np.sqrt(600 / 6 * 5 / 6) for count in counts.values())


@settings(max_examples=50)
@given(st.integers(0, 10_000), st.integers(64, 120), st.integers(64, 120))
def test_a_window_of_a_larger_picture(seed: int, height: int, width: int) -> None:
    image = positions(height, width)
    rgb, instances = draw(image, 64, seed)
    y, x = divmod(int(instances[0, 0]) - 1, width)
    assert np.array_equal(instances, image.instances[y : y + 64, x : x + 64])
    assert np.array_equal(rgb, image.rgb[y : y + 64, x : x + 64])


def test_every_window_comes_up() -> None:
    image = positions(34, 33)
    corners = {int(draw(image, 32, seed)[1][0, 0]) for seed in range(200)}
    assert corners == {1, 2, 34, 35, 67, 68}


@settings(max_examples=80)
@given(st.integers(0, 10_000), st.floats(0.3, 99.7), st.floats(0.3, 79.7))
def test_the_window_holds_the_centre(seed: int, x: float, y: float) -> None:
    image = positions(80, 100)
    _, instances = draw(image, 32, seed, centre=(x, y))
    assert (instances > 0).all(), "within the picture"
    assert int(y) * 100 + int(x) + 1 in instances or min(x % 1, y % 1) == 0


def test_the_centre_may_be_anywhere_in_the_window() -> None:
    image = positions(100, 100)
    corners = [divmod(int(draw(image, 8, s, centre=(50.5, 20.5))[1][0, 0]) - 1, 100)
               for s in range(400)]  # fmt: skip
    assert {row for row, _ in corners} == set(range(13, 21))
    assert {column for _, column in corners} == set(range(43, 51))


@settings(max_examples=30)
@given(st.integers(0, 10_000), st.integers(1, 40), st.integers(1, 90))
def test_a_smaller_picture_is_whole_and_alone(seed: int, height: int, width: int) -> None:
    image = positions(height, width)
    rgb, instances = draw(image, 40, seed, centre=(width / 2, height / 2))
    shown = sorted(instances[instances > 0])
    assert len(shown) == height * min(width, 40) == len(set(shown))
    assert (rgb[instances == 0] == FILL).all()


@pytest.mark.parametrize(("picture_mpp", "scale"), [(0.5, 2.0), (0.125, 0.5), (0.2425, 0.97)])
def test_another_resolution(picture_mpp: float, scale: float) -> None:
    image = positions(200, 200, picture_mpp)
    for seed in range(8):
        rgb, instances = draw(image, 64, seed)
        assert rgb.shape == (64, 64, 3) and (instances > 0).all()
        y, x, v, u = sources(instances, 200)
        for tile, picture in ((x, u), (y, v)):
            slope, _ = np.polyfit(tile, picture, 1)
            assert slope == pytest.approx(1 / scale, rel=0.02)
        assert np.abs(rgb[..., 0].ravel() - u).max() <= 1.5 / min(scale, 1)
        assert np.abs(rgb[..., 1].ravel() - v).max() <= 1.5 / min(scale, 1)


def test_a_small_picture_of_another_resolution() -> None:
    _, instances = draw(positions(10, 10, 0.5), 64, 0)
    assert (instances > 0).sum() == 400 and len(np.unique(instances)) == 101


def test_half_of_the_tiles_are_corrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    scales = []

    def fake(rgb: NDArray[np.uint8], rng: np.random.Generator, scale: int) -> NDArray[np.uint8]:
        scales.append(scale)
        return rgb

    monkeypatch.setattr(augment_published, "corrupt", fake)
    image = positions(8, 8)
    for seed in range(400):
        draw(image, 8, seed, PublishedAugment())
    assert abs(len(scales) - 200) < 4 * 10 and set(scales) == {2}


def test_the_defaults_are_the_published_ones() -> None:
    assert PublishedAugment() == PublishedAugment(
        photometric=0.5,
        brightness=32,
        contrast=(0.5, 1.5),
        saturation=(0.5, 1.5),
        hue=9,
        swap_channels=0.5,
        flip=0.5,
        corrupt=0.5,
        corrupt_scale=2,
        translate=0.1,
        rotate=10,
        shear=10,
    )
