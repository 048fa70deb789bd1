"""Any number of nuclei made by code from a fixed seed, for the benchmarks of the store and writers.

Outlines have 24 points on pixel edges; there are five classes and seventy nuclei to a tile of
256 pixels.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from timing import Stopwatch

from nuhtc.runtime.bundle.card import BundleFacts, NucleusClass
from nuhtc.runtime.nuclei.candidates import Candidates
from nuhtc.runtime.nuclei.nuclei import Nuclei, place_on_slide
from nuhtc.runtime.nuclei.ragged import ring_areas, ring_bounds, ring_centroids
from nuhtc.runtime.slides.slide import SlideFacts
from nuhtc.runtime.stitching.stream import CHUNK
from nuhtc.runtime.store.manifest import PART_TILES, Manifest
from nuhtc.runtime.store.writer import StoreWriter
from nuhtc.runtime.tiles.grid import Grid, tile_boxes
from nuhtc.runtime.writers.target import Target

CLASSES = tuple(
    NucleusClass(name, (40 * i, 200 - 40 * i, 90))
    for i, name in enumerate(("Neoplastic", "Inflammatory", "Connective", "Dead", "Epithelial"))
)
TILE, OVERLAP, PER_TILE, SIDE = 256, 64, 70, 100_000
GRID = Grid(SIDE, SIDE, TILE, OVERLAP)
SLIDE = SlideFacts("made.svs", "sha256:made", SIDE, SIDE, 0.25)


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
        yield place_on_slide(candidates, scale=1.0, width=SIDE, height=SIDE)


def target(folder: Path, total: int) -> Target:
    """Return what writers are told of so many nuclei."""
    tiles = np.arange(total // PER_TILE + 300, dtype=np.int64)
    boxes = tile_boxes(GRID, tiles, 1.0, SLIDE)
    return Target(folder, "made", SLIDE, CLASSES, tiles, boxes, {"versions": {}})


def fill_store(folder: Path, total: int) -> float:
    """Make a store of so many candidates and return the seconds that appending takes."""
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
    watch = Stopwatch()
    with StoreWriter(folder, manifest) as writer:
        for part in range(manifest.parts):
            first = part * PART_TILES
            candidates = made(first, min(PART_TILES * PER_TILE, total - first * PER_TILE))
            with watch:
                writer.append(candidates, [])
        with watch:
            writer.finish()
    return watch.seconds
