"""Time the store and every writer beside the plain way to write the same.

    python benchmarks/writers.py [--nuclei N] [--only NAME] [--json] [--memory]

Nuclei are made by code from a fixed seed: outlines of 24 points on pixel edges, five classes,
about seventy to a tile of 256 pixels. Each writer takes all of them in chunks once; the plain
way takes a fiftieth. With `--memory` each writer runs in a process of its own and its peak
memory is printed.
"""

import argparse
import gzip
import json
import resource
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import shapely

from nuhtc.runtime.bundle import NucleusClass
from nuhtc.runtime.candidates import Candidates
from nuhtc.runtime.grid import Grid
from nuhtc.runtime.nuclei import Nuclei, to_nuclei
from nuhtc.runtime.ragged import ring_areas, ring_bounds, ring_centroids
from nuhtc.runtime.store.manifest import PART_TILES, Manifest
from nuhtc.runtime.store.writer import StoreWriter
from nuhtc.runtime.summary import BundleFacts, SlideFacts
from nuhtc.runtime.view import CHUNK, tile_boxes
from nuhtc.runtime.writers import FORMATS
from nuhtc.runtime.writers.open import open_output
from nuhtc.runtime.writers.target import Target

CLASSES = tuple(
    NucleusClass(name, (40 * i, 200 - 40 * i, 90))
    for i, name in enumerate(("Neoplastic", "Inflammatory", "Connective", "Dead", "Epithelial"))
)
TILE, OVERLAP, PER_TILE, SIDE = 256, 64, 70, 100_000
GRID = Grid(SIDE, SIDE, TILE, OVERLAP)
SLIDE = SlideFacts("made.svs", "sha256:made", SIDE, SIDE, 0.25)
PLAIN_SHARE = 50


@dataclass(frozen=True)
class Timing:
    """One writer's time and size, and the plain way's."""

    writer: str
    nuclei: int
    per_second: float
    bytes_each: float
    plain: str
    plain_per_second: float
    plain_bytes_each: float


