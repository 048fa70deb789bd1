"""One slide from pixels to nuclei: tissue, tiles, network, outlines, stitching."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from nuhtc.runtime.bundle import Bundle, Card
from nuhtc.runtime.candidates import Candidates, trace_tile
from nuhtc.runtime.damage import Area
from nuhtc.runtime.detections import Engine
from nuhtc.runtime.errors import EngineError, SlideReadError
from nuhtc.runtime.grid import Grid
from nuhtc.runtime.nuclei import Nuclei, check_extent, model_extent, to_nuclei
from nuhtc.runtime.resolution import working_mpp
from nuhtc.runtime.slide import Slide
from nuhtc.runtime.stitch import drop_doubled, stitch
from nuhtc.runtime.summary import STAGES, BundleFacts, SlideFacts, Summary, printable
from nuhtc.runtime.tiles import iter_tiles
from nuhtc.runtime.tissue import find_tissue

LOG = logging.getLogger(__name__)

_MOST_READERS = 8
"""Reading threads at most: more than any network needs, and each holds tiles in memory."""

Progress = Callable[[int, int], None]
"""Called with the number of tiles done and of all tiles, from 0 on."""


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
    batch
        Tiles given to the network at a time.
    threads
        Threads that read tiles.
    """

    tile_px: int
    overlap_px: int = 64
    min_score: float = 0.0
    min_area_um2: float = 0.0
    batch: int = 1
    threads: int = 1


def segment_slide(
    slide: Slide,
    engine: Engine,
    bundle: Bundle,
    settings: RunSettings,
    progress: Progress | None = None,
) -> tuple[Nuclei, Summary]:
    """Find every nucleus of a slide.

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
    clock, card = _Clock(), bundle.card
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

    run = _TileRun(slide, engine, card, mpp, settings, grid, clock)
    found = run.all(keys, progress or (lambda done, total: None))
    with clock.stage("stitch"):
        stitched = stitch(found, grid, run.ran)
        nuclei = to_nuclei(stitched, scale=scale, width=slide.width, height=slide.height)
        large = nuclei.area_px * slide.mpp**2 >= settings.min_area_um2
        nuclei = nuclei if large.all() else nuclei.take(np.flatnonzero(large))

    names = [one.name for one in card.classes]
    counts = np.bincount(nuclei.label, minlength=len(names)).tolist()
    summary = Summary(
        slide=SlideFacts(
            file=printable(slide.path.name if slide.path else slide.name),
            digest=digest,
            width_px=slide.width,
            height_px=slide.height,
            mpp=slide.mpp,
        ),
        bundle=BundleFacts(name=card.name, digest=bundle.digest, model_mpp=card.mpp),
        engine=engine.name,
        settings=asdict(settings),
        nuclei_per_class=dict(zip(names, counts, strict=True)),
        nuclei_cut=int(nuclei.cut.sum()),
        tissue_mm2=tissue.area_mm2,
        tiles_run=int(run.ran.sum()),
        tiles_skipped_px=tuple(_on_slide(grid, key, scale, slide) for key in run.skipped),
        seconds=clock.seconds,
        damaged_px=run.damaged,
    )
    return nuclei, summary


class _TileRun:
    """The middle of the pipeline: tiles in, candidates out; which tiles ran, which could not."""

    def __init__(
        self,
        slide: Slide,
        engine: Engine,
        card: Card,
        mpp: float,
        settings: RunSettings,
        grid: Grid,
        clock: "_Clock",
    ) -> None:
        self._slide, self._engine, self._card, self._mpp = slide, engine, card, mpp
        self._settings, self._grid, self._clock = settings, grid, clock
        self._found: list[Candidates] = [Candidates.empty(len(card.classes))]
        self.ran: NDArray[np.bool_] = np.zeros((grid.rows, grid.cols), np.bool_)
        self.skipped: list[tuple[int, int]] = []
        self.damaged: tuple[Area, ...] = ()

    def all(self, keys: list[tuple[int, int]], progress: Progress) -> Candidates:
        """Run the tiles `keys` in batches, in order."""
        threads = min(self._settings.threads, _MOST_READERS)
        batch: dict[tuple[int, int], NDArray[np.uint8]] = {}
        progress(0, len(keys))
        with iter_tiles(self._slide, self._grid, keys, self._mpp, threads) as tiles:
            for done, key in enumerate(keys, start=1):
                try:
                    with self._clock.stage("read"):
                        batch[key] = next(tiles)[2]
                except SlideReadError as damage:
                    LOG.warning("a tile is skipped: %s", damage)
                    self.skipped.append(key)
                if batch and (len(batch) == self._settings.batch or done == len(keys)):
                    self._run(batch)
                    batch = {}
                    progress(done, len(keys))
            self.damaged = tuple(sorted(tiles.damaged))
        for area in self.damaged:
            LOG.warning("%s: x %d, y %d, %d x %d is damaged: white", self._slide.name, *area)
        if keys and not self.ran.any():
            raise SlideReadError(
                f"{self._slide.path}: none of its tiles can be read; copy it again from where it "
                "came"
            )
        return Candidates.concatenate(self._found)

    def _run(self, batch: dict[tuple[int, int], NDArray[np.uint8]]) -> None:
        with self._clock.stage("network"):
            answers = self._engine.run(np.stack(list(batch.values())))
        if len(answers) != len(batch):
            raise EngineError(f"the engine answered {len(answers)} of {len(batch)} tiles")
        with self._clock.stage("outlines"):
            for (row, col), detections in zip(batch, answers, strict=True):
                self.ran[row, col] = True
                traced = trace_tile(
                    detections,
                    self._grid,
                    row,
                    col,
                    min_score=self._settings.min_score,
                    mask_threshold=self._card.detection.mask_threshold,
                )
                if len(traced):
                    self._found.append(drop_doubled(traced))


class _Clock:
    """Seconds by stage; a stage entered again adds to its own."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = dict.fromkeys(STAGES, 0.0)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] += time.perf_counter() - start


def _on_slide(
    grid: Grid, key: tuple[int, int], scale: float, slide: Slide
) -> tuple[int, int, int, int]:
    """Return a tile's x, y, width, height in level-0 pixels, as far as it lies on the slide."""
    x, y = (round(side * scale) for side in grid.origin(*key))
    side = round(grid.tile * scale)
    return x, y, min(side, slide.width - x), min(side, slide.height - y)
