"""Time the choice among overlapping tiles' answers beside shapely's tree, and measure its memory.

    python benchmarks/stitch.py [--tiny] [--json] [--repeat N] [--candidates N] [--rival N]

The answers are made by code from a fixed seed: nuclei of about 30 px, each seen by every tile
that holds it whole. shapely gets fewer of them (`--rival`), as it would take minutes for all;
polygons are made for it beforehand, which is not counted. Memory is the most that the process
held beyond its input, in a process of its own; times are processor seconds on one thread,
medians over the repetitions.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from kernels import centred_boxes, median_seconds, wavy_masks
from numpy.typing import NDArray

from nuhtc.native.outlines import trace_masks
from nuhtc.native.stitch import resolve_borders

TILE, OVERLAP = 256, 64
PER_NUCLEUS = 1.39
"""Tiles that see a nucleus whole, about."""


@dataclass(frozen=True)
class Stitching:
    """What choosing among candidates takes.

    Attributes
    ----------
    candidates
        How many.
    seconds
        For all of them.
    peak_mb
        Memory beyond the input, in 10**6 bytes.
    rival_candidates
        How many shapely got.
    tree_seconds
        shapely: the tree built, and asked for all pairs that intersect.
    rival_seconds
        The same and the areas that the pairs share, by which to choose.
    """

    candidates: int
    seconds: float
    peak_mb: float
    rival_candidates: int
    tree_seconds: float
    rival_seconds: float

    @property
    def pace(self) -> float:
        """Candidates per second."""
        return self.candidates / self.seconds

    def ratio(self, rival_seconds: float) -> float:
        """How many times as long a rival takes per candidate."""
        return rival_seconds / self.rival_candidates * self.pace


def answers(rng: np.random.Generator, nuclei: int) -> dict[str, Any]:
    """Make nuclei in a jittered raster, each seen by every tile that holds it whole."""
    columns = round(nuclei**0.5)
    raster = np.stack(np.meshgrid(np.arange(columns), np.arange(columns)), -1).reshape(-1, 2)
    corner = raster * 36 + rng.integers(0, 8, raster.shape)
    stride = TILE - OVERLAP
    last = np.maximum(corner // stride, 0)
    steps = np.array([(0, 0), (1, 0), (0, 1), (1, 1)])
    tile = (last[:, None] - steps).reshape(-1, 2)
    nucleus = np.repeat(np.arange(len(corner)), 4)
    whole = (tile >= 0) & (corner[nucleus] + 34 <= tile * stride + TILE)
    seen = np.flatnonzero(whole.all(axis=1))
    tile, nucleus = tile[seen], nucleus[seen]

    looks = 64
    boxes = centred_boxes(rng, looks, 17, 18, (28, 31))
    coords, offsets, area, _, bbox = trace_masks(wavy_masks(rng, looks), boxes, 36, 36)
    look = rng.integers(0, looks, len(corner))[nucleus]
    lengths = (offsets[1:] - offsets[:-1])[look]
    ends = np.concatenate([[0], np.cumsum(lengths)])
    point = np.arange(ends[-1]) - np.repeat(ends[:-1] - offsets[look], lengths)
    place = (corner[nucleus] + rng.integers(-1, 2, tile.shape)).astype(np.int32)
    border = OVERLAP // 2
    middle = corner[nucleus] + 17 - tile * stride - border
    return {
        "coords": coords[point] + np.repeat(place, lengths, axis=0),
        "offsets": ends,
        "bbox": bbox[look] + np.tile(place, 2),
        "area": area[look].astype(np.int64),
        "tile": (tile[:, 1] * (columns + 1) + tile[:, 0]).astype(np.int32),
        "owned": ((middle >= 0) & (middle < stride)).all(axis=1),
        "cut": np.zeros(len(tile), np.bool_),
        "score": rng.random(len(tile), np.float32),
    }


def polygons_of(coords: NDArray[np.int32], offsets: NDArray[np.int64]) -> NDArray[np.object_]:
    """Return the outlines as shapely's polygons."""
    rings = shapely.linearrings(
        coords.astype(np.float64), indices=np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    )
    polygons: NDArray[np.object_] = shapely.polygons(rings)
    return polygons


