"""What the published objective does beyond ours: draws, borders, weights."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from made.tiny import TINY, TINY_LESSON, disc_image, generator
from torch import Tensor
from torch.nn import functional

from nuhtc.training.augmentation.augment import AugmentSettings
from nuhtc.training.augmentation.random_tiles import RandomTiles, TileTargets
from nuhtc.training.loop.recipe import LESSONS
from nuhtc.training.objective import objective as objective_module
from nuhtc.training.objective.losses import SeesawLoss
from nuhtc.training.objective.objective import Objective, ObjectiveSettings
from nuhtc.training.objective.targets import BACKGROUND, assign, sample_regions

SIDE = 96

pytestmark = pytest.mark.usefixtures("one_thread")


def tiles(count: int) -> list[TileTargets]:
    source = RandomTiles([[disc_image(0)]], [1], SIDE, 0.25, 0, AugmentSettings(scale=(1, 1)))
    return [source[i] for i in range(count)]


def losses(settings: ObjectiveSettings, batch: Sequence[TileTargets]) -> dict[str, float]:
    torch.manual_seed(0)
    what = Objective(TINY.build(2), settings).train()
    return {name: float(v.detach()) for name, v in what(batch, generator()).items()}


def test_the_settings_are_the_published_ones() -> None:
    settings = LESSONS["swin_t"].objective
    assert settings == ObjectiveSettings()
    assert (settings.rpn_samples, settings.rpn_positive, settings.rpn_negative) == (1024, 0.7, 0.3)
    assert (settings.proposals_per_level, settings.proposals) == (6000, 3000)
    assert settings.stage_thresholds == (0.5, 0.6, 0.7)
    assert settings.stage_weights == (1, 0.5, 0.25)
    assert (settings.stage_samples, settings.positive_fraction) == (1024, 0.25)
    assert settings.watershed_draws == 500


def test_the_mask_weighs_as_the_last_stage() -> None:
    batch = tiles(2)
    whole = losses(TINY_LESSON.objective, batch)
    quarter = losses(replace(TINY_LESSON.objective, mask_weight=0.25), batch)
    assert quarter["mask"] == pytest.approx(whole["mask"] / 4) and whole["mask"] > 0
    assert {k: v for k, v in quarter.items() if k != "mask"} == {
        k: v for k, v in whole.items() if k != "mask"
    }


def pools(settings: ObjectiveSettings, boxes: Any, monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """The first stage's proposals when the watershed finds the given boxes."""
    seen: list[list[Tensor]] = []

    def pick(proposals: list[Tensor], *more: Any, **named: Any) -> Any:
        seen.append(proposals)
        return sample_regions(proposals, *more, **named)

    monkeypatch.setattr(objective_module, "sample_regions", pick)
    monkeypatch.setattr(
        objective_module.kernels, "watershed_boxes", lambda *_, **__: boxes.astype(np.float32)
    )
    losses(settings, tiles(1))
    return seen[0]


def test_watershed_boxes_are_drawn_with_replacement(monkeypatch: pytest.MonkeyPatch) -> None:
    found = np.array([[1, 1, 9, 9], [20, 20, 30, 30], [50, 5, 70, 25]])
    (pool,) = pools(replace(TINY_LESSON.objective, watershed_draws=500), found, monkeypatch)
    drawn = pool[:500]
    counts = [int((drawn == torch.tensor(box, dtype=torch.float32)).all(dim=1).sum())
              for box in found]  # fmt: skip
    assert sum(counts) == 500 and min(counts) > 100, "about 167 of each"
    assert len(pool) > 500, "and the RPN's after them"


def test_where_the_watershed_finds_nothing_the_best_of_the_rpn_stand_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = replace(TINY_LESSON.objective, watershed_draws=7)
    (pool,) = pools(settings, np.zeros((0, 4)), monkeypatch)
    assert torch.equal(pool[:7], pool[7:14])
    (once,) = pools(TINY_LESSON.objective, np.zeros((0, 4)), monkeypatch)
    assert torch.equal(pool[7:], once)


def test_small_boxes_are_no_proposals(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = replace(TINY_LESSON.objective, proposal_min_side=10.0)
    (pool,) = pools(settings, np.zeros((0, 4)), monkeypatch)
    assert len(pool) and bool((pool[:, 2:] - pool[:, :2] > 10).all())


def test_anchors_that_stick_out_teach_nothing() -> None:
    torch.manual_seed(0)
    network = TINY.build(2)
    what = Objective(
        network, replace(TINY_LESSON.objective, anchors_inside=True, rpn_samples=10**6)
    )
    # An RPN whose answer is a certain yes everywhere pays only for what is asked of it.
    anchors = torch.cat([
        network.rpn.anchors(i, SIDE // s, SIDE // s, torch.zeros(1))
        for i, s in enumerate((4, 8, 16, 32))
    ])  # fmt: skip
    used = what._used(anchors, SIDE, SIDE)
    for anchor, inside in zip(anchors.tolist(), used.tolist(), strict=True):
        assert inside == (min(anchor[:2]) >= 0 and max(anchor[2:]) < SIDE)
    assert 0 < int(used.sum()) < len(used)
    everyone = Objective(network, TINY_LESSON.objective)._used(anchors, SIDE, SIDE)
    assert bool(everyone.all())


def test_a_nucleus_keeps_the_region_that_fits_it_best() -> None:
    # The region fits nucleus 0 better (0.9) than nucleus 1 (0.7), which nothing fits better.
    truth = torch.tensor([[0.0, 0, 10, 9], [0, 0, 10, 7]])
    regions = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 9]])
    assert assign(regions, truth, 0.6, 0.6).tolist() == [0, 0]
    # Region 1 fits both best, so the later nucleus takes it; region 0 stays with nucleus 0.
    assert assign(regions, truth, 0.6, 0.6, low_quality=0.6).tolist() == [0, 1]
    # From an IoU of 0.8 on, nucleus 1 has no claim.
    assert assign(regions, truth, 0.6, 0.6, low_quality=0.8).tolist() == [0, 0]
    assert assign(regions[:0], truth, 0.6, 0.6, low_quality=0.6).tolist() == []
    assert assign(regions, truth[:0], 0.6, 0.6, low_quality=0.6).tolist() == [BACKGROUND] * 2


@given(st.lists(st.integers(-1, 3), min_size=1, max_size=12), st.integers(0, 99))
def test_the_published_mean_runs_over_the_background_too(labels: list[int], seed: int) -> None:
    target = torch.tensor(labels)
    logits = torch.randn(len(labels), 5, generator=generator(seed))
    classes, pair = SeesawLoss(3, p=0, q=0, over_all=True)(logits, target)
    typed = (target >= 0) & (target < 3)
    known = int((target >= 0).sum())
    expected = functional.cross_entropy(logits[typed, :3], target[typed], reduction="sum")
    torch.testing.assert_close(classes, expected / max(known, 1))
    same = SeesawLoss(3, p=0, q=0)(logits, target)[1]
    assert torch.equal(pair, same)
