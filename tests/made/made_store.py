"""Stores without a network: known nuclei, run through the pipeline with the oracle."""

from pathlib import Path

import numpy as np
from fakes.oracle import OracleEngine, oracle_slide
from made.blobs import random_ellipses
from made.made_nuclei import made_bundle

from nuhtc.runtime.pipeline.clock import Clock
from nuhtc.runtime.pipeline.segment import segment_to_store
from nuhtc.runtime.pipeline.settings import RunSettings
from nuhtc.runtime.slides.picture import ArraySlide
from nuhtc.runtime.store.reader import Store

SETTINGS = RunSettings(tile_px=64, overlap_px=32, batch=4, threads=1)


def made_slide(seed: int = 5, mpp: float = 0.25) -> ArraySlide:
    """Return a slide of several parts' worth of tiles."""
    return oracle_slide(random_ellipses(seed, 520, 730, 200, (8.0, 24.0)), mpp)


def empty_slide() -> ArraySlide:
    """Return a slide without tissue."""
    return ArraySlide(np.full((300, 400, 3), 244, np.uint8), 0.25, name="glass")


def made_store(
    folder: Path, slide: ArraySlide | None = None, settings: RunSettings = SETTINGS
) -> Store:
    """Return a finished store of a slide."""
    bundle = made_bundle(Path("nowhere"))
    return segment_to_store(
        slide or made_slide(), OracleEngine(), bundle, settings, folder, Clock()
    )


def bytes_of(folder: Path) -> dict[str, bytes]:
    """Return every file of a folder by its name."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
