"""Tiles are the picture, moved and recoloured; the truth moves along and nothing else does.

Pictures whose pixels tell their own position show where each tile pixel came from.
"""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from made.blobs import random_ellipses
from made.tiny import bounds, disc_image
from numpy.typing import NDArray

from nuhtc.training.augmentation.augment import AugmentSettings, draw_tile
from nuhtc.training.augmentation.random_tiles import (
    MIN_AREA,
    UNKNOWN_CLASS,
    RandomTiles,
    TileTargets,
    batches,
    make_targets,
    stack_pictures,
)
from nuhtc.training.augmentation.sampling import ClassAware
from nuhtc.training.data.images import AnnotatedImage
from nuhtc.training.loop.processes import Processes

STILL = AugmentSettings(scale=(1, 1), rotation=0, shear=0, stain=0, colour=0, blur=0, noise=0)
"""Quarter turns, mirroring and cropping only."""

MOVING = replace(STILL, scale=(0.8, 1.25), rotation=1, shear=0.1)


def position_image(height: int, width: int) -> AnnotatedImage:
    """Each pixel is its own nucleus, red is its column and green its row."""
    row, column = np.mgrid[:height, :width]
    rgb = np.stack([column, row, np.zeros_like(row)], axis=-1).astype(np.uint8)
    instances = (row * width + column + 1).astype(np.int32)
    return AnnotatedImage("positions", rgb, instances, None)


def sources(
    image: AnnotatedImage, size: int, seed: int, how: AugmentSettings
) -> tuple[NDArray[np.uint8], NDArray[np.bool_], NDArray[np.int64], NDArray[np.int64]]:
    """Return the tile, which pixels are in the picture, and their row and column there."""
    rgb, instances = draw_tile(image, size, np.random.default_rng(seed), how, mpp=0.25)
    row, column = np.divmod(instances.astype(np.int64) - 1, image.instances.shape[1])
    return rgb, instances > 0, row, column


@settings(max_examples=60)
@given(st.integers(0, 100_000))
def test_a_still_tile_is_a_window_of_the_picture_turned_or_mirrored(seed: int) -> None:
    rgb, inside, row, column = sources(position_image(90, 130), 32, seed, STILL)
    assert inside.all()
    steps = {
        (int(r), int(c))
        for r, c in zip(np.diff(row, axis=1).ravel(), np.diff(column, axis=1).ravel(), strict=True)
    }
    assert len(steps) == 1 and steps <= {(0, 1), (0, -1), (1, 0), (-1, 0)}
    down = {
        (int(r), int(c))
        for r, c in zip(np.diff(row, axis=0).ravel(), np.diff(column, axis=0).ravel(), strict=True)
    }
    assert len(down) == 1 and down <= {(0, 1), (0, -1), (1, 0), (-1, 0)}
    assert abs(np.ptp(row) - 31) + abs(np.ptp(column) - 31) == 0
    assert np.abs(rgb[..., 0] - column).max() <= 1 and np.abs(rgb[..., 1] - row).max() <= 1


def test_a_still_tile_as_large_as_the_picture_keeps_every_pixel() -> None:
    image = position_image(64, 64)
    for seed in range(20):
        rgb, inside, row, column = sources(image, 64, seed, STILL)
        assert inside.all()
        assert np.array_equal(rgb, image.rgb[row, column])


def test_every_turn_and_mirror_image_comes_up() -> None:
    image = position_image(32, 32)
    seen = set()
    for seed in range(200):
        _, _, row, column = sources(image, 32, seed, STILL)
        seen.add((row[0, 0], column[0, 0], row[0, -1], column[0, -1]))
    assert len(seen) == 8


@settings(max_examples=60)
@given(st.integers(0, 100_000))
def test_picture_and_truth_move_together(seed: int) -> None:
    rgb, inside, row, column = sources(position_image(150, 200), 48, seed, MOVING)
    assert inside.all(), "the picture is large enough for every turn"
    assert np.abs(rgb[..., 0].astype(int) - column).max() <= 1
    assert np.abs(rgb[..., 1].astype(int) - row).max() <= 1


@settings(max_examples=40)
@given(st.integers(0, 100_000))
def test_enlargement_keeps_to_its_range(seed: int) -> None:
    how = replace(STILL, scale=(0.5, 2.0))
    _, _, row, column = sources(position_image(150, 200), 48, seed, how)
    reach = max(np.ptp(row), np.ptp(column))
    assert 47 / 2 - 1 <= reach <= 47 / 0.5 + 1


def test_a_picture_smaller_than_the_tile_is_whole_and_alone() -> None:
    image = position_image(20, 30)
    for seed in range(20):
        rgb, instances = draw_tile(image, 48, np.random.default_rng(seed), STILL, mpp=0.25)
        assert rgb.shape == (48, 48, 3) and instances.shape == (48, 48)
        numbers = instances[instances > 0]
        assert sorted(numbers) == list(range(1, 601)), "each pixel once, none invented"


