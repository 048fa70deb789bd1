"""A run in memory with its summary."""

from nuhtc.runtime.bundle.load import Bundle
from nuhtc.runtime.engines.engine import Engine
from nuhtc.runtime.nuclei.nuclei import Nuclei
from nuhtc.runtime.nuclei.view import View
from nuhtc.runtime.pipeline.clock import Clock
from nuhtc.runtime.pipeline.segment import segment_slide
from nuhtc.runtime.pipeline.settings import RunSettings
from nuhtc.runtime.results.summary import Summary, Tally, summarize
from nuhtc.runtime.slides.slide import Slide

EVERYTHING = View()


def summarized(
    slide: Slide, engine: Engine, bundle: Bundle, settings: RunSettings, view: View = EVERYTHING
) -> tuple[Nuclei, Summary]:
    """Return the nuclei of a slide and what the summary says of them."""
    parts = segment_slide(slide, engine, bundle, settings)
    made, nuclei = parts.manifest, parts.nuclei(view)
    tally = Tally(made.classes)
    tally.add(nuclei)
    return nuclei, summarize(made, settings, view, parts.skipped, parts.damaged, tally, Clock())
