"""One slide from pixels to candidates in a store: tissue, tiles, network, outlines."""

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nuhtc.runtime.bundle.card import BundleFacts
from nuhtc.runtime.bundle.load import Bundle
from nuhtc.runtime.engines.engine import Engine
from nuhtc.runtime.ground.errors import SlideReadError
from nuhtc.runtime.ground.versions import printable, versions
from nuhtc.runtime.nuclei.nuclei import Nuclei, check_extent, model_extent
from nuhtc.runtime.nuclei.view import View
from nuhtc.runtime.slides.resolution import working_mpp
from nuhtc.runtime.slides.slide import Area, Slide, SlideFacts
from nuhtc.runtime.stitching.stream import iter_nuclei
from nuhtc.runtime.store.manifest import PART_TILES, Manifest
from nuhtc.runtime.store.memory import _Kept
from nuhtc.runtime.store.reader import Store
from nuhtc.runtime.store.writer import StoreWriter, remove_store
from nuhtc.runtime.summary import Clock, Summary, Tally
from nuhtc.runtime.tile_run import Progress, run_tiles
from nuhtc.runtime.tiles.grid import Grid, tile_boxes
from nuhtc.runtime.tiles.tissue import find_tissue

LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunSettings:
    """What a run is told, resolved; the names carry the units.

    Parameters
    ----------
    tile_px, overlap_px
        The tiles, in model pixels.
    min_score
        Nuclei of a lower score are left out before stitching.
    min_area_um2
        Smaller nuclei are left out after stitching.
    overlaps
        "keep" leaves what neighbours share to both, "divide" to the surer one.
    batch
        Tiles given to the network at a time.
    threads
        Threads that read tiles.
    flips
        How many mirror images of a tile the engine looks at, the tile itself included.
    """

    tile_px: int
    overlap_px: int = 64
    min_score: float = 0.0
    min_area_um2: float = 0.0
    overlaps: str = "keep"
    batch: int = 1
    threads: int = 1
    flips: int = 1


def segment_slide(
    slide: Slide,
    engine: Engine,
    bundle: Bundle,
    settings: RunSettings,
    progress: Progress | None = None,
) -> tuple[Nuclei, Summary]:
    """Find every nucleus of a slide, all in memory: for pictures and small slides.

    Parameters
    ----------
    slide
        Where to look.
    engine
        What finds nuclei in a tile.
    bundle
        The engine's bundle; its card says classes, um/px and thresholds.
    settings
        Tiles and thresholds.
    progress
        Told how many tiles are done.

    Returns
    -------
    Nuclei
        Each nucleus once, in the order of the tiles.
    Summary
        Without the time of writing and without outputs.

    Raises
    ------
    SlideReadError
        When nothing of the slide can be read; single damaged areas are white and listed.
    EngineError
        When the engine fails.
    PipelineError
        When the slide's resolution or size is beyond what is held.
    """
    clock, kept = Clock(), _Kept()
    manifest = plan_run(slide, engine, bundle, settings, clock)
    run_tiles(slide, engine, bundle.card, settings, manifest, kept, clock, progress)
    ran = np.zeros((manifest.grid.rows, manifest.grid.cols), np.bool_)
    ran.flat[manifest.tiles] = True
    ran.flat[kept.skipped] = False
    view = View(min_area_um2=settings.min_area_um2, overlaps=settings.overlaps)
    with clock.stage("stitch"):
        empty = Nuclei.empty(len(manifest.classes))
        nuclei = Nuclei.concatenate([empty, *iter_nuclei(kept.candidates, manifest, ran, view)])
    tally = Tally(manifest.classes)
    tally.add(nuclei)
    return nuclei, summarize(manifest, settings, kept.skipped, kept.damaged, tally, clock)


