"""PQ of a checkpoint in float32 and with float16's rounding, which no CPU engine does.

ONNX Runtime on a CPU computes float16 graphs in float32 and does not round between layers.
Here PyTorch stands in for a device that does: weights, inputs and results of every layer but
the last ones, which the fp16 graphs keep in float32, are rounded to float16; sums within a layer
are float32, as tensor cores have them.
"""

import argparse
import json
from pathlib import Path

import torch
from torch import Tensor, nn

from nuhtc.export.quality import TorchEngine, measure
from nuhtc.runtime.bundle import default_bundle, load_bundle
from nuhtc.training.any_checkpoint import open_checkpoint
from nuhtc.training.data.open import open_set

LAST = frozenset({"objectness", "deltas", "classifier", "logits", "embedding"})
"""Layers whose results are boxes, scores, logits or the semantic feature."""


def rounded(x: Tensor) -> Tensor:
    """Values as float16 holds them, in float32."""
    return x.half().float()


def round_layers(network: nn.Module) -> int:
    """Make a network round as float16 does, in place; returns how many layers do."""
    count = 0
    for name, module in network.named_modules():
        if not isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            continue
        if name.rsplit(".", 1)[-1] in LAST:
            continue
        with torch.no_grad():
            for parameter in module.parameters(recurse=False):
                parameter.copy_(rounded(parameter))
        module.register_forward_pre_hook(lambda _, inputs: (rounded(inputs[0]),))
        module.register_forward_hook(lambda _, inputs, output: rounded(output))
        count += 1
    return count


def main() -> None:
    """Print PQ and mPQ of both for each data set."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path, help="model.pt of nuhtc-train")
    parser.add_argument("data", type=Path, nargs="+", help="annotated data sets")
    parser.add_argument("--bundle", type=Path, default=default_bundle(), help="for its card")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    arguments = parser.parse_args()
    network, preset, _ = open_checkpoint(arguments.checkpoint)
    bundle, engine = load_bundle(arguments.bundle), TorchEngine(network, preset.inference)
    report: dict[str, dict[str, float]] = {}
    for kind in ("float32", "float16"):
        if kind == "float16":
            print(f"{round_layers(network)} layers round to float16")
        for root in arguments.data:
            quality = measure(bundle, engine, open_set(root))
            report.setdefault(root.name, {})[kind] = quality.pq
            print(f"{root.name} {kind}: PQ {quality.pq:.4f}", flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
