"""Options that say which files are written and how, for every command that writes them."""

import argparse

from nuhtc.runtime.console.options import names_of, whole
from nuhtc.runtime.pipeline.settings import OVERLAPS
from nuhtc.runtime.writers import FORMATS


def add_output_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say how files are written, for every command that writes them."""
    parser.add_argument(
        "--overlaps",
        choices=OVERLAPS,
        default=OVERLAPS[0],
        help="what neighbouring outlines share: keep it in both, or divide it, each pixel to the "
        "higher score (default: %(default)s)",
    )
    parser.add_argument(
        "--centroids",
        action="store_true",
        help="also write .centroids.geojson.gz: a point per nucleus for QuPath",
    )
    parser.add_argument(
        "--max-objects-per-file",
        type=whole(1),
        metavar="N",
        help="split QuPath files, which QuPath reads into memory whole (default: one file)",
    )


formats = names_of(FORMATS, "all")
"""Reads the formats that an option names."""
