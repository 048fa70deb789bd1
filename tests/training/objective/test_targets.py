"""Regions learn what lies in them: thresholds, quotas, and tiles without nuclei."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from made.blobs import random_ellipses
from made.tiny import bounds, generator
from torch import Tensor
from torchvision.ops import roi_align

from nuhtc.training.network import boxes
from nuhtc.training.objective.targets import (
    BACKGROUND,
    IGNORED,
    SampledRegions,
    assign,
    crop_masks,
    sample,
    sample_regions,
)

SQUARE = torch.tensor([[0.0, 0, 10, 10]])


def slices(*heights: float) -> Tensor:
    """Boxes inside SQUARE whose IoU with it is a tenth of their height."""
    return torch.tensor([[0.0, 0, 10, h] for h in heights])


def random_boxes(rng: np.random.Generator, count: int, side: float = 60) -> Tensor:
    low = rng.uniform(0, side - 10, (count, 2))
    rows = np.concatenate([low, low + rng.uniform(5, 25, (count, 2))], axis=1)
    return torch.from_numpy(rows.astype(np.float32))


def test_thresholds() -> None:
    # An IoU of exactly the positive threshold is a nucleus; of the negative one, neither.
    found = assign(slices(10, 5, 4, 2.5, 2), SQUARE, 0.5, 0.25)
    assert found.tolist() == [0, 0, IGNORED, IGNORED, BACKGROUND]


def test_one_threshold_leaves_nothing_ignored() -> None:
    assert assign(slices(5, 4.9), SQUARE, 0.5, 0.5).tolist() == [0, BACKGROUND]


def test_low_quality_gives_a_nucleus_its_best_regions() -> None:
    regions = slices(4, 4, 3.5, 1)
    kept = assign(regions, SQUARE, 0.7, 0.3, low_quality=0.3)
    assert kept.tolist() == [0, 0, IGNORED, BACKGROUND]
    assert assign(regions, SQUARE, 0.7, 0.3).tolist() == [IGNORED, IGNORED, IGNORED, BACKGROUND]


def test_low_quality_has_a_floor() -> None:
    kept = assign(slices(2.5, 1), SQUARE, 0.7, 0.3, low_quality=0.3)
    assert kept.tolist() == [BACKGROUND, BACKGROUND]


def test_without_nuclei_everything_is_background() -> None:
    found = assign(slices(10, 1), torch.zeros(0, 4), 0.7, 0.3, low_quality=0.3)
    assert found.tolist() == [BACKGROUND, BACKGROUND]


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("known", [0, 1])
def test_no_regions_at_all(known: int, keep: bool) -> None:
    found = assign(torch.zeros(0, 4), SQUARE[:known], 0.7, 0.3, low_quality=0.3 if keep else None)
    assert found.shape == (0,) and found.dtype == torch.int64


@given(st.integers(0, 10_000))
def test_a_region_stands_for_the_nucleus_it_overlaps_most(seed: int) -> None:
    rng = np.random.default_rng(seed)
    regions, truth = random_boxes(rng, 12), random_boxes(rng, int(rng.integers(1, 5)))
    found = assign(regions, truth, 0.4, 0.2).tolist()
    for region, answer in zip(boxes.iou(regions, truth).tolist(), found, strict=True):
        best = max(region)
        if best >= 0.4:
            assert region[answer] == best
        else:
            assert answer == (BACKGROUND if best < 0.2 else IGNORED)


@given(
    st.lists(st.sampled_from([IGNORED, BACKGROUND, 0, 1, 2]), max_size=60),
    st.integers(1, 40),
    st.sampled_from([0.25, 0.5, 1.0]),
    st.integers(0, 5),
)
def test_quotas(values: list[int], count: int, fraction: float, seed: int) -> None:
    assigned = torch.tensor(values, dtype=torch.int64)
    positive, negative = sample(assigned, count, fraction, generator(seed))
    there = sum(v >= 0 for v in values)
    free = sum(v == BACKGROUND for v in values)
    assert len(positive) == min(there, int(count * fraction))
    assert len(negative) == min(free, count - len(positive))
    assert all(values[i] >= 0 for i in positive.tolist())
    assert all(values[i] == BACKGROUND for i in negative.tolist())
    assert len(set(positive.tolist())) == len(positive)
    assert len(set(negative.tolist())) == len(negative)


def test_the_draw_follows_from_the_generator() -> None:
    assigned = torch.tensor([0] * 50 + [BACKGROUND] * 50)
    draws = [sample(assigned, 20, 0.5, generator(seed)) for seed in (1, 1, 2)]
    assert torch.equal(draws[0][0], draws[1][0]) and torch.equal(draws[0][1], draws[1][1])
    assert not torch.equal(draws[0][0], draws[2][0])


def check_sample(
    picked: SampledRegions, proposals: list[Tensor], truth: list[Tensor], threshold: float
) -> None:
    """What must hold of any sample."""
    everything = torch.cat(truth)
    owner = torch.cat([torch.full((len(t),), i) for i, t in enumerate(truth)])
    tile = picked.regions[:, 0].long()
    assert tile.tolist() == sorted(tile.tolist())
    for i, (found, known) in enumerate(zip(proposals, truth, strict=True)):
        mine = tile == i
        flags = picked.positive[mine].tolist()
        assert flags == sorted(flags, reverse=True), "positives come first"
        corners = picked.regions[mine, 1:]
        pool = {tuple(row) for row in torch.cat([known, found]).tolist()}
        assert {tuple(row) for row in corners.tolist()} <= pool
        best = boxes.iou(corners, known).amax(dim=1) if len(known) else torch.zeros(len(corners))
        assert torch.equal(best >= threshold, picked.positive[mine])
        added = {tuple(row) for row in corners[picked.is_truth[mine]].tolist()}
        assert added <= {tuple(row) for row in known.tolist()}
    positive = picked.positive
    assert torch.equal(owner[picked.truth[positive]], tile[positive]), "a nucleus of its own tile"
    assert not picked.truth[~positive].any()
    own = boxes.iou(picked.regions[positive, 1:], everything)
    chosen = own.gather(1, picked.truth[positive, None])[:, 0] if len(everything) else own[:, 0:0]
    assert bool((chosen >= threshold).all())


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.integers(0, 8), st.integers(0, 4)), min_size=1, max_size=4),
    st.integers(0, 1000),
)
def test_samples_of_batches_with_and_without_nuclei(
    sizes: list[tuple[int, int]], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    proposals = [random_boxes(rng, found) for found, _ in sizes]
    truth = [random_boxes(rng, known) for _, known in sizes]
    picked = sample_regions(proposals, truth, 0.5, 6, 0.5, generator(seed))
    per_tile = torch.bincount(picked.regions[:, 0].long(), minlength=len(sizes)).tolist()
    for count, (found, known) in zip(per_tile, sizes, strict=True):
        assert count <= min(6, found + known)
    check_sample(picked, proposals, truth, 0.5)


def test_a_last_tile_without_nuclei() -> None:
    proposals = [slices(9, 2), slices(8, 1)]
    truth = [SQUARE, torch.zeros(0, 4)]
    picked = sample_regions(proposals, truth, 0.5, 8, 0.5, generator())
    assert picked.regions[:, 0].tolist() == [0, 0, 0, 1, 1]
    assert picked.positive.tolist() == [True, True, False, False, False]
    assert int(picked.truth.max()) == 0, "every index can be looked up"


def test_annotated_boxes_are_added_and_marked() -> None:
    picked = sample_regions([slices(1)], [SQUARE], 0.5, 8, 0.5, generator())
    assert picked.regions[:, 1:].tolist() == [SQUARE[0].tolist(), slices(1)[0].tolist()]
    assert picked.is_truth.tolist() == [True, False]


@given(st.integers(0, 300))
def test_a_masks_target_is_roi_align_of_the_one_nucleus(seed: int) -> None:
    rng = np.random.default_rng(seed)
    tiles = np.stack([random_ellipses(seed + i, 64, 48, 8, (10.0, 24.0)) for i in range(2)])
    count = 6
    tile = rng.integers(0, 2, count)
    number = np.array([rng.integers(1, tiles[t].max() + 1) for t in tile])
    around = np.array([bounds(tiles[t] == n) for t, n in zip(tile, number, strict=True)])
    moved = around + rng.uniform(-4, 4, (count, 4))
    corners = torch.from_numpy(moved.clip(0, [48, 64, 48, 64]).astype(np.float32))
    found = crop_masks(
        torch.from_numpy(tiles), torch.from_numpy(number), torch.from_numpy(tile), corners
    )
    for i in range(count):
        plane = torch.from_numpy((tiles[tile[i]] == number[i]).astype(np.float32))
        region = torch.cat([torch.zeros(1), corners[i]])[None]
        share = roi_align(plane[None, None], region, 28, 1.0, 1, aligned=True)[0, 0]
        clear = (share - 0.5).abs() > 1e-4
        assert torch.equal(found[i][clear], (share >= 0.5).float()[clear])


def test_a_mask_target_of_a_square_by_hand() -> None:
    tile = torch.zeros(1, 20, 20, dtype=torch.int32)
    tile[0, 4:12, 4:12] = 3
    first = torch.tensor([0, 0, 0])
    corners = torch.tensor([[4.0, 4, 12, 12], [4, 4, 20, 12], [4, 4, 12, 12]])
    found = crop_masks(tile, torch.tensor([3, 3, 2]), first, corners, size=8)
    assert bool((found[0] == 1).all())
    assert found[1].tolist() == [[1.0] * 4 + [0.0] * 4] * 8
    assert not found[2].any(), "another nucleus is no part of this one"


def test_no_mask_targets() -> None:
    none = torch.zeros(0, dtype=torch.int64)
    found = crop_masks(torch.zeros(1, 8, 8, dtype=torch.int32), none, none, torch.zeros(0, 4))
    assert found.shape == (0, 28, 28)