def test_colours_change_without_the_truth() -> None:
    image = disc_image(3)
    strong = AugmentSettings(stain=1, colour=1, blur=1, noise=1)
    plain = replace(strong, stain=0, colour=0, blur=0, noise=0)
    for seed in range(5):
        rgb, instances = draw_tile(image, 64, np.random.default_rng(seed), strong, mpp=0.25)
        untouched, same = draw_tile(image, 64, np.random.default_rng(seed), plain, mpp=0.25)
        assert np.array_equal(instances, same)
        assert rgb.dtype == np.uint8 and not np.array_equal(rgb, untouched)


@pytest.mark.parametrize("change", ["stain", "colour", "blur", "noise"])
def test_each_change_of_colour_has_its_own_switch(change: str) -> None:
    image = disc_image(4)
    how = replace(STILL, **{change: 1.0})
    rgb, _ = draw_tile(image, 64, np.random.default_rng(0), how, mpp=0.25)
    untouched, _ = draw_tile(image, 64, np.random.default_rng(0), STILL, mpp=0.25)
    assert not np.array_equal(rgb, untouched)


def test_pure_black_and_white_survive_every_change() -> None:
    how = AugmentSettings(stain=1, colour=1, blur=1, noise=1)
    for value in (0, 255):
        rgb = np.full((64, 64, 3), value, np.uint8)
        image = AnnotatedImage("flat", rgb, np.zeros((64, 64), np.int32), None)
        for seed in range(20):
            found, _ = draw_tile(image, 32, np.random.default_rng(seed), how, mpp=0.25)
            assert abs(float(found.mean()) - value) < 130, "no wrap-around"


@given(st.integers(0, 1000))
def test_boxes_are_tight_and_numbers_follow(seed: int) -> None:
    instances = random_ellipses(seed, 60, 80, 20, (4.0, 20.0)) * 3
    types = np.random.default_rng(seed).integers(0, 4, int(instances.max()) + 1)
    found = make_targets(np.zeros((60, 80, 3), np.uint8), instances, types)
    numbers = found.instances.numpy()
    kept = [n for n in np.unique(instances)[1:] if (instances == n).sum() >= MIN_AREA]
    assert np.array_equal(np.unique(numbers[numbers > 0]), np.arange(1, len(kept) + 1))
    assert found.boxes.shape == (len(kept), 4)
    for i, n in enumerate(kept):
        assert np.array_equal(numbers == i + 1, instances == n)
        assert found.boxes[i].tolist() == list(bounds(instances == n))
        assert int(found.labels[i]) == types[n]


def test_a_sliver_is_no_target() -> None:
    instances = np.zeros((32, 32), np.int32)
    instances[0:3, 0:5] = 1
    instances[8:12, 8:12] = 2
    found = make_targets(np.zeros((32, 32, 3), np.uint8), instances, np.array([0, 1, 2]))
    assert found.boxes.tolist() == [[8, 8, 12, 12]]
    assert found.labels.tolist() == [2]
    assert int(found.instances.max()) == 1 and not found.instances[0:3].any()


def test_a_tile_without_background() -> None:
    instances = np.full((32, 32), 5, np.int32)
    instances[:, 16:] = 9
    found = make_targets(np.zeros((32, 32, 3), np.uint8), instances, None)
    assert found.boxes.tolist() == [[0, 0, 16, 32], [16, 0, 32, 32]]
    assert found.labels.tolist() == [UNKNOWN_CLASS, UNKNOWN_CLASS]
    assert found.instances[0, 0] == 1 and found.instances[0, 31] == 2


def test_a_tile_without_nuclei() -> None:
    nothing = np.zeros((32, 32), np.int32)
    found = make_targets(np.zeros((32, 32, 3), np.uint8), nothing, np.array([0]))
    assert found.boxes.shape == (0, 4) and found.labels.shape == (0,)
    assert found.boxes.dtype == torch.float32 and found.labels.dtype == torch.int64
    assert found.instances.dtype == torch.int32 and not found.instances.any()


def tiles(seed: int = 7, weights: tuple[float, float] = (1, 1)) -> RandomTiles:
    groups = [[disc_image(1), disc_image(2)], [disc_image(3, typed=False)]]
    return RandomTiles(groups, weights, 64, 0.25, seed, AugmentSettings())


def same(a: TileTargets, b: TileTargets) -> bool:
    return all(
        torch.equal(getattr(a, name), getattr(b, name))
        for name in ("rgb", "boxes", "labels", "instances")
    )


