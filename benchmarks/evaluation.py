"""Time the evaluation of predictions, beside the plain way with one mask per nucleus.

    python benchmarks/evaluation.py [--tiny] [--json] [--seed N]

Pictures are made by code from a fixed seed: nuclei in a jittered raster, found again a little
moved, some missed, some invented, some of another class. Timed is everything that nuhtc-eval
does besides inference: all measures, and writing the report. The plain way compares every
pair of nuclei as whole masks, on one crop, and is scaled by the pairs it would have to compare.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nuhtc.training.data.images import AnnotatedImage
from nuhtc.training.data.numbering import renumber
from nuhtc.training.evaluation.evaluate import Evaluation, Task, evaluate
from nuhtc.training.evaluation.report import as_json, as_text, write_report
from nuhtc.training.evaluation.summary import summarise_all
from nuhtc.training.measures.overlaps import overlaps
from nuhtc.training.predictions.prediction import Prediction

CLASSES = ("Other", "Inflammatory", "Epithelial", "Spindle")


def made_map(rng: np.random.Generator, side: int, nuclei: int, shift: float) -> NDArray[np.int32]:
    """Return a label map of about `nuclei` ellipses; equal generators give equal nuclei."""
    columns = int(np.ceil(nuclei**0.5))
    cell = side / columns
    instances = np.zeros((side, side), np.int32)
    place = rng.permutation(columns**2)[:nuclei]
    centres = (np.stack(np.divmod(place, columns), 1) + 0.5) * cell
    centres += rng.uniform(-0.12, 0.12, centres.shape) * cell + shift
    halves = rng.uniform(0.3, 0.5, centres.shape) * cell
    for number, ((cy, cx), (hy, hx)) in enumerate(zip(centres, halves, strict=True), start=1):
        y0, x0 = (max(int(c - h), 0) for c, h in ((cy, hy), (cx, hx)))
        y, x = np.ogrid[y0 : min(int(cy + hy) + 2, side), x0 : min(int(cx + hx) + 2, side)]
        inside = ((y - cy) / hy) ** 2 + ((x - cx) / hx) ** 2 <= 1
        instances[y0 : y0 + inside.shape[0], x0 : x0 + inside.shape[1]][inside] = number
    return instances


def made_pair(seed: int, side: int, nuclei: int) -> tuple[AnnotatedImage, Prediction]:
    """Return one picture and what was found in it."""
    rng = np.random.default_rng(seed)
    truth, _ = renumber(made_map(np.random.default_rng(seed), side, nuclei, 0).astype(np.int64))
    moved = made_map(np.random.default_rng(seed), side, nuclei, 2.0).astype(np.int64)
    gone = rng.random(nuclei + 1) < 0.1
    moved[gone[moved]] = 0
    invented = made_map(rng, side, max(nuclei // 10, 1), 0)
    free = (moved == 0) & (invented > 0)
    moved[free] = invented[free] + nuclei
    found, numbers = renumber(moved)
    types = rng.integers(0, len(CLASSES), int(truth.max()) + 1)
    found_types = np.where(
        rng.random(len(numbers)) < 0.8,
        np.resize(types, nuclei * 2 + 2)[numbers],
        rng.integers(0, len(CLASSES), len(numbers)),
    )
    rgb = np.zeros((side, side, 3), np.uint8)
    scores = rng.random(len(numbers), np.float32)
    return (
        AnnotatedImage(f"made-{seed}", rgb, truth, types),
        Prediction(found, found_types.astype(np.int64), scores),
    )


def plain_ious(truth: NDArray[np.int32], found: NDArray[np.int32]) -> NDArray[np.float64]:
    """IoUs of every pair, one mask against another at a time."""
    numbers = [np.unique(map_[map_ > 0]) for map_ in (truth, found)]
    table = np.zeros((len(numbers[0]), len(numbers[1])))
    for i, a in enumerate(numbers[0]):
        mask = truth == a
        for j, b in enumerate(numbers[1]):
            other = found == b
            both = np.count_nonzero(mask & other)
            table[i, j] = both / np.count_nonzero(mask | other) if both else 0.0
    return table


def time_report(result: Evaluation) -> float:
    """Seconds for the report's files and texts."""
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        write_report(Path(folder), result)
    as_text(result)
    as_json(summarise_all(result))
    return time.perf_counter() - start


def main(argv: list[str] | None = None) -> None:
    """Time the evaluation and print a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tiny", action="store_true", help="small pictures, to try the script")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--seed", type=int, default=0, help="of the made-up nuclei")
    options = parser.parse_args(argv)
    pictures, side, nuclei = (2, 120, 20) if options.tiny else (14, 1000, 10_000 // 14 + 1)
    pairs = [made_pair(options.seed * 1000 + i, side, nuclei) for i in range(pictures)]

    task = Task("made", "made", "all", 0.25, CLASSES, CLASSES)
    start = time.perf_counter()
    result = evaluate(task, pairs)
    measuring = time.perf_counter() - start
    reporting = time_report(result)

    # One corner as large as a PanNuke picture at most, then as many pairs as all pictures have.
    part = slice(0, min(side, 256))
    truth, found = (
        np.ascontiguousarray(map_[part, part])
        for map_ in (pairs[0][0].instances, pairs[0][1].instances)
    )
    start = time.perf_counter()
    table = plain_ious(truth, found)
    plain = time.perf_counter() - start
    start = time.perf_counter()
    ious = overlaps(truth, found).ious
    ours = time.perf_counter() - start
    if not np.allclose(np.sort(table[table > 0]), np.sort(ious)):
        raise SystemExit("the two ways differ")
    work = sum(len(image) * len(prediction) * side**2 for image, prediction in pairs)
    timing = {
        "pictures": pictures,
        "side_px": side,
        "nuclei_annotated": sum(len(image) for image, _ in pairs),
        "nuclei_found": sum(len(prediction) for _, prediction in pairs),
        "measuring_seconds": measuring,
        "reporting_seconds": reporting,
        "seconds": measuring + reporting,
        "subset_side_px": truth.shape[0],
        "subset_pairs": table.size,
        "subset_overlaps_seconds": ours,
        "subset_plain_seconds": plain,
        "plain_seconds_for_all": plain * work / (table.size * truth.size),
        "mean_pq": summarise_all(result)["instance"]["pq"],
    }
    if options.json:
        print(json.dumps(timing, indent=1))
        return
    for name, value in timing.items():
        print(f"{name:26} {value:,.4f}" if isinstance(value, float) else f"{name:26} {value:,}")


if __name__ == "__main__":
    main()
