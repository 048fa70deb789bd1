"""One slide from pixels to nuclei: tissue, tiles, network, outlines; into a store or memory."""

import logging
from dataclasses import replace
from pathlib import Path

from nuhtc.runtime.bundle.load import Bundle
from nuhtc.runtime.engines.engine import Engine
from nuhtc.runtime.engines.flips import flipped
from nuhtc.runtime.engines.open import open_engine
from nuhtc.runtime.pipeline.clock import Clock
from nuhtc.runtime.pipeline.plan import check_any_read, plan_run
from nuhtc.runtime.pipeline.settings import RunSettings
from nuhtc.runtime.pipeline.tiles_to_parts import PartSink, Progress, TileRun, run_tiles
from nuhtc.runtime.slides.slide import Slide
from nuhtc.runtime.store.manifest import PART_TILES, Manifest
from nuhtc.runtime.store.memory import MemoryParts
from nuhtc.runtime.store.reader import Store
from nuhtc.runtime.store.writer import StoreWriter, remove_store

LOG = logging.getLogger(__name__)


def engine_for(
    bundle: Bundle, settings: RunSettings, name: str = "auto", precision: str = "auto"
) -> Engine:
    """Open the engine that finds what a run's settings ask for.

    The network itself keeps nuclei by the run's least score, so that one below the card's is
    found, and by its flips.

    Parameters
    ----------
    bundle
        The model.
    settings
        Least score, threads and flips.
    name, precision
        As `nuhtc.runtime.engines.open.open_engine` takes them.

    Raises
    ------
    BundleError, EngineError, UsageError
        As `open_engine`.
    """
    asked = replace(bundle, card=bundle.card.with_detection(score=settings.min_score))
    return flipped(open_engine(asked, name, precision, settings.threads), settings.flips)


def segment_slide(
    slide: Slide,
    engine: Engine,
    bundle: Bundle,
    settings: RunSettings,
    progress: Progress = lambda done, total: None,
) -> MemoryParts:
    """Run a slide's tiles, all in memory: for pictures and small slides.

    Parameters
    ----------
    slide
        Where to look.
    engine
        What finds nuclei in a tile; see `engine_for`.
    bundle
        The engine's bundle; its card says classes, um/px and thresholds.
    settings
        Tiles and least score.
    progress
        Told how many tiles are done.

    Returns
    -------
    MemoryParts
        What a store would hold; its `nuclei` are each once.

    Raises
    ------
    SlideReadError
        When nothing of the slide can be read; single damaged areas are white and logged.
    EngineError
        When the engine fails.
    PipelineError
        When the slide's resolution or size is beyond what is held.
    """
    clock = Clock()
    manifest = plan_run(slide, engine, bundle, settings, clock)
    parts = MemoryParts(manifest)
    _run(slide, engine, bundle, settings, manifest, parts, clock, progress)
    check_any_read(manifest, parts.skipped)
    return parts


def segment_to_store(
    slide: Slide,
    engine: Engine,
    bundle: Bundle,
    settings: RunSettings,
    folder: Path,
    clock: Clock,
    progress: Progress = lambda done, total: None,
) -> Store:
    """Run a slide's tiles into a store, or those that a stopped run left to do.

    Parameters
    ----------
    slide, engine, bundle, settings, progress
        As for `segment_slide`.
    folder
        The store: made, or continued if it is of the same slide, model and settings.
    clock
        Told what the time goes to.

    Returns
    -------
    Store
        Finished. It is the same, byte for byte, however often the run was stopped.

    Raises
    ------
    SlideReadError, EngineError, PipelineError
        As `segment_slide`.
    StoreError
        When the folder holds a store of another run.
    OutputError
        When the store cannot be written.
    """
    manifest = plan_run(slide, engine, bundle, settings, clock)
    with StoreWriter(folder, manifest) as writer:
        if writer.done:
            LOG.warning(
                "%s: %d of %d tiles are in %s from an earlier run and are not run again",
                slide.name,
                min(writer.done * PART_TILES, len(manifest.tiles)),
                len(manifest.tiles),
                folder.name,
            )
        _run(slide, engine, bundle, settings, manifest, writer, clock, progress)
        with clock.stage("write"):
            store = writer.finish()
    if len(store.skipped) and len(store.skipped) == len(manifest.tiles):
        # Nothing of it is worth keeping, and the next run must try again.
        remove_store(folder)
        check_any_read(manifest, store.skipped)
    return store


def _run(
    slide: Slide,
    engine: Engine,
    bundle: Bundle,
    settings: RunSettings,
    manifest: Manifest,
    sink: PartSink,
    clock: Clock,
    progress: Progress,
) -> None:
    run = TileRun(engine, bundle.card, settings, manifest.grid, clock)
    run_tiles(slide, manifest, run, sink, clock, settings.threads, progress)
