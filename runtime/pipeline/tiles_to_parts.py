"""The middle of a run: tiles in, candidates out, part by part."""

import logging
from collections.abc import Callable, Sequence
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from nuhtc.runtime.bundle.card import Card
from nuhtc.runtime.engines.engine import Engine
from nuhtc.runtime.ground.errors import EngineError, SlideReadError
from nuhtc.runtime.nuclei.candidates import Candidates
from nuhtc.runtime.pipeline.clock import Clock
from nuhtc.runtime.pipeline.settings import RunSettings
from nuhtc.runtime.pipeline.trace import trace_tile
from nuhtc.runtime.slides.slide import Area, Slide
from nuhtc.runtime.stitching.stitch import drop_doubled
from nuhtc.runtime.store.manifest import PART_TILES, Manifest
from nuhtc.runtime.tiles.grid import Grid
from nuhtc.runtime.tiles.read_ahead import TileIterator

LOG = logging.getLogger(__name__)

MOST_READERS: Final = 8
"""Reading threads at most: more than any network needs, and each holds tiles in memory."""

Progress = Callable[[int, int], None]
"""Called with the number of tiles done and of all tiles, from 0 on."""


class PartSink(Protocol):
    """Where the tiles' answers go, in parts of `PART_TILES` tiles: a store, or memory."""

    @property
    def done(self) -> int:
        """How many parts are there already."""

    def append(
        self, candidates: Candidates, skipped: Sequence[int], damaged: Sequence[Area]
    ) -> None:
        """Add the next part, the tiles of it that could not be read, and its damaged areas."""


class TileRun:
    """Gives tiles to the network a batch at a time, and gathers what it answers.

    Parameters
    ----------
    engine
        The network.
    card
        Its bundle's.
    settings
        Batch and least score.
    grid
        The slide's tiles.
    clock
        What the time went to.
    """

    def __init__(
        self, engine: Engine, card: Card, settings: RunSettings, grid: Grid, clock: Clock
    ) -> None:
        self._engine, self._card, self._settings = engine, card, settings
        self._grid, self._clock = grid, clock
        self._waiting: dict[int, NDArray[np.uint8]] = {}
        self._found: list[Candidates] = []

    def add(self, tile: int, pixels: NDArray[np.uint8]) -> bool:
        """Add a tile by its number; return whether the network ran."""
        self._waiting[tile] = pixels
        return len(self._waiting) == self._settings.batch and self.run()

    def run(self) -> bool:
        """Run the network on the tiles that wait and trace its answers; False if none waits.

        Raises
        ------
        EngineError
            When the engine fails, or leaves tiles unanswered.
        """
        if not self._waiting:
            return False
        batch, self._waiting = self._waiting, {}
        with self._clock.stage("network"):
            answers = self._engine.run(np.stack(list(batch.values())))
        if len(answers) != len(batch):
            raise EngineError(f"the engine answered {len(answers)} of {len(batch)} tiles")
        with self._clock.stage("outlines"):
            for tile, detections in zip(batch, answers, strict=True):
                traced = trace_tile(
                    detections,
                    self._grid,
                    tile,
                    min_score=self._settings.min_score,
                    mask_threshold=self._card.detection.mask_threshold,
                )
                if len(traced):
                    self._found.append(drop_doubled(traced))
        return True

    def take_found(self) -> Candidates:
        """Return what was found since the last call."""
        found, self._found = self._found, []
        return Candidates.concatenate([Candidates.empty(len(self._card.classes)), *found])


def run_tiles(
    slide: Slide,
    manifest: Manifest,
    run: TileRun,
    sink: PartSink,
    clock: Clock,
    threads: int = 1,
    progress: Progress = lambda done, total: None,
) -> None:
    """Run the tiles of the parts that are not there yet, in order.

    A batch never reaches over the end of a part, so that a continued run gives the network the
    same batches as one that was never stopped.

    Parameters
    ----------
    slide
        Where the tiles are read.
    manifest
        Which tiles there are.
    run
        What becomes of them.
    sink
        Where the parts go.
    clock
        What the time went to.
    threads
        Threads that read.
    progress
        Told how many tiles are done.

    Raises
    ------
    EngineError
        When the engine fails.
    OutputError
        When a part cannot be written.
    """
    total = len(manifest.tiles)
    done = min(sink.done * PART_TILES, total)
    todo = manifest.tiles[done:].tolist()
    progress(done, total)
    readers = min(threads, MOST_READERS)
    skipped: list[int] = []
    with TileIterator(slide, manifest.grid, todo, manifest.scale, readers) as tiles:
        for tile in todo:
            done += 1
            ran = False
            try:
                with clock.stage("read"):
                    pixels = next(tiles)[1]
            except SlideReadError as damage:
                LOG.warning("a tile is skipped: %s", damage)
                skipped.append(tile)
            else:
                ran = run.add(tile, pixels)
            last = done % PART_TILES == 0 or done == total
            if (last and run.run()) or ran:
                progress(done, total)
            if last:
                damaged = sorted(tiles.take_damaged())
                for area in damaged:
                    LOG.warning("%s: x %d, y %d, %d x %d is damaged: white", slide.name, *area)
                with clock.stage("write"):
                    sink.append(run.take_found(), skipped, damaged)
                skipped = []
