"""The objective: finite and teachable on any batch, and it goes down when followed."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from made.tiny import TINY, TINY_LESSON, disc_image, generator
from torch import Tensor

from nuhtc.training.augmentation.augment import AugmentSettings
from nuhtc.training.augmentation.random_tiles import (
    UNKNOWN_CLASS,
    RandomTiles,
    TileTargets,
    make_targets,
)
from nuhtc.training.network import boxes
from nuhtc.training.network.nuhtc import NuHTC
from nuhtc.training.network.rpn import DELTA_STDS
from nuhtc.training.objective import objective as objective_module
from nuhtc.training.objective.objective import Objective, ObjectiveSettings
from nuhtc.training.objective.targets import SampledRegions, crop_masks, sample_regions

SIDE = 96

NAMES = {
    "rpn_class", "rpn_box", "semantic", "mask",
    *(f"{kind}_{stage}" for kind in ("class", "object", "box") for stage in (1, 2, 3)),
}  # fmt: skip

pytestmark = pytest.mark.usefixtures("one_thread")


def tiles(count: int, *, typed: bool = True) -> list[TileTargets]:
    pictures = [disc_image(i, typed=typed) for i in range(2)]
    source = RandomTiles([pictures], [1], SIDE, 0.25, 0, AugmentSettings(scale=(1, 1)))
    return [source[i] for i in range(count)]


def empty() -> TileTargets:
    rgb = np.full((SIDE, SIDE, 3), (230, 180, 210), np.uint8)
    return make_targets(rgb, np.zeros((SIDE, SIDE), np.int32), np.zeros(1, np.int64))


def objective(settings: ObjectiveSettings = TINY_LESSON.objective) -> Objective:
    torch.manual_seed(0)
    return Objective(TINY.build(2), settings).train()


def follow(
    what: Objective, batch: Sequence[TileTargets], seed: int = 0
) -> tuple[dict[str, float], dict[str, Tensor | None]]:
    """Return the losses and every parameter's gradient."""
    torch.manual_seed(seed)
    what.zero_grad()
    losses = what(batch, generator(seed))
    torch.stack(list(losses.values())).sum().backward()
    gradients = {name: p.grad for name, p in what.network.named_parameters()}
    return {name: float(value.detach()) for name, value in losses.items()}, gradients


def check_finite(losses: dict[str, float], gradients: dict[str, Tensor | None]) -> None:
    assert losses.keys() == NAMES
    for name, value in losses.items():
        assert math.isfinite(value) and value >= 0, name
    for name, gradient in gradients.items():
        assert gradient is None or bool(gradient.isfinite().all()), name


def test_typed_nuclei_teach_every_weight() -> None:
    losses, gradients = follow(objective(), tiles(3))
    check_finite(losses, gradients)
    assert all(value > 0 for value in losses.values()), losses
    untaught = [name for name, g in gradients.items() if g is None or not bool(g.any())]
    assert untaught == []


def test_untyped_nuclei_teach_all_but_the_classes() -> None:
    losses, gradients = follow(objective(), tiles(3, typed=False))
    check_finite(losses, gradients)
    for stage in range(3):
        assert losses[f"class_{stage + 1}"] == 0
        assert losses[f"object_{stage + 1}"] > 0 and losses[f"box_{stage + 1}"] > 0
        rows = gradients[f"stages.{stage}.classifier.weight"]
        assert rows is not None
        assert not rows[:2].any(), "the two classes"
        assert bool(rows[2:].any()), "object and background"
    assert losses["mask"] > 0


def test_a_mixed_batch() -> None:
    losses, gradients = follow(objective(), [tiles(1)[0], tiles(1, typed=False)[0], empty()])
    check_finite(losses, gradients)
    assert losses["class_1"] > 0


@pytest.mark.parametrize("count", [1, 3])
def test_no_nuclei_at_all(count: int) -> None:
    losses, gradients = follow(objective(), [empty()] * count)
    check_finite(losses, gradients)
    for name in ("rpn_box", "mask", *(f"{k}_{i}" for k in ("class", "box") for i in (1, 2, 3))):
        assert losses[name] == 0, name
    assert losses["rpn_class"] > 0 and losses["object_1"] > 0


@pytest.mark.parametrize("place", [0, 1, 2])
def test_one_tile_without_nuclei_anywhere_in_the_batch(place: int) -> None:
    batch = tiles(2)
    batch.insert(place, empty())
    losses, gradients = follow(objective(), batch)
    check_finite(losses, gradients)
    assert losses["mask"] > 0


