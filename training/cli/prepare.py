"""``nuhtc-prepare``: check a data set, and write it as our folder, as COCO or for NuHTC."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from nuhtc.runtime.console.bar import Bar
from nuhtc.runtime.console.command import run_command
from nuhtc.runtime.console.terminal import complain, say

# Whatever needs NumPy is imported where it is used, so that --help is answered at once.

FORMATS = ("folder", "coco", "nuhtc")


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    result = argparse.ArgumentParser(
        prog="nuhtc-prepare",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Check a data set of annotated pictures: read everything, count the nuclei,\n"
        "list what is wrong. With --out, write it in another layout.",
        epilog="known layouts:\n"
        "  PanNuke   images.npy, masks.npy, types.npy; Fold 1/images/fold1/... as downloaded;\n"
        "            images/fold1/... with masks/fold1/...; one fold, or several at once\n"
        "  CoNSeP    Train/Images/*.png with Train/Labels/*.mat\n"
        "  CoNIC     images.npy, labels.npy\n"
        "  COCO      any .json of instance masks (polygons or RLE), or a folder that has\n"
        "            annotations.json\n"
        "  folder    images/*.png, labels/*.npz and, if wanted, dataset.json",
    )
    result.add_argument("data", type=Path, metavar="PATH", help="a folder, or a COCO .json")
    result.add_argument(
        "--images", type=Path, metavar="DIR", help="the pictures of a COCO .json, if elsewhere"
    )
    result.add_argument(
        "--out", type=Path, metavar="DIR", help="write the data set to this new folder"
    )
    result.add_argument(
        "--format",
        choices=FORMATS,
        help="what --out gets: images/*.png with labels/*.npz (folder, the default), images/*.png "
        "with annotations.json (coco), or rgb, rgb_seg and coco/ as NuHTC has them (nuhtc)",
    )
    result.add_argument("--json", action="store_true", help="print the report as JSON")
    return result


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``nuhtc-prepare``; returns the exit code."""
    command = parser()
    arguments = command.parse_args(argv)
    if arguments.format is not None and arguments.out is None:
        command.error("--format says what --out gets; give --out DIR too")
    return run_command("nuhtc-prepare", lambda: _prepare(arguments), "stopped; nothing was written")


def _prepare(arguments: argparse.Namespace) -> int:
    from nuhtc.training.data.examine import examine
    from nuhtc.training.data.open import open_set
    from nuhtc.training.data.write import check_free, write_set

    if arguments.out is not None:
        # Before minutes of reading, not after them.
        check_free(arguments.out)
    source = open_set(arguments.data, arguments.images)
    with Bar("reading", "pictures", len(source)) as bar:
        report = examine(source, bar.step)
    # Half a data set would look like a whole one.
    written = arguments.out if not report.problems else None
    if written is not None:
        with Bar("writing", "pictures", len(source)) as bar:
            write_set(source, written, arguments.format or "folder", bar.step)
    if arguments.json:
        out = None if written is None else str(written)
        say(json.dumps(report.as_json() | {"written": out}, ensure_ascii=False))
    else:
        say(report.as_text())
        if written is not None:
            say(f"{written}: {len(source):,} pictures written")
    if report.problems and arguments.out is not None:
        complain("nuhtc-prepare", f"{arguments.out}: not written; mend what is listed first")
    return 1 if report.problems else 0
