"""Whether another tile grid finds the same nuclei: what a slide's answer owes to its tiles.

    python benchmarks/grid_agreement.py ../shared/data/consep [--bundle BUNDLE] [--shift PX]

Each held-out picture is segmented twice through the whole runtime, the second time with mirrored
pixels before it, so that every tile border lies elsewhere. Nuclei of both with an IoU above one
half are the same. Those within 32 px of the picture's edge do not count: there the mirrored
pixels change what the network sees.
"""

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nuhtc.runtime.bundle.load import default_bundle
from nuhtc.training.data.open import open_set
from nuhtc.training.data.splits import split
from nuhtc.training.measures.hovernet_protocol import centroids
from nuhtc.training.measures.overlaps import overlaps
from nuhtc.training.predictions.bundle_model import BundleModel, open_bundle_model

EDGE = 32


def inner(instances: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Which numbers have their middle away from the edge, bool (highest + 1,)."""
    count = int(instances.max(initial=0))
    far = np.zeros(count + 1, np.bool_)
    if count:
        middle = centroids(instances, count)
        far[1:] = ((middle >= EDGE) & (middle < np.array(instances.shape[::-1]) - EDGE)).all(axis=1)
    return far


def agreement(model: BundleModel, rgb: NDArray[np.uint8], shift: int) -> tuple[int, int, float]:
    """Nuclei that both grids find, the mean number that one finds, and the same ones' mean IoU."""
    here = model.find(rgb).instances
    padded = np.pad(rgb, ((shift, 0), (shift, 0), (0, 0)), mode="reflect")
    there = model.find(padded).instances[shift:, shift:]
    # A number whose pixels were all cut away would stand for a nucleus without an area.
    present, there = np.unique(there, return_inverse=True)
    there = there.reshape(here.shape).astype(np.int32) + (present[0] != 0)
    pairs = overlaps(here, there)
    good = pairs.ious > 0.5
    inner_here, inner_there = inner(here), inner(there)
    # A pair counts if either grid has it inside, and then for both.
    counted = good & (inner_here[pairs.truth_ids] | inner_there[pairs.found_ids])
    inner_here[pairs.truth_ids[counted]] = inner_there[pairs.found_ids[counted]] = True
    iou = float(pairs.ious[counted].mean()) if counted.any() else 1.0
    return int(counted.sum()), int(inner_here.sum() + inner_there.sum()), iou


def main() -> None:
    """Print the agreement of each picture and of all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, nargs="+", help="folders of annotated pictures")
    parser.add_argument("--bundle", type=Path, default=default_bundle())
    parser.add_argument("--tile", type=int, help="side of a tile in pixels (default: the model's)")
    parser.add_argument("--shift", type=int, help="pixels (default: half a tile)")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--flips", type=int, choices=(1, 2, 4), default=1, help="looks at a tile")
    arguments = parser.parse_args()
    model = open_bundle_model(arguments.bundle, arguments.tile, arguments.threads, arguments.flips)
    shift = arguments.shift or (arguments.tile or model.tile) // 2
    for root in arguments.data:
        dataset = open_set(root)
        same = total = 0
        for index in split(dataset)[1]:
            image = dataset[index]
            both, each, iou = agreement(model, image.rgb, shift)
            print(f"  {image.name:<28} F1 {2 * both / each:.4f}  mean IoU {iou:.4f}  nuclei {both}")
            same, total = same + both, total + each
        print(f"{dataset.name}: F1 {2 * same / total:.4f} over {same} nuclei, shift {shift} px")


if __name__ == "__main__":
    main()
