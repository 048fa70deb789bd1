"""The benchmark that rounds: it rounds what the engines round, and nothing else."""

import runpy
from typing import Any

import pytest
import torch
from made.tiny import TINY
from places import BENCHMARKS
from torch import nn

SCRIPT = BENCHMARKS / "half_accuracy.py"


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_the_layers_meant_round_and_others_do_not(kind: torch.dtype) -> None:
    script: dict[str, Any] = runpy.run_path(str(SCRIPT))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = TINY.build(2).eval()
    layers = {
        name: module
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear)
    }
    before = {name: module.weight.detach().clone() for name, module in layers.items()}
    count = script["round_layers"](network, str(kind).removeprefix("torch."))
    changed = {n for n, m in layers.items() if not torch.equal(m.weight, before[n])}
    assert len(changed) == count
    if kind == torch.float16:
        left = {name.rsplit(".", 1)[-1] for name in set(layers) - changed}
        assert left == script["LAST"] - {"classifier"}
    else:
        assert {name.split(".", 1)[0] for name in changed} == script["TRUNK"]
        assert {name.split(".", 1)[0] for name in set(layers) - changed} == {"stages", "mask"}
    assert all(torch.equal(layers[n].weight.to(kind).float(), layers[n].weight) for n in changed)
    x = torch.rand(1, 3, 96, 96)
    output = layers["backbone.stem"](x)
    assert torch.equal(output.to(kind).float(), output)