def made(first: int, count: int) -> Candidates:
    """Return `count` candidates from the tile `first` on: staircases around an octagon."""
    dice = np.random.default_rng(first)
    steps = dice.integers(1, 4, (count, 2, 3))
    signs_x = np.repeat([1, -1, -1, 1], 3)
    signs_y = np.repeat([1, 1, -1, -1], 3)
    moves = np.zeros((count, 24, 2), np.int64)
    moves[:, ::2, 0] = np.tile(steps[:, 0], 4) * signs_x
    moves[:, 1::2, 1] = np.tile(steps[:, 1], 4) * signs_y
    tile = first + np.arange(count) // PER_TILE
    corner = np.stack([tile % GRID.cols, tile // GRID.cols], axis=1) * GRID.stride
    start = corner + dice.integers(30, TILE - 50, (count, 2))
    points = start[:, None] + np.cumsum(moves, axis=1) - moves
    coords = points.reshape(-1, 2).astype(np.int32)
    offsets = np.arange(0, 24 * count + 1, 24, dtype=np.int64)
    probabilities = dice.dirichlet(np.full(5, 0.3), count).astype(np.float32)
    label = probabilities.argmax(axis=1).astype(np.uint8)
    return Candidates(
        coords=coords,
        offsets=offsets,
        area=ring_areas(coords, offsets) // 2,
        centroid=ring_centroids(coords, offsets),
        bbox=ring_bounds(coords, offsets),
        label=label,
        score=probabilities[np.arange(count), label],
        probabilities=probabilities,
        tile=tile.astype(np.int32),
        cut=np.zeros(count, np.bool_),
    )


def chunks(total: int) -> Iterator[Nuclei]:
    """Give nuclei as a view of a store would."""
    for start in range(0, total, CHUNK):
        candidates = made(start // PER_TILE, min(CHUNK, total - start))
        yield to_nuclei(candidates, scale=1.0, width=SIDE, height=SIDE)


def target(folder: Path, total: int) -> Target:
    """Return what writers are told."""
    tiles = np.arange(total // PER_TILE + 300, dtype=np.int64)
    boxes = tile_boxes(GRID, tiles, 1.0, SLIDE)
    return Target(folder, "made", SLIDE, CLASSES, tiles, boxes, {"versions": {}})


def size_of(folder: Path) -> int:
    """Return the bytes of all files of a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def time_writer(name: str, folder: Path, total: int) -> float:
    """Return the seconds that a writer itself takes, without the making of the nuclei."""
    spent, start = 0.0, time.perf_counter()
    with open_output(name, target(folder, total)) as output:
        spent += time.perf_counter() - start
        for nuclei in chunks(total):
            start = time.perf_counter()
            output.write(nuclei)
            spent += time.perf_counter() - start
        start = time.perf_counter()
    return spent + time.perf_counter() - start


def time_store(folder: Path, total: int) -> float:
    """Return the seconds that appending to a store takes."""
    tiles = -(-total // PER_TILE)
    manifest = Manifest(
        slide=SLIDE,
        bundle=BundleFacts("made", "sha256:made", 0.25),
        engine="made",
        precision="fp32",
        engine_reason="named",
        classes=CLASSES,
        grid=GRID,
        scale=1.0,
        settings={},
        tiles=np.arange(tiles),
        tissue_mm2=1.0,
        versions={},
    )
    spent = 0.0
    with StoreWriter(folder / "made.nuclei", manifest) as writer:
        for part in range(manifest.parts):
            first = part * PART_TILES
            candidates = made(first, min(PART_TILES * PER_TILE, total - first * PER_TILE))
            start = time.perf_counter()
            writer.append(candidates, [])
            spent += time.perf_counter() - start
        start = time.perf_counter()
        writer.finish()
    return spent + time.perf_counter() - start


def polygons(nuclei: Nuclei) -> list[shapely.Polygon]:
    """Return shapely polygons in pixels."""
    points = nuclei.coords / 100
    return [shapely.Polygon(points[low:high]) for low, high in pairwise(nuclei.offsets.tolist())]


def plain_store(folder: Path, nuclei: Nuclei) -> None:
    """Write arrays as they are."""
    np.savez_compressed(folder / "made.npz", **vars(nuclei))


def plain_qupath(folder: Path, nuclei: Nuclei) -> None:
    """Write features made of dictionaries."""
    features = [
        {
            "type": "Feature",
            "geometry": shapely.geometry.mapping(shape),
            "properties": {
                "objectType": "detection",
                "classification": {"name": CLASSES[label].name, "color": CLASSES[label].color},
                "measurements": {"Score": score, **dict(zip("abcde", shares, strict=True))},
            },
        }
        for shape, label, score, shares in rows(nuclei)
    ]
    with gzip.open(folder / "made.geojson.gz", "wt", compresslevel=1) as file:
        json.dump({"type": "FeatureCollection", "features": features}, file)


def plain_dsa(folder: Path, nuclei: Nuclei) -> None:
    """Write elements made of dictionaries."""
    elements = [
        {
            "type": "polyline",
            "points": [[x, y, 0] for x, y in shape.exterior.coords[:-1]],
            "closed": True,
            "label": {"value": CLASSES[label].name},
            "group": CLASSES[label].name,
            "user": {"score": score, "probabilities": shares},
        }
        for shape, label, score, shares in rows(nuclei)
    ]
    (folder / "made.json").write_text(json.dumps({"name": "made", "elements": elements}))


def plain_coco(folder: Path, nuclei: Nuclei) -> None:
    """Write annotations made of dictionaries."""
    from pycocotools import mask as coco_mask

    instances, results = [], []
    for number, (shape, label, score, _) in enumerate(rows(nuclei), start=1):
        x0, y0 = (int(side) - 30 for side in shape.bounds[:2])
        flat = [part for x, y in shape.exterior.coords for part in (x - x0, y - y0)]
        one = {"id": number, "image_id": 1, "category_id": label, "segmentation": [flat]}
        instances.append({**one, "area": shape.area, "bbox": list(shape.bounds), "iscrowd": 0})
        mask = coco_mask.merge(coco_mask.frPyObjects([flat], TILE, TILE))
        mask["counts"] = mask["counts"].decode()
        results.append({**one, "score": score, "segmentation": mask})
    (folder / "instances.json").write_text(json.dumps({"annotations": instances}))
    (folder / "results.json").write_text(json.dumps(results))


def plain_sql(folder: Path, nuclei: Nuclei) -> None:
    """Insert row by row, the index too."""
    database = sqlite3.connect(folder / "made.db")
    database.execute("CREATE TABLE n (id INTEGER PRIMARY KEY, g BLOB, l, s, a, b, c, d, e)")
    database.execute("CREATE VIRTUAL TABLE r USING rtree(id, x0, x1, y0, y1)")
    for number, (shape, label, score, shares) in enumerate(rows(nuclei), start=1):
        database.execute(
            "INSERT INTO n VALUES (?,?,?,?,?,?,?,?,?)", (number, shape.wkb, label, score, *shares)
        )
        x0, y0, x1, y1 = shape.bounds
        database.execute("INSERT INTO r VALUES (?,?,?,?,?)", (number, x0, x1, y0, y1))
    database.commit()
    database.close()


def plain_geoparquet(folder: Path, nuclei: Nuclei) -> None:
    """Write WKB made one by one."""
    table = pa.table(
        {
            "geometry": [shape.wkb for shape in polygons(nuclei)],
            "class": [CLASSES[label].name for label in nuclei.label.tolist()],
            "score": nuclei.score,
            **{one.name: nuclei.probabilities[:, i] for i, one in enumerate(CLASSES)},
        }
    )
    pq.write_table(table, folder / "made.parquet")


def rows(nuclei: Nuclei) -> Iterator[tuple[shapely.Polygon, int, float, list[float]]]:
    """Give polygon, label, score and probabilities of each nucleus."""
    yield from zip(
        polygons(nuclei),
        nuclei.label.tolist(),
        nuclei.score.tolist(),
        nuclei.probabilities.tolist(),
        strict=True,
    )


PLAIN: dict[str, tuple[str, Callable[[Path, Nuclei], None]]] = {
    "store": ("numpy.savez_compressed", plain_store),
    "qupath": ("shapely, json, gzip", plain_qupath),
    "dsa": ("shapely, json", plain_dsa),
    "sql": ("shapely, sqlite3 row by row", plain_sql),
    "coco": ("shapely, pycocotools, json", plain_coco),
    "geoparquet": ("shapely, pyarrow", plain_geoparquet),
}


def timed(name: str, total: int) -> Timing:
    """Time one writer and its plain counterpart."""
    with tempfile.TemporaryDirectory() as made_here:
        folder = Path(made_here)
        seconds = time_store(folder, total) if name == "store" else time_writer(name, folder, total)
        size = size_of(folder)
        shutil.rmtree(folder)
        folder.mkdir()
        few = max(1, total // PLAIN_SHARE)
        nuclei = Nuclei.concatenate(list(chunks(few)))
        what, write = PLAIN[name]
        start = time.perf_counter()
        write(folder, nuclei)
        plain_seconds = time.perf_counter() - start
        plain_size = size_of(folder)
    return Timing(
        writer=name,
        nuclei=total,
        per_second=total / seconds,
        bytes_each=size / total,
        plain=what,
        plain_per_second=few / plain_seconds,
        plain_bytes_each=plain_size / few,
    )


def peak_megabytes(name: str, total: int) -> float:
    """Return the peak memory of a process that writes so many nuclei."""
    done = subprocess.run(
        [sys.executable, __file__, "--nuclei", str(total), "--only", name, "--peak"],
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Time the store and every writer.")
    parser.add_argument("--nuclei", type=int, default=1_000_000)
    parser.add_argument("--only", choices=tuple(PLAIN))
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--memory", action="store_true", help="peak memory instead of time")
    parser.add_argument("--peak", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    names = [arguments.only] if arguments.only else ["store", *FORMATS]
    if arguments.peak:
        with tempfile.TemporaryDirectory() as folder:
            work = time_store if names[0] == "store" else None
            if work is not None:
                work(Path(folder), arguments.nuclei)
            else:
                time_writer(names[0], Path(folder), arguments.nuclei)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        return
    if arguments.memory:
        peaks = {name: peak_megabytes(name, arguments.nuclei) for name in names}
        if arguments.json:
            print(json.dumps(peaks))
            return
        for name, peak in peaks.items():
            print(f"{name:<11} {peak:6.0f} MB at most, {arguments.nuclei:,} nuclei")
        return
    timings = []
    for name in names:
        timings.append(timed(name, arguments.nuclei))
        if not arguments.json:
            one = timings[-1]
            print(
                f"{one.writer:<11} {one.per_second:>9,.0f}/s {one.bytes_each:>5.0f} B each   "
                f"{one.per_second / one.plain_per_second:>5.1f} x {one.plain} "
                f"({one.plain_per_second:,.0f}/s, {one.plain_bytes_each:.0f} B)",
                flush=True,
            )
    if arguments.json:
        print(json.dumps([asdict(one) for one in timings]))


if __name__ == "__main__":
    main()
