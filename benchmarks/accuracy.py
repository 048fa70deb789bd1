"""How good a bundle is on held-out pictures, through the whole runtime.

    python benchmarks/accuracy.py ../shared/data/consep ../shared/data/monuseg ../shared/data/tnbc

Every picture goes the way a slide goes (tiles, network, outlines, stitching), its outlines
are painted back, and the result is compared with the annotation. Only pictures that
training never sees are used (`nuhtc.training.datasets.is_validation`).
"""

import argparse
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nuhtc.runtime.bundle import Bundle, default_bundle, load_bundle
from nuhtc.runtime.detections import Engine
from nuhtc.runtime.engine import open_engine
from nuhtc.runtime.nuclei import UNITS_PER_PX, Nuclei
from nuhtc.runtime.pipeline import RunSettings, segment_slide
from nuhtc.runtime.slide import open_slide
from nuhtc.training.datasets import ImageFile, find_images, is_validation, read_image
from nuhtc.training.metrics import PanopticQuality, panoptic_quality


def paint(nuclei: Nuclei, height: int, width: int) -> NDArray[np.int32]:
    """Label map int32 (height, width) of outlines on whole pixels, best score on top.

    An outline runs along pixel edges, so a pixel is inside where an odd number of its
    upright edges lies to the left.
    """
    result = np.zeros((height, width), np.int32)
    coords = nuclei.coords // UNITS_PER_PX
    for i in np.argsort(nuclei.score, kind="stable"):
        ring = coords[nuclei.offsets[i] : nuclei.offsets[i + 1]]
        x0, y0 = ring.min(axis=0)
        x1, y1 = ring.max(axis=0)
        crossings = np.zeros((y1 - y0, x1 - x0 + 1), np.int64)
        for (xa, ya), (xb, yb) in zip(ring, np.roll(ring, -1, axis=0), strict=True):
            if xa == xb:
                crossings[min(ya, yb) - y0 : max(ya, yb) - y0, xa - x0] += 1
        inside = np.cumsum(crossings, axis=1)[:, :-1] % 2 == 1
        result[y0:y1, x0:x1][inside] = i + 1
    return result


def measure(file: ImageFile, engine: Engine, bundle: Bundle, tile: int) -> PanopticQuality:
    """Run one picture and compare it with its annotation."""
    card = bundle.card
    slide = open_slide(file.image, mpp=card.mpp, picture_mpp=card.mpp)
    settings = RunSettings(
        tile_px=tile, overlap_px=64, min_score=card.detection.score, min_area_um2=2.0
    )
    nuclei, _ = segment_slide(slide, engine, bundle, settings)
    truth = read_image(file.image, file.label, len(card.classes)).instances
    return panoptic_quality(truth, paint(nuclei, *truth.shape))


def main() -> None:
    """Print mean PQ, DQ, SQ and Dice for each data set."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, nargs="+", help="folders of annotated pictures")
    parser.add_argument("--bundle", type=Path, default=default_bundle())
    parser.add_argument("--tile", type=int, help="side of a tile (default: the model's)")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--json", type=Path, help="also write the figures of every picture here")
    arguments = parser.parse_args()
    bundle = load_bundle(arguments.bundle)
    engine = open_engine(bundle, "auto", arguments.threads)
    report: dict[str, dict[str, dict[str, float]]] = {}
    for root in arguments.data:
        files = [file for file in find_images(root.resolve()) if is_validation(file)]
        rows = {}
        for file in files:
            q = measure(file, engine, bundle, arguments.tile or bundle.card.tile)
            rows[file.stem] = {"pq": q.pq, "dq": q.dq, "sq": q.sq, "dice": q.dice}
            print(
                f"  {file.stem:<28} PQ {q.pq:.4f}  DQ {q.dq:.4f}  SQ {q.sq:.4f}  Dice {q.dice:.4f}"
            )
        mean = {
            key: float(np.mean([row[key] for row in rows.values()]))
            for key in ("pq", "dq", "sq", "dice")
        }
        print(
            f"{files[0].dataset}: {len(rows)} pictures, PQ {mean['pq']:.4f}, DQ {mean['dq']:.4f}, "
            f"SQ {mean['sq']:.4f}, Dice {mean['dice']:.4f}"
        )
        report[files[0].dataset] = {"mean": mean, **rows}
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