def test_a_tile_follows_from_seed_and_number() -> None:
    first, second = tiles(), tiles()
    assert same(first[5], second[5])
    assert same(first[5], first[5]), "whatever was drawn before"
    assert not torch.equal(first[5].rgb, first[6].rgb)
    assert not torch.equal(first[5].rgb, tiles(seed=8)[5].rgb)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_batches_are_the_same_in_any_number_of_processes() -> None:
    alone = list(batches(tiles(), 3, 2, 5, 0, list))
    shared = list(batches(tiles(), 3, 2, 5, 2, list))
    assert [len(batch) for batch in alone] == [3, 3, 3]
    for ours, theirs in zip(alone, shared, strict=True):
        assert all(same(a, b) for a, b in zip(ours, theirs, strict=True))


def test_a_later_start_gives_the_later_batches() -> None:
    whole = list(batches(tiles(), 2, 0, 4, 0, list))
    late = list(batches(tiles(), 2, 3, 4, 0, list))
    assert len(whole) == 4 and len(late) == 1
    assert all(same(a, b) for a, b in zip(whole[3], late[0], strict=True))
    assert not any(same(a[0], b[0]) for a, b in pairwise(whole))


def test_a_run_that_is_done_has_no_batches() -> None:
    assert list(batches(tiles(), 2, 4, 4, 0, list)) == []
    assert list(batches(tiles(), 2, 9, 4, 0, list)) == []


@pytest.mark.parametrize(("weights", "typed"), [((1.0, 0.0), True), ((0.0, 1.0), False)])
def test_weights_choose_the_data_set(weights: tuple[float, float], typed: bool) -> None:
    source = tiles(weights=weights)
    labels = torch.cat([source[i].labels for i in range(12)])
    assert len(labels) > 0
    assert bool((labels != UNKNOWN_CLASS).all()) == typed


def test_stacked_pictures() -> None:
    batch = [tiles()[i] for i in range(3)]
    stacked = stack_pictures(batch, torch.device("cpu"))
    assert stacked.dtype == torch.uint8 and stacked.shape == (3, 64, 64, 3)
    assert torch.equal(stacked[2], batch[2].rgb)


def test_processes_share_a_batch_between_them() -> None:
    whole = list(batches(tiles(), 4, 1, 3, 0, list))
    shares = [list(batches(tiles(), 4, 1, 3, 0, Processes(rank, 2).share)) for rank in (0, 1)]
    for step in range(2):
        for rank in (0, 1):
            found = shares[rank][step]
            assert len(found) == 2
            for tile, expected in zip(found, whole[step][rank::2], strict=True):
                assert torch.equal(tile.rgb, expected.rgb)


def shows(how: AugmentSettings, seed: int, x: float, y: float) -> bool:
    image = position_image(90, 130)
    rng = np.random.default_rng(seed)
    _, instances = draw_tile(image, 32, rng, how, mpp=0.25, centre=(x, y))
    row, column = np.divmod(instances.astype(np.int64) - 1, 130)
    near = (np.abs(row - int(y)) <= 1) & (np.abs(column - int(x)) <= 1) & (instances > 0)
    return bool(near.any())


@settings(max_examples=40)
@given(st.integers(0, 100_000), st.floats(0, 129.9), st.floats(0, 89.9))
def test_the_point_asked_for_is_in_the_tile(seed: int, x: float, y: float) -> None:
    assert shows(STILL, seed, x, y)


@settings(max_examples=40)
@given(st.integers(0, 100_000), st.floats(32, 98), st.floats(32, 58))
def test_a_turned_tile_shows_it_too_away_from_the_border(seed: int, x: float, y: float) -> None:
    assert shows(MOVING, seed, x, y)


@pytest.mark.parametrize(("picture_mpp", "step"), [(0.5, 2), (0.125, 0.5)])
def test_tiles_have_the_resolution_asked_for(picture_mpp: float, step: float) -> None:
    image = replace(position_image(90, 130), mpp=picture_mpp)
    _, instances = draw_tile(image, 40, np.random.default_rng(3), STILL, mpp=0.25)
    row, column = np.divmod(instances.astype(np.int64) - 1, 130)
    assert np.ptp(row) == pytest.approx(40 / step, abs=2)
    assert np.ptp(column) == pytest.approx(40 / step, abs=2)


def test_class_aware_tiles_show_the_class_that_was_drawn() -> None:
    pictures = [disc_image(i, 300) for i in range(3)]
    source = RandomTiles([pictures], [1], 64, 0.25, 0, STILL, class_aware=2)
    (sampler,) = source.samplers
    assert isinstance(sampler, ClassAware) and sampler.classes == (0, 1)
    shown = [set(source[n].labels.tolist()) for n in range(40)]
    assert all(shown), "a nucleus in every tile"
    assert sum(0 in labels for labels in shown) >= 15 and sum(1 in labels for labels in shown) >= 15


def test_sets_without_classes_are_drawn_as_pictures() -> None:
    pictures = [disc_image(i, 100, typed=False) for i in range(2)]
    source = RandomTiles([pictures], [1], 64, 0.25, 0, STILL, class_aware=2)
    assert source[0].labels.tolist() == [UNKNOWN_CLASS] * len(source[0].labels)
