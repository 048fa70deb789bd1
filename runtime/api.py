"""The public Python API, for notebooks and scripts; `nuhtc.runtime` names what of it is stable.

What a call needs, it loads when it is made: importing this costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from nuhtc.runtime.ground.errors import UsageError
from nuhtc.runtime.slide_nuclei import SlideNuclei

if TYPE_CHECKING:
    from nuhtc.runtime.bundle.card import NucleusClass
    from nuhtc.runtime.bundle.load import Bundle
    from nuhtc.runtime.engines.engine import Detections
    from nuhtc.runtime.slides.slide import Slide, SlideFacts
    from nuhtc.runtime.store.reader import Store


class Engine(Protocol):
    """What `open_engine` gives: tiles in, detections out."""

    name: str
    precision: str
    reason: str

    def run(self, tiles: NDArray[np.uint8]) -> list[Detections]:
        """Find the nuclei of tiles, uint8 (B, H, W, 3) at the model's um/px."""


class NucleiStore:
    """A finished store that a run left, open for reading.

    Parameters
    ----------
    store
        From `nuhtc.runtime.store.reader.open_store`.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def __repr__(self) -> str:
        made = self._store.manifest
        return f"<store {self.path}: {made.slide.file}, {self._store.candidates:,} candidates>"

    @property
    def path(self) -> Path:
        """Its folder."""
        return self._store.folder

    @property
    def slide(self) -> SlideFacts:
        """The slide it is of."""
        return self._store.manifest.slide

    @property
    def classes(self) -> tuple[NucleusClass, ...]:
        """Names and colours, by label."""
        return self._store.manifest.classes

    def nuclei(
        self,
        *,
        min_score: float | None = None,
        min_area_um2: float | None = None,
        region: tuple[float, float, float, float] | None = None,
        overlaps: str = "keep",
        simplify_px: float = 0.0,
    ) -> SlideNuclei:
        """Return each nucleus once, as it would be with these thresholds; the network rests.

        Parameters
        ----------
        min_score
            Least score, not below the store's own, which None takes.
        min_area_um2
            Least area; None takes 2.
        region
            x, y, width, height in level-0 pixels: only nuclei whose centre lies there.
        overlaps
            "keep", or "divide": each pixel to the higher score.
        simplify_px
            How far outlines may move to have fewer points; 0 leaves them exact.

        Raises
        ------
        UsageError
            A score below the store's, or a region outside the slide.
        StoreError
            A part is missing or damaged.
        """
        from nuhtc.runtime.nuclei.nuclei import Nuclei
        from nuhtc.runtime.results.convert import view_for_store
        from nuhtc.runtime.results.outputs import run_facts

        view = view_for_store(
            self._store,
            min_score=min_score,
            min_area_um2=min_area_um2,
            region=region,
            overlaps=overlaps,
            simplify_px=simplify_px,
        )
        chunks = [Nuclei.empty(len(self.classes)), *self._store.iter_nuclei(view)]
        run = run_facts(self._store.manifest, view)
        return SlideNuclei(Nuclei.concatenate(chunks), self.slide, self.classes, run)

    def verify(self) -> int:
        """Check every checksum; return the bytes checked.

        Raises
        ------
        StoreError
            At the first part that is missing or damaged.
        """
        return self._store.verify()


def segment(
    slide: str | Path | NDArray[np.uint8],
    *,
    mpp: float | None = None,
    bundle: Bundle | str | Path | None = None,
    engine: str | Engine = "auto",
    precision: str = "auto",
    min_score: float | None = None,
    min_area_um2: float | None = None,
    overlaps: str = "keep",
    tile: int | None = None,
    overlap: int | None = None,
    batch: int = 1,
    threads: int | None = None,
    flips: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> SlideNuclei:
    """Find the outline and the class of every nucleus of a slide or a picture, in memory.

    The nuclei are those of ``nuhtc-run`` with the same options. For whole slides that may be
    stopped and continued, let that leave a store, and open it by `open_store`.

    Parameters
    ----------
    slide
        A file that ``nuhtc-run`` takes, or RGB uint8 (H, W, 3).
    mpp
        um per pixel; needed for an array, and for a file without a resolution.
    bundle
        The model: opened, or where it is; None takes the one in the package.
    engine
        What runs it, by name, or opened by `open_engine` from the same bundle; then
        `precision`, `threads` and `flips` are its own.
    precision, tile, overlap, batch, threads, flips
        As the options of ``nuhtc-run``; None takes the defaults.
    min_score, min_area_um2, overlaps
        Which nuclei are wanted, and how; None takes the model's score, and 2 um2.
    progress
        Called with the number of tiles done and of all tiles.

    Raises
    ------
    SlideError
        The file is missing, no slide, damaged, or of unknown resolution.
    BundleError, EngineError
        The model cannot be used.
    UsageError
        A value makes no sense.
    """
    from nuhtc.runtime.console.options import available_cores
    from nuhtc.runtime.nuclei.view import View
    from nuhtc.runtime.pipeline.segment import engine_for, segment_slide
    from nuhtc.runtime.pipeline.settings import MIN_AREA_UM2, RunSettings
    from nuhtc.runtime.results.outputs import run_facts

    model = load_bundle(bundle) if bundle is None or isinstance(bundle, str | Path) else bundle
    settings = RunSettings.for_card(
        model.card,
        tile=tile,
        overlap=overlap,
        min_score=min_score,
        batch=batch,
        threads=threads or available_cores(),
        flips=flips,
    )
    view = View(
        min_area_um2=MIN_AREA_UM2 if min_area_um2 is None else min_area_um2, overlaps=overlaps
    )
    runner = engine_for(model, settings, engine, precision) if isinstance(engine, str) else engine
    with _opened(slide, mpp, model.card.mpp) as opened:
        parts = segment_slide(
            opened, runner, model, settings, progress or (lambda done, total: None)
        )
    made = parts.manifest
    return SlideNuclei(parts.nuclei(view), made.slide, made.classes, run_facts(made, view))


def open_store(path: str | Path) -> NucleiStore:
    """Open the store that a run left, a folder ``<name>.nuclei``.

    Raises
    ------
    StoreError
        It is none, damaged, newer than this program, or unfinished.
    """
    from nuhtc.runtime.store.reader import open_store as open_folder

    return NucleiStore(open_folder(Path(path)))


def load_bundle(path: str | Path | None = None) -> Bundle:
    """Read a model, a folder or ``.zip`` from ``nuhtc-export``, and check every file of it.

    Parameters
    ----------
    path
        None takes the model in the package.

    Raises
    ------
    BundleError
        It is missing, damaged, or of a newer version.
    """
    from nuhtc.runtime.bundle.load import default_bundle
    from nuhtc.runtime.bundle.load import load_bundle as load_folder

    return load_folder(default_bundle() if path is None else Path(path))


def _opened(slide: str | Path | NDArray[np.uint8], mpp: float | None, model_mpp: float) -> Slide:
    """Return a slide of a file or of an array."""
    from nuhtc.runtime.slides.open import open_slide
    from nuhtc.runtime.slides.picture import ArraySlide
    from nuhtc.runtime.slides.resolution import check_mpp

    if isinstance(slide, str | Path):
        return open_slide(slide, mpp=mpp, picture_mpp=model_mpp)
    if mpp is None:
        raise UsageError("segment() of an array needs its um per pixel, such as mpp=0.25")
    check_mpp(mpp)
    try:
        return ArraySlide(np.asarray(slide), mpp)
    except ValueError as error:
        raise UsageError(f"segment(): {error}") from error
