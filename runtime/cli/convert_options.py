"""The command line of `nuhtc-convert`: its options, their defaults and their limits."""

import argparse
import sys
from importlib import metadata
from pathlib import Path
from typing import Final

from nuhtc.runtime.cli.output_options import add_output_options, formats
from nuhtc.runtime.console.options import number
from nuhtc.runtime.ground.errors import UsageError
from nuhtc.runtime.writers import DEFAULT_FORMATS, FORMATS

PROG: Final = "nuhtc-convert"

_EPILOG = """\
SOURCE is a .nuclei folder that nuhtc-run left, or a file that holds outlines: .geojson, .json
(QuPath's, NuHTC's or the Digital Slide Archive's, also gzipped), .gpkg or .parquet. Invalid
outlines of a file are repaired, and their number is said.

--classes map.json renames, merges (equal new names) or drops (null) classes:
  {"Neoplastic": "Tumour", "Dead": null, "Epithelial": {"name": "Tumour", "color": [200, 0, 0]}}

exit code: 0 done, 1 failed, 2 wrong usage
"""


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Return the command line's arguments.

    Raises
    ------
    SystemExit
        0 after --help and --version, 2 when the arguments make no sense.
    UsageError
        When an option has no meaning for this source or without another option.
    """
    arguments = _parser().parse_args(argv)
    store = arguments.source.is_dir()
    for given, option, why in (
        (arguments.json and not arguments.info, "--json", "is for --info"),
        (arguments.mpp is not None and store, "--mpp", "is for a file; a store knows its um/px"),
        (arguments.coco_images and not store, "--coco-images", "is for a store"),
        (
            arguments.overlaps != "keep" and not store,
            "--overlaps",
            "is for a store; outlines of a file are taken as they are",
        ),
        (
            arguments.coco_images and "coco" not in arguments.format,
            "--coco-images",
            "is for --format coco",
        ),
    ):
        if given:
            raise UsageError(f"{option}: {why}")
    return arguments


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROG,
        usage=f"{PROG} [-h] SOURCE [--format NAME[,NAME]] [--out DIR] [options]",
        description="Make files of every format from a store, or from a file of outlines.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("source", type=Path, metavar="SOURCE", help="a .nuclei folder, or a file of outlines")
    add(
        "--format",
        "--to",
        type=formats,
        default=DEFAULT_FORMATS,
        metavar="NAME[,NAME]",
        help=f"of: {', '.join(FORMATS)}; or all (default: {','.join(DEFAULT_FORMATS)})",
    )
    add("--out", type=Path, metavar="DIR", help="where files go (default: beside SOURCE)")
    add_output_options(parser)
    add(
        "--min-score",
        type=number(0, 1),
        metavar="P",
        help="least score, not below the store's (default: the store's)",
    )
    add(
        "--min-area-um2",
        type=number(0, sys.float_info.max),
        metavar="A",
        help="least area in um2 (default: as nuhtc-run, 2; 0 for a file)",
    )
    add("--classes", type=Path, metavar="MAP.json", help="rename, merge or drop classes")
    add(
        "--region",
        type=_rectangle,
        metavar="X,Y,W,H",
        help="only nuclei whose centre lies there, level-0 pixels",
    )
    add(
        "--simplify",
        type=number(0, 1000),
        default=0.0,
        metavar="PX",
        help="let outlines move by so many level-0 pixels to have fewer points (default: exact)",
    )
    add(
        "--coco-images", type=Path, metavar="SLIDE", help="for coco, the tiles' pictures from there"
    )
    add("--mpp", type=float, metavar="UM", help="um per pixel, for a file that does not say it")
    add("--info", action="store_true", help="say what the store holds, and write nothing")
    add("--verify", action="store_true", help="check every checksum, and write nothing")
    add("--json", action="store_true", help="print --info as JSON")
    add("--verbose", action="store_true", help="say more on stderr")
    add("--version", action="version", version=f"nuhtc {metadata.version('nuhtc')}")
    return parser


def _rectangle(text: str) -> tuple[float, ...]:
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if len(numbers) != 4 or not all(abs(one) < 1e12 for one in numbers):
        raise argparse.ArgumentTypeError(f"{text} is not x,y,width,height")
    if numbers[2] <= 0 or numbers[3] <= 0:
        raise argparse.ArgumentTypeError(f"{text} has no width or no height")
    return numbers