def segment_to_store(
    slide: Slide,
    engine: Engine,
    bundle: Bundle,
    settings: RunSettings,
    folder: Path,
    progress: Progress | None = None,
) -> tuple[Store, Clock]:
    """Run a slide's tiles into a store, or those that a stopped run left to do.

    Parameters
    ----------
    slide, engine, bundle, settings, progress
        As for `segment_slide`; `settings.min_area_um2` and `overlaps` have no part in it.
    folder
        The store: made, or continued if it is of the same slide, model and settings.

    Returns
    -------
    Store
        Finished. It is the same, byte for byte, however often the run was stopped.
    Clock
        What the time went to.

    Raises
    ------
    SlideReadError, EngineError, PipelineError
        As `segment_slide`.
    StoreError
        When the folder holds a store of another run.
    OutputError
        When the store cannot be written.
    """
    clock = Clock()
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
        run_tiles(slide, engine, bundle.card, settings, manifest, writer, clock, progress)
        with clock.stage("write"):
            store = writer.finish()
    if len(store.skipped) and len(store.skipped) == len(manifest.tiles):
        # Nothing of it is worth keeping, and the next run must try again.
        remove_store(folder)
        check_any_read(manifest, store.skipped)
    return store, clock


def plan_run(
    slide: Slide, engine: Engine, bundle: Bundle, settings: RunSettings, clock: Clock
) -> Manifest:
    """Find the tissue and lay the tiles over it."""
    card = bundle.card
    mpp = working_mpp(slide.mpp, card.mpp)
    scale = mpp / slide.mpp
    check_extent(scale, slide.width, slide.height)
    grid = Grid(
        model_extent(slide.width, scale),
        model_extent(slide.height, scale),
        settings.tile_px,
        settings.overlap_px,
    )
    with clock.stage("tissue"):
        digest = slide.digest()
        tissue = find_tissue(slide)
        keys = tissue.tiles(grid, mpp)
    if not keys:
        LOG.warning("%s: no tissue was found, so no tile is run", slide.name)
    LOG.info("%s: %d of %d tiles hold tissue", slide.name, len(keys), grid.rows * grid.cols)
    return Manifest(
        slide=SlideFacts(
            file=printable(slide.path.name if slide.path else slide.name),
            digest=digest,
            width_px=slide.width,
            height_px=slide.height,
            mpp=slide.mpp,
        ),
        bundle=BundleFacts(name=card.name, digest=bundle.digest, model_mpp=card.mpp),
        engine=engine.name,
        precision=engine.precision,
        engine_reason=engine.reason,
        classes=tuple(card.classes),
        grid=grid,
        scale=scale,
        settings={
            "score": settings.min_score,
            "batch": settings.batch,
            "flips": settings.flips,
        },
        tiles=np.array([row * grid.cols + col for row, col in keys], np.int64),
        tissue_mm2=tissue.area_mm2,
        versions=versions(),
    )


def summarize(
    manifest: Manifest,
    settings: RunSettings,
    skipped: NDArray[np.int64],
    damaged: Sequence[Area],
    tally: Tally,
    clock: Clock,
) -> Summary:
    """Return the summary of a run whose nuclei were counted by `tally`.

    `skipped` are the tiles of which nothing could be read, `damaged` the areas, in level-0
    pixels, that were taken as white.

    Raises
    ------
    SlideReadError
        When there were tiles and none of them could be read.
    """
    check_any_read(manifest, skipped)
    boxes = tile_boxes(manifest.grid, skipped, manifest.scale, manifest.slide)
    return Summary(
        slide=manifest.slide,
        bundle=manifest.bundle,
        engine=manifest.engine,
        precision=manifest.precision,
        engine_reason=manifest.engine_reason,
        settings=asdict(settings),
        nuclei_per_class=tally.per_class,
        nuclei_cut=tally.cut,
        tissue_mm2=manifest.tissue_mm2,
        tiles_run=len(manifest.tiles) - len(skipped),
        tiles_skipped_px=tuple((x, y, w, h) for x, y, w, h in boxes.tolist()),
        seconds=clock.seconds,
        damaged_px=tuple(sorted(set(damaged))),
    )


def check_any_read(manifest: Manifest, skipped: NDArray[np.int64]) -> None:
    """Check that not every tile was skipped.

    Raises
    ------
    SlideReadError
        When there were tiles and none of them could be read.
    """
    if len(skipped) and len(skipped) == len(manifest.tiles):
        raise SlideReadError(
            f"{manifest.slide.file}: none of its tiles can be read; copy it again from where it "
            "came"
        )
