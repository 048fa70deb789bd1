"""Time the tiler beside openslide-python, per slide and model resolution.

    python benchmarks/tiler.py [SLIDE ...] [--mosaic PX] [--threads N] [--repeat N] [--json]

Every tile of a slide is read, from a newly opened slide each time (nothing decoded is left
from before; the operating system has the file in memory). Megapixels are the slide's own,
each once, whatever overlaps; the median over the repetitions counts, and all ways take turns.
Without a slide, one is made by code: the demo's tissue as a pyramid of JPEG tiles.
"""

import argparse
import json
import logging
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import openslide
import tifffile

from nuhtc.runtime.demo.pyramid import write_pyramid
from nuhtc.runtime.demo.slide import write_demo_slide
from nuhtc.runtime.slides.openslide_slide import OpenSlideSlide
from nuhtc.runtime.tiles.grid import Grid
from nuhtc.runtime.tiles.read_ahead import TileIterator

TILE, OVERLAP, RIVAL_TILE = 512, 64, 256
JPEG_TABLES, YCBCR = 347, 6


@dataclass(frozen=True)
class Timing:
    """One way of reading a whole slide."""

    slide: str
    way: str
    megapixels: float
    seconds: float

    @property
    def pace(self) -> float:
        """Megapixels of the slide per second."""
        return self.megapixels / self.seconds


def read_tiles(path: Path, model_mpp: float, threads: int, *, direct: bool = True) -> None:
    """Read every tile as a run does; 0.5 um/px stands for the slide's own resolution."""
    slide = OpenSlideSlide(path, 0.5, direct=direct)
    scale = 0.5 / model_mpp
    grid = Grid(round(slide.width * scale), round(slide.height * scale), TILE, OVERLAP)
    with TileIterator(slide, grid, range(grid.count), model_mpp / 0.5, threads) as tiles:
        for _ in tiles:
            pass
    slide.close()


def read_regions(path: Path, threads: int) -> None:
    """Read 256 px tiles through openslide-python, each converted to an RGB array."""
    slide = openslide.OpenSlide(path)
    width, height = slide.dimensions

    def read(place: tuple[int, int]) -> None:
        np.asarray(slide.read_region(place, 0, (RIVAL_TILE, RIVAL_TILE)).convert("RGB"))

    places = [(x, y) for y in range(0, height, RIVAL_TILE) for x in range(0, width, RIVAL_TILE)]
    if threads == 1:
        for place in places:
            read(place)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(read, places))
    slide.close()


def read_page(path: Path, threads: int) -> None:
    """Decode the whole first page with tifffile."""
    with tifffile.TiffFile(path) as file:
        file.pages.first.asarray(maxworkers=threads)


def time_slide(path: Path, threads: int, repeat: int) -> list[Timing]:
    """Time all ways in turns, after one round that does not count."""
    with openslide.OpenSlide(path) as slide:
        width, height = slide.dimensions
    ways: dict[str, Callable[[], None]] = {
        f"tiler, {threads} threads": lambda: read_tiles(path, 0.5, threads),
        "tiler, 1 thread": lambda: read_tiles(path, 0.5, 1),
        f"tiler through OpenSlide, {threads} threads": lambda: read_tiles(
            path, 0.5, threads, direct=False
        ),
        f"tiler, enlarged to half the um/px, {threads} threads": lambda: read_tiles(
            path, 0.2505, threads
        ),
        f"openslide-python, {threads} threads": lambda: read_regions(path, threads),
        "openslide-python, 1 thread": lambda: read_regions(path, 1),
        f"tifffile, whole page, {threads} threads": lambda: read_page(path, threads),
    }
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for turn in range(repeat + 1):
        for way, work in ways.items():
            start = time.perf_counter()
            work()
            if turn:
                seconds[way].append(time.perf_counter() - start)
    megapixels = width * height / 1e6
    return [
        Timing(path.name, way, megapixels, statistics.median(taken))
        for way, taken in seconds.items()
    ]


def made_slide(folder: Path, *, tiny: bool) -> Path:
    """Make a slide by code: the demo's, repeated to about 67 megapixels."""
    path, demo = folder / "made.tiff", folder / "demo.tiff"
    write_demo_slide(demo)
    with openslide.OpenSlide(demo) as slide:
        side = 300 if tiny else 2048
        picture = np.asarray(slide.read_region((0, 0), 0, (side, side)).convert("RGB"))
    copies = 1 if tiny else 4
    write_pyramid(path, np.tile(picture, (copies, copies, 1)), mpp=0.5, quality=80)
    return path


def mosaic(path: Path, side: int, folder: Path) -> Path:
    """Repeat a slide's whole JPEG tiles, as they are packed, to a square of about `side` pixels."""
    made = folder / f"mosaic_{path.stem}.tiff"
    with tifffile.TiffFile(path) as file:
        page = file.pages.first
        across, down = page.imagewidth // page.tilewidth, page.imagelength // page.tilelength
        columns, rows = side // page.tilewidth, side // page.tilelength
        stride = -(-page.imagewidth // page.tilewidth)
        packed = {}
        for index in (row * stride + column for row in range(down) for column in range(across)):
            file.filehandle.seek(page.dataoffsets[index])
            packed[index] = file.filehandle.read(page.databytecounts[index])
        tables = page.tags.get(JPEG_TABLES)
        tifffile.imwrite(
            made,
            (
                packed[row % down * stride + column % across]
                for row in range(rows)
                for column in range(columns)
            ),
            shape=(rows * page.tilelength, columns * page.tilewidth, 3),
            dtype=np.uint8,
            tile=(page.tilelength, page.tilewidth),
            photometric=page.photometric,
            compression="jpeg",
            # Without this, tifffile would call every JPEG YCbCr.
            compressionargs={"outcolorspace": "ycbcr" if page.photometric == YCBCR else "rgb"},
            extratags=tables and [(JPEG_TABLES, 7, tables.count, tables.value, True)],
            metadata=None,
        )
    return made


def main(argv: list[str] | None = None) -> None:
    """Time every slide and print a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("slides", type=Path, nargs="*", help="tiled TIFF or SVS files")
    parser.add_argument("--tiny", action="store_true", help="a small slide, to try the script")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--repeat", type=int, default=5, help="repetitions, the median counts")
    parser.add_argument(
        "--mosaic", type=int, metavar="PX", help="repeat each slide's JPEG tiles to a square"
    )
    parser.add_argument("--threads", type=int, default=2, help="reading threads")
    options = parser.parse_args(argv)
    logging.getLogger("nuhtc").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        slides = options.slides or [made_slide(Path(folder), tiny=options.tiny)]
        if options.mosaic:
            slides = [mosaic(path, options.mosaic, Path(folder)) for path in slides]
        timings = [
            timing
            for path in slides
            for timing in time_slide(path, options.threads, options.repeat)
        ]
    if options.json:
        print(json.dumps([{**asdict(each), "pace": each.pace} for each in timings], indent=1))
        return
    for each in timings:
        print(f"{each.slide:32} {each.way:48} {each.pace:8.1f} Mpx/s")


if __name__ == "__main__":
    main()
