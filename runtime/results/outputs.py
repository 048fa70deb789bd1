"""The files one slide leaves in the output folder, each made from its store."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from nuhtc.runtime.ground.lock import sole_writer
from nuhtc.runtime.ground.versions import printable
from nuhtc.runtime.nuclei.nuclei import Nuclei
from nuhtc.runtime.nuclei.view import View
from nuhtc.runtime.pipeline.clock import Clock
from nuhtc.runtime.pipeline.settings import RunSettings
from nuhtc.runtime.results.summary import Summary, Tally, summarize, write_summary
from nuhtc.runtime.slides.slide import Slide
from nuhtc.runtime.store.manifest import Manifest
from nuhtc.runtime.store.reader import Store
from nuhtc.runtime.tiles.grid import tile_boxes
from nuhtc.runtime.writers import overlay
from nuhtc.runtime.writers.coco_images import write_tile_images
from nuhtc.runtime.writers.open import open_output
from nuhtc.runtime.writers.target import Target


@dataclass(frozen=True)
class Wanted:
    """Which files are wanted."""

    formats: Sequence[str]
    """of `nuhtc.runtime.writers.FORMATS`"""
    centroids: bool = False
    """also a QuPath file of points"""
    most_objects: int | None = None
    """nuclei per QuPath file; None: all in one"""
    coco_images: bool = False
    """also the pictures of COCO's tiles"""


def sole_writer_of(folder: Path, stem: str) -> AbstractContextManager[None]:
    """Keep every other process from writing the files of one slide while the block runs.

    Parameters
    ----------
    folder
        The output folder.
    stem
        What the slide's files and its store are called.

    Raises
    ------
    OutputError
        When another process writes them, or the folder cannot be written.
    """
    return sole_writer(
        folder / f".{stem}.lock", f"another nuhtc-run or nuhtc-convert is writing {stem}"
    )


def target_of(store: Store, view: View, folder: Path, stem: str) -> Target:
    """Return what writers are told of a store as a view shows it."""
    manifest = store.manifest
    tiles = store.ran.ravel().nonzero()[0]
    return Target(
        folder=folder,
        stem=stem,
        slide=manifest.slide,
        classes=manifest.classes if view.classes is None else view.classes.classes,
        tiles=tiles,
        tile_boxes=tile_boxes(manifest.grid, tiles, manifest.scale, manifest.slide),
        run=run_facts(manifest, view),
    )


def run_facts(manifest: Manifest, view: View) -> dict[str, object]:
    """Return what outputs say of the run that nuclei are from, and of the view they are in."""
    return {
        "model": vars(manifest.bundle),
        "engine": manifest.engine,
        "settings": {
            "tile_px": manifest.grid.tile,
            "overlap_px": manifest.grid.overlap,
            **manifest.settings,
            **view.as_dict(),
        },
        "versions": dict(manifest.versions),
    }


def write_formats(target: Target, chunks: Iterable[Nuclei], wanted: Wanted) -> list[Path]:
    """Write nuclei in every wanted format, in one pass over them.

    Parameters
    ----------
    target
        Where, and what is known of the slide.
    chunks
        The nuclei, in the order of the tiles.
    wanted
        Which files.

    Returns
    -------
    list[Path]
        The files.

    Raises
    ------
    OutputError
        When one cannot be written; then none of them gets its final name.
    """
    with ExitStack() as stack:
        outputs = [
            stack.enter_context(open_output(name, target, wanted.most_objects))
            for name in (*wanted.formats, *(["centroids"] if wanted.centroids else []))
        ]
        for nuclei in chunks:
            for output in outputs:
                output.write(nuclei)
    return [path for output in outputs for path in output.paths]


def write_outputs(
    folder: Path,
    slide: Slide,
    store: Store,
    settings: RunSettings,
    view: View,
    wanted: Wanted,
    clock: Clock,
) -> Summary:
    """Write a slide's formats, overlay and, last, its summary.

    Parameters
    ----------
    folder
        Where; the names begin with the slide's.
    slide, store, settings
        What `segment_to_store` took and gave.
    view
        Which nuclei are wanted, and how.
    wanted
        Which files.
    clock
        What the run's time went to; the time of writing is added.

    Returns
    -------
    Summary
        With the outputs' names and the seconds of writing.

    Raises
    ------
    OutputError
        When a file cannot be written.
    """
    classes = store.manifest.classes
    tally, survey = Tally(classes), overlay.Survey(slide, len(classes))

    def stitched() -> Iterator[Nuclei]:
        chunks = store.iter_nuclei(view)
        while True:
            with clock.stage("stitch"):
                nuclei = next(chunks, None)
            if nuclei is None:
                return
            yield nuclei

    def counted() -> Iterator[Nuclei]:
        for nuclei in stitched():
            tally.add(nuclei)
            survey.add(nuclei)
            yield nuclei

    with clock.stage("write"):
        target = target_of(store, view, folder, slide.name)
        files = write_formats(target, counted(), wanted)
        if wanted.coco_images and "coco" in wanted.formats:
            write_tile_images(target, slide)
        written = [store.folder.name, *(file.relative_to(folder).as_posix() for file in files)]
        written.append(slide.name + overlay.SUFFIX)
        # Stitched once more rather than kept: a slide may hold millions.
        overlay.write_overlay(folder / written[-1], survey, stitched(), classes)
    summary = summarize(store.manifest, settings, view, store.skipped, store.damaged, tally, clock)
    summary = replace(summary, outputs=tuple(map(printable, written)))
    write_summary(folder / f"{slide.name}.summary.json", summary)
    return summary
