"""The proof of parity: passes for what was exported, fails for anything else."""

import copy
import math

import pytest
import torch
from made.exports import Exported

from nuhtc.export.proof.limits import limits_for
from nuhtc.export.proof.parity import Difference, compare
from nuhtc.runtime.bundle.load import Bundle
from nuhtc.training.network.nuhtc import NuHTC

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def differences(exported: Exported, network: NuHTC, bundle: Bundle) -> dict[str, Difference]:
    limits = limits_for("fp32", bundle.card.precisions["fp32"])
    found = compare(network, exported.preset, bundle, exported.tiles, limits)
    assert len({d.output for d in found}) == len(found)
    return {d.output: d for d in found}


@pytest.mark.parametrize("storage", ["float32", "float16"])
def test_what_was_exported_passes(exported: Exported, storage: str) -> None:
    found = differences(exported, exported.network, getattr(exported, storage))
    assert {name.split(".")[0] for name in found} == {"trunk", "heads", "masks"}
    assert [d for d in found.values() if not d.passes] == []
    assert all(0 <= d.mean <= d.largest for d in found.values())


def test_float32_is_closer_than_float16(exported: Exported) -> None:
    whole = differences(exported, exported.network, exported.float32)
    half = differences(exported, exported.network, exported.float16)
    assert all(whole[name].mean < half[name].mean for name in whole)


def changed(network: NuHTC, parameter: str, change: float) -> NuHTC:
    other = copy.deepcopy(network)
    with torch.no_grad():
        dict(other.named_parameters())[parameter].add_(change)
    return other


@pytest.mark.parametrize(
    ("parameter", "change", "expected"),
    [
        ("mask.logits.bias", 1.0, {"masks.masks"}),
        ("mask.logits.bias", math.nan, {"masks.masks"}),
        ("stages.2.classifier.bias", 2.0, set()),
        ("stages.2.deltas.bias", 3.0, {"heads.boxes"}),
        ("semantic.logits.bias", 2.0, {"trunk.foreground"}),
        ("rpn.objectness.bias", 1.0, {"trunk.scores"}),
    ],
)
def test_a_difference_is_found_where_it_is(
    exported: Exported, parameter: str, change: float, expected: set[str]
) -> None:
    other = changed(exported.network, parameter, change)
    found = differences(exported, other, exported.float32)
    # The same number for every class and for object and background changes no probability.
    failed = {name for name, d in found.items() if not d.passes}
    # Masks are looked at on the boxes of the network given, so they stay right in their place.
    assert failed == expected


@pytest.mark.parametrize(
    ("largest", "limit", "passes"),
    [(0.0, 0.0, True), (0.5, 0.5, True), (0.51, 0.5, False), (math.nan, 1.0, False),
     (math.inf, 1.0, False), (0.0, math.nan, False)],
)  # fmt: skip
def test_what_passes(largest: float, limit: float, passes: bool) -> None:
    assert Difference("x", largest, 0.0, limit).passes is passes
