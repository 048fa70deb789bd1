"""`nuhtc-convert`: every format from a store or from a saved file, without the network."""

import argparse
import json
from typing import TYPE_CHECKING

from nuhtc.runtime.cli.convert_options import PROG, parse
from nuhtc.runtime.console.command import run_command
from nuhtc.runtime.console.terminal import log_to_stderr, say
from nuhtc.runtime.ground.errors import EXIT_DONE

if TYPE_CHECKING:
    from nuhtc.runtime.results.convert import Converted
    from nuhtc.runtime.store.reader import Store


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return the exit code.

    Parameters
    ----------
    argv
        The arguments; None takes the process's own.
    """

    def work() -> int:
        arguments = parse(argv)
        with log_to_stderr(PROG, verbose=arguments.verbose):
            _run(arguments)
        return EXIT_DONE

    return run_command(PROG, work, "stopped; what is in the output folder is whole")


def _run(arguments: argparse.Namespace) -> None:
    from nuhtc.runtime.store.reader import open_store

    if arguments.source.is_dir() or arguments.info or arguments.verify:
        store = open_store(arguments.source)
        if arguments.info:
            _info(store, as_json=arguments.json)
        if arguments.verify:
            size = store.verify()
            say(f"{store.folder}: {len(store.entries)} parts, {size:,} bytes, all whole")
        if arguments.info or arguments.verify:
            return
        _convert(arguments, store)
    else:
        _convert(arguments, None)


def _convert(arguments: argparse.Namespace, store: "Store | None") -> None:
    from nuhtc.runtime.readers.open import OutlineFile
    from nuhtc.runtime.results.convert import (
        convert_file,
        convert_store,
        view_for_file,
        view_for_store,
    )
    from nuhtc.runtime.results.outputs import Wanted

    asked = {
        "min_score": arguments.min_score,
        "min_area_um2": arguments.min_area_um2,
        "region": arguments.region,
        "simplify_px": arguments.simplify,
        "classes": arguments.classes,
    }
    wanted = Wanted(arguments.format, arguments.centroids, arguments.max_objects_per_file)
    out = arguments.out or arguments.source.resolve().parent
    if store is not None:
        view = view_for_store(store, **asked, overlaps=arguments.overlaps)
        _report(convert_store(store, view, wanted, out, arguments.coco_images))
        return
    outlines = OutlineFile(arguments.source, arguments.mpp)
    _report(convert_file(outlines, view_for_file(outlines, **asked), wanted, out))
    line = f"  {outlines.repaired:,} invalid outlines repaired"
    if outlines.dropped:
        line += f", {outlines.dropped:,} entries without area left out"
    say(line)


def _report(converted: "Converted") -> None:
    counts = ", ".join(f"{name} {count:,}" for name, count in converted.per_class.items())
    say(f"{sum(converted.per_class.values()):,} nuclei: {counts}")
    for file in converted.files:
        say(f"  {file}")
    if converted.pictures:
        say(f"  {converted.pictures:,} pictures of tiles")


def _info(store: "Store", *, as_json: bool) -> None:
    manifest = store.manifest
    facts = {
        "slide": vars(manifest.slide),
        "model": vars(manifest.bundle),
        "engine": manifest.engine,
        "precision": manifest.precision,
        "classes": [one.name for one in manifest.classes],
        "tile_px": manifest.grid.tile,
        "overlap_px": manifest.grid.overlap,
        "settings": dict(manifest.settings),
        "tiles": {"run": int(store.ran.sum()), "skipped": len(store.skipped)},
        "damaged_areas": len(set(store.damaged)),
        "parts": len(store.entries),
        "candidates": store.candidates,
        "bytes": sum(entry.size for entry in store.entries),
        "versions": dict(manifest.versions),
    }
    if as_json:
        say(json.dumps(facts))
        return
    slide = manifest.slide
    size = f"{slide.width_px} x {slide.height_px} px, {slide.mpp:g} um/px"
    say(f"{store.folder}: {slide.file}, {size}")
    ran = f"{manifest.engine}, {manifest.precision}"
    say(f"  model {manifest.bundle.name} ({manifest.bundle.model_mpp:g} um/px), engine {ran}")
    say(f"  classes {', '.join(one.name for one in manifest.classes)}")
    flips = manifest.setting("flips") or 1
    say(
        f"  tiles of {manifest.grid.tile} px, overlap {manifest.grid.overlap}"
        + (f", looked at {flips:g} times" if flips > 1 else "")
        + f"; least score {manifest.settings.get('score', 0.0):g}"
    )
    say(
        f"  {int(store.ran.sum()):,} tiles run, {len(store.skipped):,} skipped, "
        f"{len(set(store.damaged)):,} damaged areas; "
        f"{store.candidates:,} candidates in {len(store.entries):,} parts, {facts['bytes']:,} bytes"
    )