def pairs_by_tree(polygons: NDArray[np.object_]) -> NDArray[np.int64]:
    """Find the pairs that intersect in shapely's tree."""
    a, b = shapely.STRtree(polygons).query(polygons, predicate="intersects")
    return np.stack([a, b])[:, a < b]


def shared_by_tree(polygons: NDArray[np.object_]) -> NDArray[np.float64]:
    """Find the pairs, with the areas that they share."""
    a, b = pairs_by_tree(polygons)
    shared: NDArray[np.float64] = shapely.area(shapely.intersection(polygons[a], polygons[b]))
    return shared


def status_kb(name: str) -> int:
    """Return one of this process's sizes in kB, as Linux gives it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))


def peak_of(given: Path) -> int:
    """Return the bytes held beyond the input, at most, while choosing; in a fresh process."""
    arrays = {path.stem: np.load(path) for path in given.iterdir()}
    resolve_borders(
        **{name: array[:0] for name, array in arrays.items()}
        | {"coords": arrays["coords"][:0], "offsets": np.zeros(1, np.int64)}
    )
    before = status_kb("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    resolve_borders(**arrays)
    return (status_kb("VmHWM") - before) * 1024


def measured_peak(given: dict[str, Any]) -> int:
    """Run `peak_of` in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        for name, array in given.items():
            np.save(Path(folder) / f"{name}.npy", array)
        answer = subprocess.run(
            [sys.executable, __file__, "--peak-of", folder],
            # Whatever is freed goes back to the system, so that the peak is one of used memory.
            env={**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"},
            capture_output=True,
            text=True,
            check=True,
        )
    return int(answer.stdout)


def time_stitching(candidates: int, rival: int, repeat: int) -> Stitching:
    """Time and measure the choice, and shapely's."""
    given = answers(np.random.default_rng(0), round(candidates / PER_NUCLEUS))
    seconds = median_seconds(lambda: resolve_borders(**given), repeat)
    peak = measured_peak(given)
    count = len(given["tile"])
    given = answers(np.random.default_rng(0), round(rival / PER_NUCLEUS))
    polygons = polygons_of(given["coords"], given["offsets"])
    return Stitching(
        count,
        seconds,
        peak / 1e6,
        len(polygons),
        median_seconds(lambda: pairs_by_tree(polygons), 1),
        median_seconds(lambda: shared_by_tree(polygons), 1),
    )


def main(argv: list[str] | None = None) -> None:
    """Time stitching and print a few lines, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tiny", action="store_true", help="few candidates, to try the script")
    parser.add_argument("--json", action="store_true", help="print JSON instead of lines")
    parser.add_argument("--repeat", type=int, default=5, help="repetitions, the median counts")
    parser.add_argument("--candidates", type=int, default=2_000_000, help="how many, about")
    parser.add_argument("--rival", type=int, default=40_000, help="how many shapely gets, about")
    parser.add_argument("--peak-of", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.peak_of:
        print(peak_of(options.peak_of))
        return
    if options.tiny:
        options.candidates, options.rival = 2000, 200
    one = time_stitching(options.candidates, options.rival, options.repeat)
    tree, rival = one.ratio(one.tree_seconds), one.ratio(one.rival_seconds)
    if options.json:
        figures = {"pace": one.pace, "tree_ratio": tree, "rival_ratio": rival}
        print(json.dumps({**asdict(one), **figures}, indent=1))
        return
    print(f"{one.candidates:,} candidates in {one.seconds:.2f} s: {one.pace / 1e6:.2f} million/s")
    print(f"memory beyond the input: {one.peak_mb:.0f} MB")
    print(
        f"shapely, {one.rival_candidates:,} candidates: tree {one.tree_seconds:.2f} s, "
        f"{tree:.0f} x per candidate; with shared areas {one.rival_seconds:.2f} s, {rival:.0f} x"
    )


if __name__ == "__main__":
    main()
