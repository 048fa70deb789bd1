"""What a run will do: the tiles that hold tissue, and all that its store has to say."""

import logging

import numpy as np
from numpy.typing import NDArray

from nuhtc.runtime.bundle.card import BundleFacts
from nuhtc.runtime.bundle.load import Bundle
from nuhtc.runtime.engines.engine import Engine
from nuhtc.runtime.ground.errors import SlideReadError
from nuhtc.runtime.ground.versions import versions
from nuhtc.runtime.nuclei.nuclei import check_extent, model_extent
from nuhtc.runtime.pipeline.clock import Clock
from nuhtc.runtime.pipeline.settings import RunSettings
from nuhtc.runtime.slides.resolution import working_mpp
from nuhtc.runtime.slides.slide import Slide, SlideFacts
from nuhtc.runtime.store.manifest import Manifest
from nuhtc.runtime.tiles.grid import Grid
from nuhtc.runtime.tiles.tissue import find_tissue

LOG = logging.getLogger(__name__)


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
        facts = SlideFacts.of(slide)
        tissue = find_tissue(slide)
        tiles = tissue.tiles(grid, mpp)
    if not len(tiles):
        LOG.warning("%s: no tissue was found, so no tile is run", slide.name)
    LOG.info("%s: %d of %d tiles hold tissue", slide.name, len(tiles), grid.count)
    return Manifest(
        slide=facts,
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
        tiles=tiles,
        tissue_mm2=tissue.area_mm2,
        versions=versions(),
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
