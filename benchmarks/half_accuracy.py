"""PQ of a checkpoint in float32, and with the rounding of float16 and bfloat16.

    python benchmarks/half_accuracy.py CHECKPOINT DATA [DATA ...] [--bundle BUNDLE] [--json FILE]

ONNX Runtime on a CPU computes float16 graphs in float32 and does not round between layers, and
few CPUs have bfloat16. Here PyTorch stands in for a device that rounds: weights, inputs and
results of layers are rounded, sums within a layer are float32, as tensor cores have them. For
float16 these are all layers but the last ones, as in the fp16 graphs; for bfloat16 all layers
of the trunk, as OpenVINO is told.
"""

import argparse
import json
from copy import deepcopy
from pathlib import Path

import torch
from torch import Tensor, nn

from nuhtc.export.proof.quality import measure
from nuhtc.runtime.bundle.load import default_bundle, load_bundle
from nuhtc.training.checkpoints.open import open_checkpoint
from nuhtc.training.data.open import open_set
from nuhtc.training.network.torch_graphs import torch_engine

LAST = frozenset({"objectness", "deltas", "classifier", "logits", "embedding"})
"""Layers whose results are boxes, scores, logits or the semantic feature."""


TRUNK = frozenset({"backbone", "pyramid", "rpn", "semantic"})

KINDS = {"float16": torch.float16, "bfloat16": torch.bfloat16}


def is_rounded(name: str, kind: str) -> bool:
    """Whether a layer of this name computes in the smaller type."""
    if kind == "bfloat16":
        return name.split(".", 1)[0] in TRUNK
    return name.rsplit(".", 1)[-1] not in LAST


def round_layers(network: nn.Module, kind: str) -> int:
    """Make a network round as one of KINDS does, in place; returns how many layers do."""

    def rounded(x: Tensor) -> Tensor:
        return x.to(KINDS[kind]).float()

    count = 0
    for name, module in network.named_modules():
        if not isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            continue
        if not is_rounded(name, kind):
            continue
        with torch.no_grad():
            for parameter in module.parameters(recurse=False):
                parameter.copy_(rounded(parameter))
        module.register_forward_pre_hook(lambda _, inputs: (rounded(inputs[0]),))
        module.register_forward_hook(lambda _, inputs, output: rounded(output))
        count += 1
    return count


def main() -> None:
    """Print the PQ of all for each data set."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path, help="model.pt of nuhtc-train")
    parser.add_argument("data", type=Path, nargs="+", help="annotated data sets")
    parser.add_argument("--bundle", type=Path, default=default_bundle(), help="for its card")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    arguments = parser.parse_args()
    network, preset, _ = open_checkpoint(arguments.checkpoint)
    bundle = load_bundle(arguments.bundle)
    report: dict[str, dict[str, float]] = {}
    for kind in ("float32", *KINDS):
        model = deepcopy(network)
        if kind in KINDS:
            print(f"{round_layers(model, kind)} layers round to {kind}")
        engine = torch_engine(model, preset, bundle.card.classes)
        for root in arguments.data:
            quality = measure(bundle, engine, open_set(root))
            of_set = report.setdefault(root.name, {})
            of_set[kind] = quality.pq
            difference = quality.pq - of_set["float32"]
            print(f"{root.name} {kind}: PQ {quality.pq:.4f} ({difference:+.4f})", flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
