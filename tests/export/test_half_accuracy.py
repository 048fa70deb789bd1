"""The benchmark that rounds as float16 does: rounds what the graphs round, and nothing else."""

import runpy
from pathlib import Path
from typing import Any

import torch
from reference.tiny import TINY
from torch import nn

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "half_accuracy.py"


def test_layers_round_and_last_ones_do_not() -> None:
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
    count = script["round_layers"](network)
    changed = {n for n, m in layers.items() if not torch.equal(m.weight, before[n])}
    assert len(changed) == count
    assert {n.rsplit(".", 1)[-1] for n in set(layers) - changed} == script["LAST"] - {"classifier"}
    assert all(torch.equal(layers[n].weight.half().float(), layers[n].weight) for n in changed)
    x = torch.rand(1, 3, 96, 96)
    output = layers["backbone.stem"](x)
    assert torch.equal(output.half().float(), output)
