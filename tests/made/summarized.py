"""A run in memory with its summary."""

from nuhtc.runtime.bundle.load import Bundle
from nuhtc.runtime.engines.engine import Engine
from nuhtc.runtime.nuclei.nuclei import Nuclei
from nuhtc.runtime.nuclei.view import View
from nuhtc.runtime.pipeline.clock import Clock
from nuhtc.runtime.pipeline.plan import plan_run
from nuhtc.runtime.pipeline.settings import RunSettings
from nuhtc.runtime.pipeline.tiles_to_parts import TileRun, run_tiles
from nuhtc.runtime.results.summary import Summary, Tally, summarize
from nuhtc.runtime.slides.slide import Slide
from nuhtc.runtime.store.memory import MemoryParts

EVERYTHING = View()


def summarized(
    slide: Slide, engine: Engine, bundle: Bundle, settings: RunSettings, view: View = EVERYTHING
) -> tuple[Nuclei, Summary]:
    """Return the nuclei of a slide and what the summary says of them."""
    clock = Clock()
    manifest = plan_run(slide, engine, bundle, settings, clock)
    parts = MemoryParts(manifest)
    run = TileRun(engine, bundle.card, settings, manifest.grid, clock)
    run_tiles(slide, manifest, run, parts, clock, settings.threads)
    empty = Nuclei.empty(len(manifest.classes))
    nuclei = Nuclei.concatenate([empty, *parts.iter_nuclei(view)])
    tally = Tally(manifest.classes)
    tally.add(nuclei)
    return nuclei, summarize(manifest, settings, view, parts.skipped, parts.damaged, tally, clock)
