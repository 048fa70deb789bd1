"""Files of every format from a store or from a file of outlines, as a view shows them."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np

from nuhtc.runtime.ground.errors import UsageError
from nuhtc.runtime.ground.whole_files import prepare_folder
from nuhtc.runtime.nuclei.class_map import read_class_map
from nuhtc.runtime.nuclei.nuclei import Nuclei
from nuhtc.runtime.nuclei.view import View
from nuhtc.runtime.pipeline.settings import MIN_AREA_UM2
from nuhtc.runtime.readers.open import SUFFIXES, OutlineFile
from nuhtc.runtime.results.outputs import Wanted, sole_writer_of, target_of, write_formats
from nuhtc.runtime.results.summary import Tally
from nuhtc.runtime.slides.open import open_slide
from nuhtc.runtime.slides.slide import SlideFacts
from nuhtc.runtime.store.reader import Store
from nuhtc.runtime.store.writer import SUFFIX
from nuhtc.runtime.writers.coco_images import check_slide, write_tile_images
from nuhtc.runtime.writers.target import Target


@dataclass(frozen=True)
class Converted:
    """What was written."""

    per_class: dict[str, int]
    """nuclei by class name"""
    files: list[Path]
    """the files"""
    pictures: int = 0
    """pictures of tiles, for COCO"""


def view_for_store(
    store: Store,
    *,
    min_score: float | None = None,
    min_area_um2: float | None = None,
    region: tuple[float, float, float, float] | None = None,
    simplify_px: float = 0.0,
    classes: Path | None = None,
    overlaps: str = "keep",
) -> View:
    """Return a view of a store: what is asked for, else what a run shows.

    Parameters
    ----------
    store
        Where the candidates are.
    min_score
        None takes the store's own, below which it holds nothing.
    min_area_um2
        None takes `MIN_AREA_UM2`.
    region, simplify_px, overlaps
        As in `nuhtc.runtime.nuclei.view.View`.
    classes
        The file that says other names.

    Raises
    ------
    UsageError
        When it cannot be: a score below the store's, a region outside the slide, a file of
        classes that is none.
    """
    manifest = store.manifest
    least = manifest.settings.get("score", 0.0)
    score = least if min_score is None else min_score
    if score < least:
        raise UsageError(
            f"--min-score {score:g}: the store keeps scores from {least:g} on; for lower ones run "
            f"nuhtc-run with --score {score:g}"
        )
    return View(
        min_score=score,
        min_area_um2=MIN_AREA_UM2 if min_area_um2 is None else min_area_um2,
        region=_on_slide(region, manifest.slide),
        simplify_px=simplify_px,
        classes=None if classes is None else read_class_map(classes, manifest.classes),
        overlaps=overlaps,
    )


def view_for_file(
    outlines: OutlineFile,
    *,
    min_score: float | None = None,
    min_area_um2: float | None = None,
    region: tuple[float, float, float, float] | None = None,
    simplify_px: float = 0.0,
    classes: Path | None = None,
) -> View:
    """Return a view of a file of outlines: what is asked for, else all that it holds.

    Parameters and errors are those of `view_for_store`.
    """
    return View(
        min_score=min_score or 0.0,
        min_area_um2=min_area_um2 or 0.0,
        region=_on_slide(region, outlines.slide),
        simplify_px=simplify_px,
        classes=None if classes is None else read_class_map(classes, outlines.classes),
    )


def convert_store(
    store: Store, view: View, wanted: Wanted, out: Path, pictured: Path | None = None
) -> Converted:
    """Write formats from a store.

    Parameters
    ----------
    store
        Where the candidates are.
    view
        Which nuclei, and how.
    wanted
        Which files.
    out
        The folder they go to.
    pictured
        The slide, to write COCO's pictures of tiles too.

    Raises
    ------
    OutputError
        When a file cannot be written, or another process writes the same ones.
    StoreError
        When a part is damaged.
    SlideError
        When `pictured` is another slide, or cannot be read.
    """
    manifest = store.manifest
    target = target_of(store, view, out, store.folder.name.removesuffix(SUFFIX))
    tally, pictures = Tally(target.classes), 0
    with ExitStack() as stack:
        slide = None
        if pictured is not None:
            slide = stack.enter_context(open_slide(pictured, mpp=manifest.slide.mpp))
            check_slide(slide, manifest.slide)
        prepare_folder(out)
        stack.enter_context(sole_writer_of(out, target.stem))
        chunks = store.iter_nuclei(view)
        files = write_formats(target, tally.counting(chunks), wanted)
        if slide is not None:
            pictures = write_tile_images(target, slide)
    return Converted(tally.per_class, files, pictures)


def convert_file(outlines: OutlineFile, view: View, wanted: Wanted, out: Path) -> Converted:
    """Write formats from a file of outlines; `outlines` then knows how many were repaired.

    Parameters
    ----------
    outlines
        The file.
    view
        Which nuclei, and how.
    wanted
        Which files.
    out
        The folder they go to; beside the file itself, names get `.imported`.

    Raises
    ------
    ReaderError
        When the file is damaged.
    OutputError
        When a file cannot be written, or another process writes the same ones.
    """
    slide, path = outlines.slide, outlines.path
    classes = outlines.classes if view.classes is None else view.classes.classes
    prepare_folder(out)
    stem = path.name[: -len(next(end for end in SUFFIXES if path.name.lower().endswith(end)))]
    target = Target(
        folder=out,
        stem=f"{stem}.imported" if out.resolve() == path.resolve().parent else stem,
        slide=slide,
        classes=classes,
        tiles=np.zeros(1, np.int64),
        tile_boxes=np.array([[0, 0, slide.width_px, slide.height_px]], np.int64),
        run={
            "settings": {"imported": slide.file, **view.as_dict()},
            "versions": {"nuhtc": metadata.version("nuhtc")},
        },
    )
    tally = Tally(target.classes)
    with sole_writer_of(out, target.stem):
        files = write_formats(target, tally.counting(_shown(outlines, view)), wanted)
    return Converted(tally.per_class, files)


def _shown(outlines: OutlineFile, view: View) -> Iterator[Nuclei]:
    for nuclei in outlines.nuclei():
        kept = np.flatnonzero(nuclei.score >= np.float32(view.min_score))
        yield view.apply(nuclei.take(kept), outlines.slide.mpp)


def _on_slide(
    region: tuple[float, float, float, float] | None, slide: SlideFacts
) -> tuple[float, float, float, float] | None:
    """Return the region.

    Raises
    ------
    UsageError
        When it lies outside the slide.
    """
    if region is not None:
        x, y, wide, high = region
        if x >= slide.width_px or y >= slide.height_px or x + wide <= 0 or y + high <= 0:
            raise UsageError(
                f"--region {x:g},{y:g},{wide:g},{high:g}: lies outside the slide, which is "
                f"{slide.width_px} x {slide.height_px} pixels"
            )
    return region