def test_right_answers_cost_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """An RPN that knows the truth, and stages that leave its boxes where they are."""
    instances = np.zeros((SIDE, SIDE), np.int32)
    instances[10:34, 8:30], instances[60:80, 50:86] = 1, 2
    tile = make_targets(np.zeros((SIDE, SIDE, 3), np.uint8), instances, np.array([0, 0, 1]))
    what = objective()
    rpn = what.network.rpn

    def know(maps: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        logits, deltas = [], []
        for level, x in enumerate(maps):
            height, width = x.shape[-2:]
            anchors = rpn.anchors(level, height, width, x)
            overlap = boxes.iou(anchors, tile.boxes)
            best = overlap.argmax(dim=1)
            # For either nucleus some anchor fits better than 0.5 and is a positive.
            right = boxes.encode(anchors, tile.boxes[best], DELTA_STDS)
            sure = torch.where(overlap.amax(dim=1) > 0.5, 30.0, -30.0)
            logits.append(sure.reshape(1, height, width, 3).permute(0, 3, 1, 2))
            deltas.append(right.reshape(1, height, width, 12).permute(0, 3, 1, 2))
        return logits, deltas

    monkeypatch.setattr(rpn, "forward", know)
    with torch.no_grad():
        for stage in what.network.stages:
            stage.deltas.weight.zero_()
    losses = {k: float(v.detach()) for k, v in what([tile], generator()).items()}
    for name in ("rpn_class", "rpn_box", "box_1", "box_2", "box_3"):
        assert losses[name] == pytest.approx(0, abs=1e-6), name
    assert losses["object_1"] > 0, "nothing was left out"


@pytest.mark.parametrize("scale", [1, 1.5, 2])
def test_each_mask_is_asked_for_at_its_own_nucleus(
    monkeypatch: pytest.MonkeyPatch, scale: float
) -> None:
    asked: list[tuple[Tensor, Tensor, Tensor]] = []

    def crop(instances: Tensor, number: Tensor, tile: Tensor, corners: Tensor) -> Tensor:
        asked.append((number, tile, corners))
        return crop_masks(instances, number, tile, corners)

    monkeypatch.setattr(objective_module, "crop_masks", crop)
    torch.manual_seed(0)
    network = replace(TINY, network=replace(TINY.network, input_scale=scale)).build(2)
    batch = [tiles(1)[0], empty(), tiles(2)[1]]
    check_finite(*follow(Objective(network, TINY_LESSON.objective).train(), batch))
    ((number, tile, corners),) = asked
    assert set(tile.tolist()) == {0, 2}
    for n, t, region in zip(number.tolist(), tile.tolist(), corners, strict=True):
        nucleus = batch[t].boxes[n - 1]
        assert (
            float(boxes.iou(region[None], nucleus[None]))
            >= TINY_LESSON.objective.stage_thresholds[-1]
        )


def test_stages_hand_on_what_they_found_and_not_the_truth(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given: list[list[int]] = []
    left: list[list[int]] = []

    def pick(proposals: list[Tensor], *more: Any, **named: Any) -> SampledRegions:
        picked = sample_regions(proposals, *more, **named)
        found = picked.regions[~picked.is_truth, 0].long()
        given.append([len(p) for p in proposals])
        left.append(torch.bincount(found, minlength=len(proposals)).tolist())
        return picked

    monkeypatch.setattr(objective_module, "sample_regions", pick)
    follow(objective(), [*tiles(2), empty()])
    assert len(given) == 4, "three stages and the mask"
    assert given[1:] == left[:-1]


def test_samples_smaller_than_the_number_of_nuclei() -> None:
    few = replace(TINY_LESSON.objective, stage_samples=4, mask_samples=1, rpn_samples=2)
    check_finite(*follow(objective(few), tiles(2)))


def test_the_same_generator_gives_the_same_losses() -> None:
    what, batch = objective(), tiles(2)
    state = {name: value.clone() for name, value in what.state_dict().items()}
    first, _ = follow(what, batch)
    what.load_state_dict(state)
    again, _ = follow(what, batch)
    what.load_state_dict(state)
    other, _ = follow(what, batch, seed=5)
    assert first == again
    assert first != other


def test_only_known_classes_are_counted() -> None:
    what = objective()
    follow(what, tiles(2, typed=False))
    assert all(not bool(stage.seen.any()) for stage in what.seesaw)
    batch = tiles(2)
    follow(what, batch)
    present = {int(c) for tile in batch for c in tile.labels if c != UNKNOWN_CLASS}
    for stage in what.seesaw:
        assert {c for c, n in enumerate(stage.seen.tolist()) if n} == present


def total_after(network: NuHTC, what: Objective, batch: list[TileTargets], steps: int) -> float:
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    total = torch.zeros(())
    for _ in range(steps):
        torch.manual_seed(0)
        optimizer.zero_grad()
        total = torch.stack(list(what(batch, generator()).values())).sum()
        total.backward()
        optimizer.step()
    return float(total.detach())


def test_following_the_gradient_reduces_the_losses() -> None:
    what, batch = objective(), tiles(2)
    first = sum(follow(what, batch)[0].values())
    assert total_after(what.network, what, batch, 30) < 0.85 * first
