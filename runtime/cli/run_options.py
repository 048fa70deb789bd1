"""The command line of `nuhtc-run`: its options, their defaults and their limits."""

import argparse
import math
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Final

from nuhtc.runtime.cli.output_options import add_output_options, formats
from nuhtc.runtime.console.options import available_cores, number, whole
from nuhtc.runtime.engines.names import ENGINES, FLIPS, PRECISIONS
from nuhtc.runtime.ground.errors import UsageError
from nuhtc.runtime.pipeline.settings import MIN_AREA_UM2, MOST_TILE_PX, OVERLAP_PX
from nuhtc.runtime.slides.resolution import check_mpp
from nuhtc.runtime.writers import DEFAULT_FORMATS, FORMATS

if TYPE_CHECKING:
    pass

DEMO: Final = "demo"
BENCH: Final = "bench"
DEMO_FOLDER: Final = Path("nuhtc-demo")

_EPILOG = """\
written for each SLIDE, under its name without the suffix:
  .nuclei        the store: nuhtc-convert makes every format from it, at once
  .geojson.gz    outlines, classes and scores: drag it onto the slide in QuPath
  .gpkg          the same as SQL tables: a GeoPackage for QGIS, R, Python and SQLite
  .overlay.png   a picture to look at
  .summary.json  counts, tissue area, settings, time

A run that was stopped continues where it was when the command is given again.

`nuhtc-run demo` makes a small slide by code and runs it; a file of that name is ./demo.
`nuhtc-run bench` times the model with every engine that works here.

exit code: 0 done, 1 something failed, 2 wrong usage, 3 done but parts are damaged
"""


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Return the command line's arguments, those checked that need no model.

    Raises
    ------
    SystemExit
        0 after --help and --version, 2 when the arguments make no sense.
    UsageError
        When --out is missing, --mpp is no resolution, or --coco-images has nothing to go with.
    """
    arguments = _parser().parse_args(argv)
    arguments.demo = arguments.slides == [Path(DEMO)]
    if arguments.out is None and not arguments.demo:
        raise UsageError("--out DIR is missing: say where the results go")
    arguments.out = arguments.out or DEMO_FOLDER
    if arguments.mpp is not None:
        check_mpp(arguments.mpp)
    if arguments.coco_images and "coco" not in arguments.format:
        raise UsageError("--coco-images: is for --format coco")
    arguments.threads = arguments.threads or available_cores()
    return arguments


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="nuhtc-run",
        usage="nuhtc-run [-h] SLIDE [SLIDE ...] --out DIR [options]\n       nuhtc-run demo\n"
        "       nuhtc-run bench [BUNDLE] [options]",
        description="Outline and classify every nucleus of H&E slides and pictures.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add(
        "slides",
        nargs="+",
        type=Path,
        metavar="SLIDE",
        help="a slide or picture, or a folder of them (its subfolders are not entered)",
    )
    add("--out", type=Path, metavar="DIR", help=f"where results go (demo: {DEMO_FOLDER})")
    add(
        "--mpp",
        type=float,
        metavar="UM",
        help="um per pixel of all slides given (default: from each file; pictures without "
        "a resolution: the model's)",
    )
    add(
        "--tile",
        type=whole(1, MOST_TILE_PX),
        metavar="PX",
        help="side of a tile in the model's pixels (default: the model's)",
    )
    add(
        "--overlap",
        type=whole(0),
        metavar="PX",
        help=f"shared by neighbouring tiles, wider than any nucleus (default: {OVERLAP_PX})",
    )
    add(
        "--score",
        type=number(0, 1),
        metavar="P",
        help="least probability of a nucleus, 0 to 1 (default: the model's)",
    )
    add(
        "--min-area",
        type=number(0, math.inf),
        default=MIN_AREA_UM2,
        metavar="UM2",
        help="least area of a nucleus in um2 (default: %(default)s)",
    )
    add(
        "--format",
        type=formats,
        default=DEFAULT_FORMATS,
        metavar="NAME[,NAME]",
        help=f"output formats, of: {', '.join(FORMATS)}; or all (default: "
        f"{','.join(DEFAULT_FORMATS)})",
    )
    add_output_options(parser)
    add(
        "--coco-images",
        action="store_true",
        help="with the format coco, write each tile's picture too",
    )
    add("--fresh", action="store_true", help="replace an earlier run's store instead of using it")
    add(
        "--bundle",
        type=Path,
        metavar="PATH",
        help="the model, a folder or .zip (default: the one in the package)",
    )
    add(
        "--engine",
        choices=ENGINES,
        default=ENGINES[0],
        help="what runs the model; auto takes the fastest that works here (default: %(default)s)",
    )
    add(
        "--precision",
        choices=PRECISIONS,
        default=PRECISIONS[0],
        help="what the network computes in; auto takes the bundle's fp16 on a GPU, else fp32 "
        "(default: %(default)s)",
    )
    add(
        "--flips",
        type=int,
        choices=FLIPS,
        default=FLIPS[0],
        help="look at each tile so often, turned or mirrored, and take the mean: more accurate, "
        "and so many times slower (default: %(default)s)",
    )
    add("--threads", type=whole(1), metavar="N", help="CPU threads (default: all cores)")
    add("--batch", type=whole(1), default=1, metavar="N", help="tiles at a time (default: 1)")
    add("--json", action="store_true", help="print each summary as one line of JSON")
    add("--verbose", action="store_true", help="say more on stderr")
    add("--version", action="version", version=f"nuhtc {metadata.version('nuhtc')}")
    return parser
