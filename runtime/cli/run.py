"""`nuhtc-run`: slides in, outlines out. `nuhtc-run demo` shows it on a slide made by code."""

import argparse
import json
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from nuhtc.runtime.cli.bench import main as bench
from nuhtc.runtime.cli.run_options import BENCH, DEMO, parse
from nuhtc.runtime.console.bar import Bar
from nuhtc.runtime.console.command import run_command
from nuhtc.runtime.console.terminal import complain, log_to_stderr, say
from nuhtc.runtime.ground.errors import EXIT_DONE, EXIT_FAILED, EXIT_SKIPPED, NuhtcError
from nuhtc.runtime.slides.inputs import check_stems, expand_inputs

if TYPE_CHECKING:
    from nuhtc.runtime.bundle.load import Bundle
    from nuhtc.runtime.engines.engine import Engine
    from nuhtc.runtime.pipeline.settings import RunSettings
    from nuhtc.runtime.results.summary import Summary

# Whatever needs NumPy, OpenSlide or ONNX Runtime is imported where it is used, so that --help
# and a wrong option are answered at once.

PROG = "nuhtc-run"


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return the exit code.

    Parameters
    ----------
    argv
        The arguments; None takes the process's own.
    """
    argv = sys.argv[1:] if argv is None else argv

    def work() -> int:
        if argv[:1] == [BENCH]:
            say(bench(argv[1:]))
            return EXIT_DONE
        arguments = parse(argv)
        with log_to_stderr(PROG, verbose=arguments.verbose):
            return _run(arguments)

    return run_command(PROG, work, "stopped; the same command continues where it was")


def _run(arguments: argparse.Namespace) -> int:
    from nuhtc.runtime.bundle.load import default_bundle, load_bundle
    from nuhtc.runtime.ground.whole_files import prepare_folder
    from nuhtc.runtime.pipeline.settings import RunSettings

    files = [] if arguments.demo else expand_inputs(arguments.slides)
    check_stems(files)
    if any(path.is_dir() for path in arguments.slides):
        logging.getLogger("nuhtc").warning("%d slides and pictures to run", len(files))
    bundle = load_bundle(arguments.bundle or default_bundle())
    settings = RunSettings.for_card(
        bundle.card,
        tile=arguments.tile,
        overlap=arguments.overlap,
        min_score=arguments.score,
        batch=arguments.batch,
        threads=arguments.threads,
        flips=arguments.flips,
    )
    prepare_folder(arguments.out)
    if arguments.demo:
        files = [_make_demo(arguments.out)]

    from nuhtc.runtime.pipeline.segment import engine_for

    engine = engine_for(bundle, settings, arguments.engine, arguments.precision)
    logging.getLogger("nuhtc").info(
        "engine %s, %s: %s", engine.name, engine.precision, engine.reason
    )
    card = bundle.card
    licences = [card.licence, *(f"{one.name}: {one.licence}" for one in card.data)]
    logging.getLogger("nuhtc").info("model %s: %s", card.name, "; ".join(licences))
    codes = [_run_one(file, arguments, engine, bundle, settings) for file in files]
    if arguments.demo and not arguments.json and EXIT_FAILED not in codes:
        say(f"  {files[0]} is the slide: open it in QuPath and drag the .geojson.gz onto it")
    # A failure says more than a skipped tile.
    return next((code for code in (EXIT_FAILED, EXIT_SKIPPED) if code in codes), EXIT_DONE)


def _run_one(
    file: Path,
    arguments: argparse.Namespace,
    engine: "Engine",
    bundle: "Bundle",
    settings: "RunSettings",
) -> int:
    """Run one slide and report it; return the exit code it alone would give."""
    try:
        summary = _segment_and_write(file, arguments, engine, bundle, settings)
    except NuhtcError as error:
        return _fail(file, str(error), json_wanted=arguments.json)
    except MemoryError:
        message = f"{file}: not enough memory; try a smaller --batch or --tile"
        return _fail(file, message, json_wanted=arguments.json)
    if arguments.json:
        say(summary.as_json().decode())
    else:
        say(summary.as_text(arguments.out))
    return EXIT_SKIPPED if summary.tiles_skipped_px or summary.damaged_px else EXIT_DONE


def _segment_and_write(
    file: Path,
    arguments: argparse.Namespace,
    engine: "Engine",
    bundle: "Bundle",
    settings: "RunSettings",
) -> "Summary":
    from nuhtc.runtime.nuclei.view import View
    from nuhtc.runtime.pipeline.clock import Clock
    from nuhtc.runtime.pipeline.segment import segment_to_store
    from nuhtc.runtime.results.outputs import Wanted, sole_writer_of, write_outputs
    from nuhtc.runtime.slides.open import open_slide
    from nuhtc.runtime.store.writer import SUFFIX, remove_store

    wanted = Wanted(
        arguments.format,
        arguments.centroids,
        arguments.max_objects_per_file,
        arguments.coco_images,
    )
    slide = open_slide(file, mpp=arguments.mpp, picture_mpp=bundle.card.mpp)
    view = View(min_area_um2=arguments.min_area, overlaps=arguments.overlaps)
    folder, clock = arguments.out / (slide.name + SUFFIX), Clock()
    with slide, sole_writer_of(arguments.out, slide.name):
        if arguments.fresh:
            remove_store(folder)
        with Bar(slide.name, "tiles") as bar:
            store = segment_to_store(slide, engine, bundle, settings, folder, clock, bar.update)
        return write_outputs(arguments.out, slide, store, settings, view, wanted, clock)


def _make_demo(folder: Path) -> Path:
    from nuhtc.runtime.demo.slide import write_demo_slide
    from nuhtc.runtime.results.outputs import sole_writer_of

    path = folder / f"{DEMO}.tiff"
    with sole_writer_of(folder, DEMO):
        write_demo_slide(path)
    return path


def _fail(file: Path, message: str, *, json_wanted: bool) -> int:
    complain(PROG, message)
    if json_wanted:
        say(json.dumps({"error": message, "slide": {"file": file.name}}))
    return EXIT_FAILED
