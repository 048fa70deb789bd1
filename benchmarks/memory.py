"""Measure the peak memory of everything that reads or writes a whole slide's nuclei.

    python benchmarks/memory.py [--nuclei N] [--only STEP] [--json]

The store is filled once. Each format is then made from it by `nuhtc-convert`, stitching included;
the overlay is drawn from it; and each file that can be imported is converted again. Every step
is a process of its own, and its peak is what the kernel says of it (VmHWM). Five million nuclei
take about 20 GB of disk for a while, in the folder for temporary files.
"""

import argparse
import contextlib
import io
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from many_nuclei import CLASSES, GRID, SIDE, SLIDE, fill_store
from numpy.typing import NDArray

from nuhtc.runtime.cli.convert import main as convert
from nuhtc.runtime.nuclei.view import View
from nuhtc.runtime.store.reader import open_store
from nuhtc.runtime.writers import FORMATS
from nuhtc.runtime.writers.overlay import Survey, write_overlay

IMPORTS = {
    "import .geojson.gz": "made.geojson.gz",
    "import .gpkg": "made.gpkg",
    "import .parquet": "made.parquet",
    "import DSA": "made.dsa/1-Neoplastic.json",
}
STEPS = ("store", *FORMATS, "overlay", *IMPORTS)


class Glass:
    """A slide without anything on it, as large as the nuclei need."""

    width = height = SIDE

    def thumbnail(self, side: int) -> NDArray[np.uint8]:
        """Return a white overview."""
        return np.full((side, side, 3), 255, np.uint8)

    def read(self, x: int, y: int, level: int, width: int, height: int) -> NDArray[np.uint8]:
        """Return white."""
        return np.full((height, width, 3), 255, np.uint8)


def draw(folder: Path) -> None:
    """Draw the overlay as `nuhtc-run` does."""
    store = open_store(folder / "made.nuclei")

    def nuclei():
        return store.iter_nuclei(View(min_area_um2=2))

    survey = Survey(Glass(), len(CLASSES))
    for some in nuclei():
        survey.add(some)
    write_overlay(folder / "made.overlay.png", survey, nuclei(), CLASSES)


def work(step: str, folder: Path, total: int) -> None:
    """Do one step, in a process of its own."""
    if step == "store":
        fill_store(folder / "made.nuclei", total)
    elif step == "overlay":
        draw(folder)
    else:
        source, form = IMPORTS.get(step, "made.nuclei"), step if step in FORMATS else "geoparquet"
        out = folder if step in FORMATS else folder / "again"
        argv = [folder / source, "--to", form, "--out", out]
        # The Digital Slide Archive's files do not say um/px.
        more = [] if step in FORMATS else ["--mpp", SLIDE.mpp]
        with contextlib.redirect_stdout(io.StringIO()):
            if convert([str(one) for one in [*argv, *more]]):
                raise SystemExit(f"{step} failed")


def peak_megabytes() -> float:
    """Return this process's peak memory so far."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def measured(step: str, folder: Path, total: int) -> float:
    """Return the peak memory of a process that does one step."""
    argv = [sys.executable, __file__, "--nuclei", str(total), "--only", step]
    done = subprocess.run(
        [*argv, "--in", str(folder)], stdout=subprocess.PIPE, text=True, check=True
    )
    return float(done.stdout)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Peak memory of the store, writers and imports.")
    parser.add_argument("--nuclei", type=int, default=5_000_000)
    parser.add_argument("--only", choices=STEPS, help="this step alone")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--in", type=Path, dest="folder", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    total = arguments.nuclei
    if total > GRID.rows * GRID.cols * 70:
        parser.error(f"--nuclei {total}: the made slide has no room for so many")
    if arguments.folder is not None:
        work(arguments.only, arguments.folder, total)
        print(peak_megabytes())
        return
    peaks = {}
    with tempfile.TemporaryDirectory() as made_here:
        folder = Path(made_here)
        for step in STEPS if arguments.only is None else ("store", arguments.only):
            source = IMPORTS.get(step)
            if source is not None and not (folder / source).exists():
                form = {"geojson.gz": "qupath", "gpkg": "sql", "parquet": "geoparquet"}
                work(form.get(source.removeprefix("made."), "dsa"), folder, total)
            peaks[step] = measured(step, folder, total)
            if not arguments.json:
                print(f"{step:<20} {peaks[step]:6.0f} MB at most", flush=True)
            shutil.rmtree(folder / "made.coco", ignore_errors=True)
    if arguments.json:
        print(json.dumps({"nuclei": total, "peak_megabytes": peaks}))


if __name__ == "__main__":
    main()
