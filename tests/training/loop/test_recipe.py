"""Recipes: rates, decay, freezing, averages."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from made.tiny import TINY

from nuhtc.training.augmentation.augment_published import PublishedAugment
from nuhtc.training.loop.average import Averaged
from nuhtc.training.loop.recipe import (
    LESSONS,
    Cosine,
    Drops,
    Recipe,
    parameter_groups,
    rate_at,
    set_training,
)
from nuhtc.training.network.presets import SWIN_T


def test_the_rate_rises_then_falls() -> None:
    recipe = Recipe(learning_rate=1.0, warmup=10, schedule=Cosine(0.02))
    rates = [rate_at(step, 100, recipe) for step in range(120)]
    assert rates[0] == pytest.approx(0.1) and rates[4] == pytest.approx(0.5)
    assert rates[9] == pytest.approx(1) and rates[10] == pytest.approx(1)
    assert rates[55] == pytest.approx((1 + 0.02) / 2), "half way along the cosine"
    assert rates[100] == pytest.approx(0.02) and rates[119] == pytest.approx(0.02)
    assert all(a > b for a, b in pairwise(rates[10:101]))


def test_the_published_rate_drops_twice() -> None:
    # 200 epochs of 332 steps of 8 tiles, as fold 1 of PanNuke has 2,656 pictures.
    steps = 200 * 332
    rates = {
        epoch: rate_at(epoch * 332, steps, LESSONS["swin_t"].recipe)
        for epoch in (4, 29, 30, 159, 160)
    }
    assert rates == pytest.approx({4: 1e-4, 29: 1e-4, 30: 1e-5, 159: 1e-5, 160: 1e-6})
    assert rate_at(30 * 332 - 1, steps, LESSONS["swin_t"].recipe) == pytest.approx(1e-4)
    assert rate_at(499, steps, LESSONS["swin_t"].recipe) == pytest.approx(0.5e-4), (
        "half of the warm-up"
    )


def test_corruptions_count_the_networks_pixels() -> None:
    published = LESSONS["swin_t"].recipe.tile_augment
    assert isinstance(published, PublishedAugment) and published == LESSONS["swin_t"].recipe.augment
    assert published.corrupt_scale == SWIN_T.network.input_scale
    # Tiles that are as large as the network sees them are not counted twice as large again.
    at_scale = replace(LESSONS["swin_t"].recipe, tile=512).tile_augment
    assert at_scale == replace(published, corrupt_scale=1)
    assert (
        LESSONS["lite0"].recipe.tile is not None
        and LESSONS["lite0"].recipe.tile_augment == LESSONS["lite0"].recipe.augment
    )


def test_drops_by_hand() -> None:
    assert [Drops((0.5,)).share(done) for done in (0, 0.49, 0.5, 1)] == [1, 1, 0.1, 0.1]


def spared_by(recipe: Recipe, network: torch.nn.Module) -> set[str]:
    decayed, free = parameter_groups(network, recipe)
    assert decayed["weight_decay"] == 0.05 and free["weight_decay"] == 0
    named = {id(p): name for name, p in network.named_parameters()}
    assert len(named) == len(free["params"]) + len(decayed["params"])  # type: ignore[arg-type]
    return {named[id(p)] for p in free["params"]}  # type: ignore[attr-defined]


def test_norms_and_biases_do_not_decay() -> None:
    network = TINY.build(2)
    spared = spared_by(LESSONS["lite0"].recipe, network)
    assert "backbone.norm.weight" in spared
    assert {name for name, p in network.named_parameters() if p.ndim <= 1} == spared


def test_as_published_norms_and_position_tables_alone_do_not_decay() -> None:
    network = SWIN_T.build(5)
    spared = spared_by(LESSONS["swin_t"].recipe, network)
    assert all("norm" in name or "position_bias" in name for name in spared)
    # Two for each of the patch norm, 24 block norms, 3 merging norms, 4 output norms; 12 tables.
    assert len(spared) == 2 * (1 + 24 + 3 + 4) + 12


def test_the_published_freeze() -> None:
    network = SWIN_T.build(5)
    set_training(network, 14_999, LESSONS["swin_t"].recipe)
    frozen = {name for name, p in network.named_parameters() if not p.requires_grad}
    assert frozen == {
        name
        for name, _ in network.named_parameters()
        if name.split(".")[1] in {"patch", "patch_norm"}
        or name.startswith(("backbone.stages.0.", "backbone.merges.0.", "backbone.norms.0."))
    }
    assert not network.backbone.get_submodule("stages.0").training
    assert network.backbone.get_submodule("stages.1").training
    set_training(network, 15_000, LESSONS["swin_t"].recipe)
    assert all(p.requires_grad for p in network.parameters())
    assert all(module.training for module in network.modules())


def test_the_average_moves_by_its_decay() -> None:
    network = TINY.build(2)
    average = Averaged(network, 0.998)
    bias = network.rpn.objectness.bias
    before = average.weights["rpn.objectness.bias"].clone()
    with torch.no_grad():
        bias.add_(1.0)
        network.backbone.norm.num_batches_tracked.fill_(9)
    average.update(network, 0)
    # The first step forgets nine tenths: decay (1 + 0) / (10 + 0).
    moved = average.weights["rpn.objectness.bias"]
    torch.testing.assert_close(moved, before + 0.9)
    assert int(average.weights["backbone.norm.num_batches_tracked"]) == 9, "counts are copied"
    average.update(network, 10**6)
    torch.testing.assert_close(
        average.weights["rpn.objectness.bias"], before + 0.9 + (1 - 0.998) * 0.1
    )


def test_the_average_of_what_stands_still_stands_still() -> None:
    network = TINY.build(2)
    average = Averaged(network, 0.998)
    for step in range(5):
        average.update(network, step)
    for name, value in network.state_dict().items():
        torch.testing.assert_close(average.weights[name], value)
