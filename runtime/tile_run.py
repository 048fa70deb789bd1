"""The middle of a run: tiles in, candidates out, part by part."""

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from nuhtc.runtime.bundle.card import Card
from nuhtc.runtime.engines.engine import Engine
from nuhtc.runtime.ground.errors import EngineError, SlideReadError
from nuhtc.runtime.nuclei.candidates import Candidates, trace_tile
from nuhtc.runtime.slides.slide import Area, Slide
from nuhtc.runtime.stitching.stitch import drop_doubled
from nuhtc.runtime.store.manifest import PART_TILES, Manifest
from nuhtc.runtime.summary import Clock
from nuhtc.runtime.tiles.grid import Grid
from nuhtc.runtime.tiles.read_ahead import iter_tiles

if TYPE_CHECKING:
    from nuhtc.runtime.pipeline import RunSettings

LOG = logging.getLogger(__name__)

_MOST_READERS = 8
"""Reading threads at most: more than any network needs, and each holds tiles in memory."""

Progress = Callable[[int, int], None]
"""Called with the number of tiles done and of all tiles, from 0 on."""


class Parts(Protocol):
    """Where the tiles' answers go, in parts of `PART_TILES` tiles: a store, or memory."""

    @property
    def done(self) -> int:
        """How many parts are there already."""

    def append(
        self, candidates: Candidates, skipped: Sequence[int], damaged: Sequence[Area]
    ) -> None:
        """Add the next part, the tiles of it that could not be read, and its damaged areas."""


def run_tiles(
    slide: Slide,
    engine: Engine,
    card: Card,
    settings: "RunSettings",
    manifest: Manifest,
    parts: Parts,
    clock: Clock,
    progress: Progress | None = None,
) -> None:
    """Run the tiles of the parts that are not there yet, in order.

    A batch never reaches over the end of a part, so that a continued run gives the network the
    same batches as one that was never stopped.
    """
    told = progress or (lambda done, total: None)
    grid, total = manifest.grid, len(manifest.tiles)
    done = min(parts.done * PART_TILES, total)
    todo = [divmod(int(tile), grid.cols) for tile in manifest.tiles[done:]]
    mpp = slide.mpp * manifest.scale
    threads = min(settings.threads, _MOST_READERS)
    one = _Part(engine, card, settings, grid, clock)
    told(done, total)
    with iter_tiles(slide, grid, todo, mpp, threads) as tiles:
        for key in todo:
            done += 1
            try:
                with clock.stage("read"):
                    one.batch[key] = next(tiles)[2]
            except SlideReadError as damage:
                LOG.warning("a tile is skipped: %s", damage)
                one.skipped.append(key[0] * grid.cols + key[1])
            last = done % PART_TILES == 0 or done == total
            if one.batch and (last or len(one.batch) == settings.batch):
                one.run()
                told(done, total)
            if last:
                damaged = sorted(tiles.take_damaged())
                for area in damaged:
                    LOG.warning("%s: x %d, y %d, %d x %d is damaged: white", slide.name, *area)
                with clock.stage("write"):
                    parts.append(Candidates.concatenate(one.found), one.skipped, damaged)
                one = _Part(engine, card, settings, grid, clock)


class _Part:
    """A part in the making: tiles in, candidates out, and which tiles could not be read."""

    def __init__(
        self, engine: Engine, card: Card, settings: "RunSettings", grid: Grid, clock: Clock
    ) -> None:
        self._engine, self._card, self._settings = engine, card, settings
        self._grid, self._clock = grid, clock
        self.batch: dict[tuple[int, int], NDArray[np.uint8]] = {}
        self.found: list[Candidates] = [Candidates.empty(len(card.classes))]
        self.skipped: list[int] = []

    def run(self) -> None:
        """Give the tiles waiting in `batch` to the network and trace what it answers."""
        batch, self.batch = self.batch, {}
        with self._clock.stage("network"):
            answers = self._engine.run(np.stack(list(batch.values())))
        if len(answers) != len(batch):
            raise EngineError(f"the engine answered {len(answers)} of {len(batch)} tiles")
        with self._clock.stage("outlines"):
            for (row, col), detections in zip(batch, answers, strict=True):
                traced = trace_tile(
                    detections,
                    self._grid,
                    row,
                    col,
                    min_score=self._settings.min_score,
                    mask_threshold=self._card.detection.mask_threshold,
                )
                if len(traced):
                    self.found.append(drop_doubled(traced))
