"""The files one slide leaves in the output folder."""

import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from nuhtc.runtime import overlay
from nuhtc.runtime.atomic import explain
from nuhtc.runtime.bundle import NucleusClass
from nuhtc.runtime.errors import OutputError
from nuhtc.runtime.nuclei import Nuclei
from nuhtc.runtime.slide import Slide
from nuhtc.runtime.summary import Summary, printable, write_summary
from nuhtc.runtime.writers import qupath


def prepare_folder(folder: Path) -> None:
    """Make the output folder and check that files can be written there.

    Raises
    ------
    OutputError
        When it cannot be made or written; asked before the network runs, not after.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"\0")
    except OSError as refused:
        raise OutputError(explain(refused, folder)) from refused


def write_outputs(
    folder: Path,
    slide: Slide,
    nuclei: Nuclei,
    classes: Sequence[NucleusClass],
    summary: Summary,
    formats: Sequence[str],
) -> Summary:
    """Write a slide's formats, overlay and, last, its summary.

    Parameters
    ----------
    folder
        Where; the names begin with the slide's.
    slide, nuclei, classes, summary
        What `segment_slide` took and gave.
    formats
        Of `nuhtc.runtime.writers.FORMATS`.

    Returns
    -------
    Summary
        With the outputs' names and the seconds of writing.

    Raises
    ------
    OutputError
        When a file cannot be written.
    """
    start = time.perf_counter()
    written = []
    if "qupath" in formats:
        written.append(slide.name + qupath.SUFFIX)
        qupath.write_qupath(
            folder / written[-1],
            nuclei,
            classes,
            slide_digest=summary.slide.digest,
            slide_mpp=slide.mpp,
        )
    written.append(slide.name + overlay.SUFFIX)
    overlay.write_overlay(folder / written[-1], slide, nuclei, classes)

    seconds = {**summary.seconds, "write": time.perf_counter() - start}
    summary = replace(summary, outputs=tuple(map(printable, written)), seconds=seconds)
    write_summary(folder / f"{slide.name}.summary.json", summary)
    return summary
