"""How good a bundle is on held-out pictures, through the whole runtime.

    python benchmarks/accuracy.py ../shared/data/consep ../shared/data/monuseg ../shared/data/tnbc

Every picture goes the way a slide goes (tiles, network, outlines, stitching), its outlines
are painted back, and the result is compared with the annotation. Only pictures that
training never sees are used (`nuhtc.training.data.splits.is_validation`). `nuhtc-eval` gives
many more measures of the same predictions.
"""

import argparse
import json
from pathlib import Path

import numpy as np

from nuhtc.runtime.bundle.load import default_bundle
from nuhtc.training.data.open import open_set
from nuhtc.training.data.splits import split
from nuhtc.training.measures.instance import compare
from nuhtc.training.predictions.bundle_model import open_bundle_model
from nuhtc.training.predictions.model import predict

MEASURES = ("pq", "dq", "sq", "dice")


def main() -> None:
    """Print mean PQ, DQ, SQ and Dice for each data set."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, nargs="+", help="folders of annotated pictures")
    parser.add_argument("--bundle", type=Path, default=default_bundle())
    parser.add_argument("--tile", type=int, help="side of a tile (default: the model's)")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--json", type=Path, help="also write the figures of every picture here")
    arguments = parser.parse_args()
    model = open_bundle_model(arguments.bundle, arguments.tile, arguments.threads)
    report: dict[str, dict[str, dict[str, float]]] = {}
    for root in arguments.data:
        dataset = open_set(root)
        rows = {}
        for index in split(dataset)[1]:
            image = dataset[index]
            quality = compare(image.instances, predict(model, image).instances)
            rows[image.name] = {name: getattr(quality, name) for name in MEASURES}
            print(f"  {image.name:<28} {figures(rows[image.name], '  ')}")
        mean = {name: float(np.mean([row[name] for row in rows.values()])) for name in MEASURES}
        print(f"{dataset.name}: {len(rows)} pictures, {figures(mean, ', ')}")
        report[dataset.name] = {"mean": mean, **rows}
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=2) + "\n")


def figures(row: dict[str, float], between: str) -> str:
    """Return a row's measures as text."""
    titles = {"pq": "PQ", "dq": "DQ", "sq": "SQ", "dice": "Dice"}
    return between.join(f"{titles[name]} {value:.4f}" for name, value in row.items())


if __name__ == "__main__":
    main()
