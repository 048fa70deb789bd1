"""`nuhtc-convert`: every format from a store or from a saved file, without the network."""

import argparse
import json
import sys
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from nuhtc.runtime.arguments import add_output_options, formats, number
from nuhtc.runtime.errors import EXIT_DONE, NuhtcError, UsageError
from nuhtc.runtime.terminal import EXIT_INTERRUPTED, close_stdout, complain, log_to_stderr, say
from nuhtc.runtime.writers import DEFAULT_FORMATS, FORMATS

if TYPE_CHECKING:
    from nuhtc.runtime.outputs import Wanted
    from nuhtc.runtime.store.reader import Store
    from nuhtc.runtime.view import View

PROG = "nuhtc-convert"

_EPILOG = """\
SOURCE is a .nuclei folder that nuhtc-run left, or a file that holds outlines: .geojson, .json
(QuPath's, NuHTC's or the Digital Slide Archive's, also gzipped), .gpkg or .parquet. Invalid
outlines of a file are repaired, and their number is said.

--classes map.json renames, merges (equal new names) or drops (null) classes:
  {"Neoplastic": "Tumour", "Dead": null, "Epithelial": {"name": "Tumour", "color": [200, 0, 0]}}

exit code: 0 done, 1 failed, 2 wrong usage
"""


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return the exit code.

    Parameters
    ----------
    argv
        The arguments; None takes the process's own.
    """
    try:
        arguments = _parser().parse_args(argv)
        with log_to_stderr(PROG, verbose=arguments.verbose):
            _run(arguments)
        code = EXIT_DONE
    except NuhtcError as error:
        complain(PROG, error)
        code = error.exit_code
    except MemoryError:
        complain(PROG, "not enough memory")
        code = 1
    except KeyboardInterrupt:
        complain(PROG, "stopped; what is in the output folder is whole")
        code = EXIT_INTERRUPTED
    close_stdout()
    return code


def _run(arguments: argparse.Namespace) -> None:
    from nuhtc.runtime.outputs import Wanted, prepare_folder
    from nuhtc.runtime.store.reader import open_store

    wanted = Wanted(arguments.format, arguments.centroids, arguments.max_objects_per_file)
    out = arguments.out or arguments.source.resolve().parent
    if arguments.source.is_dir() or arguments.info or arguments.verify:
        store = open_store(arguments.source)
        if arguments.info:
            _info(store, as_json=arguments.json)
        if arguments.verify:
            size = store.verify()
            say(f"{store.folder}: {len(store.entries)} parts, {size:,} bytes, all whole")
        if not (arguments.info or arguments.verify):
            view = _view(arguments, store)
            prepare_folder(out)
            _convert_store(store, view, wanted, out, arguments.coco_images)
        return
    prepare_folder(out)
    _convert_file(arguments, wanted, out)


def _convert_store(
    store: "Store", view: "View", wanted: "Wanted", out: Path, pictured: Path | None
) -> None:
    from nuhtc.runtime.outputs import target_of, write_formats
    from nuhtc.runtime.summary import Tally
    from nuhtc.runtime.view import iter_nuclei

    target = target_of(store, view, out, store.folder.name.removesuffix(".nuclei"))
    tally = Tally(target.classes)
    chunks = iter_nuclei(store.parts(), store.manifest, store.ran, view)
    files = write_formats(target, tally.counting(chunks), wanted)
    _report(tally, files)
    if pictured is not None and "coco" in wanted.formats:
        from nuhtc.runtime.slide import open_slide
        from nuhtc.runtime.writers.coco_images import write_tile_images

        slide = open_slide(pictured, mpp=target.slide.mpp)
        try:
            say(f"  {write_tile_images(target, slide):,} pictures of tiles")
        finally:
            slide.close()


def _convert_file(arguments: argparse.Namespace, wanted: "Wanted", out: Path) -> None:
    import numpy as np

    from nuhtc.runtime.class_map import read_class_map
    from nuhtc.runtime.imports.read import SUFFIXES, import_file
    from nuhtc.runtime.outputs import write_formats
    from nuhtc.runtime.summary import Tally
    from nuhtc.runtime.view import View, in_chunks
    from nuhtc.runtime.writers.target import Target

    path = arguments.source
    if arguments.overlaps != "keep":
        raise UsageError(
            f"--overlaps {arguments.overlaps}: outlines of a file are taken as they are; give the "
            ".nuclei folder"
        )
    imported = import_file(path, arguments.mpp)
    classes = arguments.classes and read_class_map(arguments.classes, imported.classes)
    slide = imported.slide
    view = View(
        min_score=arguments.min_score or 0.0,
        min_area_um2=arguments.min_area_um2 or 0.0,
        region=_region(arguments.region, slide.width_px, slide.height_px),
        simplify_px=arguments.simplify,
        classes=classes,
    )
    nuclei = imported.nuclei
    sure = np.flatnonzero(nuclei.score >= np.float32(view.min_score))
    nuclei = view.apply(nuclei.take(sure), slide.mpp)
    stem = path.name[: -len(next(end for end in SUFFIXES if path.name.lower().endswith(end)))]
    whole = np.array([[0, 0, slide.width_px, slide.height_px]], np.int64)
    target = Target(
        folder=out,
        stem=f"{stem}.imported" if out.resolve() == path.resolve().parent else stem,
        slide=slide,
        classes=imported.classes if classes is None else classes.classes,
        tiles=np.zeros(1, np.int64),
        tile_boxes=whole,
        run={
            "settings": {"imported": slide.file, **view.as_dict()},
            "versions": {"nuhtc": metadata.version("nuhtc")},
        },
    )
    tally = Tally(target.classes)
    files = write_formats(target, tally.counting(in_chunks(nuclei)), wanted)
    _report(tally, files)
    said = f"  {imported.repaired:,} invalid outlines repaired"
    if imported.dropped:
        said += f", {imported.dropped:,} entries without area left out"
    say(said)


def _report(tally: object, files: list[Path]) -> None:
    from nuhtc.runtime.summary import Tally

    assert isinstance(tally, Tally)
    counts = ", ".join(f"{name} {count:,}" for name, count in tally.per_class.items())
    say(f"{sum(tally.per_class.values()):,} nuclei: {counts}")
    for file in files:
        say(f"  {file}")


def _view(arguments: argparse.Namespace, store: "Store") -> "View":
    from nuhtc.runtime.arguments import MIN_AREA_UM2
    from nuhtc.runtime.class_map import read_class_map
    from nuhtc.runtime.view import View

    made = store.manifest
    least = made.settings.get("score", 0.0)
    score = least if arguments.min_score is None else arguments.min_score
    if score < least:
        raise UsageError(
            f"--min-score {score:g}: the store keeps scores from {least:g} on; for lower ones run "
            f"nuhtc-run with --score {score:g}"
        )
    area = MIN_AREA_UM2 if arguments.min_area_um2 is None else arguments.min_area_um2
    return View(
        min_score=score,
        min_area_um2=area,
        region=_region(arguments.region, made.slide.width_px, made.slide.height_px),
        simplify_px=arguments.simplify,
        classes=arguments.classes and read_class_map(arguments.classes, made.classes),
        overlaps=arguments.overlaps,
    )


def _region(
    region: tuple[float, float, float, float] | None, width: int, height: int
) -> tuple[float, float, float, float] | None:
    if region is not None:
        x, y, wide, high = region
        if x >= width or y >= height or x + wide <= 0 or y + high <= 0:
            raise UsageError(
                f"--region {x:g},{y:g},{wide:g},{high:g}: lies outside the slide, which is "
                f"{width} x {height} pixels"
            )
    return region


def _info(store: "Store", *, as_json: bool) -> None:
    made = store.manifest
    facts = {
        "slide": vars(made.slide),
        "model": vars(made.bundle),
        "engine": made.engine,
        "precision": made.precision,
        "classes": [one.name for one in made.classes],
        "tile_px": made.grid.tile,
        "overlap_px": made.grid.overlap,
        "settings": dict(made.settings),
        "tiles": {"run": int(store.ran.sum()), "skipped": len(store.skipped)},
        "damaged_areas": len(set(store.damaged)),
        "parts": len(store.entries),
        "candidates": store.candidates,
        "bytes": sum(entry.size for entry in store.entries),
        "versions": dict(made.versions),
    }
    if as_json:
        say(json.dumps(facts))
        return
    slide = made.slide
    size = f"{slide.width_px} x {slide.height_px} px, {slide.mpp:g} um/px"
    say(f"{store.folder}: {slide.file}, {size}")
    ran = f"{made.engine}, {made.precision}"
    say(f"  model {made.bundle.name} ({made.bundle.model_mpp:g} um/px), engine {ran}")
    say(f"  classes {', '.join(one.name for one in made.classes)}")
    say(
        f"  tiles of {made.grid.tile} px, overlap {made.grid.overlap}; least score "
        f"{made.settings.get('score', 0.0):g}"
    )
    say(
        f"  {int(store.ran.sum()):,} tiles run, {len(store.skipped):,} skipped, "
        f"{len(set(store.damaged)):,} damaged areas; "
        f"{store.candidates:,} candidates in {len(store.entries):,} parts, {facts['bytes']:,} bytes"
    )


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
    numbers = tuple(float(part) for part in text.split(","))
    if len(numbers) != 4 or not all(abs(one) < 1e12 for one in numbers):
        raise argparse.ArgumentTypeError(f"{text} is not x,y,width,height")
    if numbers[2] <= 0 or numbers[3] <= 0:
        raise argparse.ArgumentTypeError(f"{text} has no width or no height")
    return numbers
