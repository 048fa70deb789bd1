"""Predict pictures with a bundle, the way a slide goes: tiles, network, outlines, stitching."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nuhtc.runtime.bundle.load import Bundle, load_bundle
from nuhtc.runtime.console.options import available_cores
from nuhtc.runtime.engines.engine import Engine
from nuhtc.runtime.nuclei.label_image import label_image
from nuhtc.runtime.nuclei.nuclei import Nuclei
from nuhtc.runtime.nuclei.view import View
from nuhtc.runtime.pipeline.segment import engine_for, segment_slide
from nuhtc.runtime.pipeline.settings import RunSettings
from nuhtc.runtime.slides.picture import ArraySlide
from nuhtc.training.data.numbering import renumber
from nuhtc.training.predictions.prediction import Prediction

OVERLAP_PX = 64
MIN_AREA_UM2 = 2.0


class BundleModel:
    """A bundle with an engine, through the whole runtime.

    Parameters
    ----------
    bundle
        Says resolution, classes and thresholds.
    engine
        What finds the nuclei of a tile.
    settings
        Of the runs; None takes the model's.
    """

    def __init__(self, bundle: Bundle, engine: Engine, settings: RunSettings | None = None) -> None:
        self._bundle = bundle
        self._engine = engine
        card = bundle.card
        self.mpp = card.mpp
        self.classes = tuple(one.name for one in card.classes)
        self._settings = settings or RunSettings.for_card(card)
        self.tile = self._settings.tile_px

    def find(self, rgb: NDArray[np.uint8]) -> Prediction:
        """Find the nuclei of a picture, uint8 (H, W, 3).

        Raises
        ------
        EngineError
            The engine fails.
        """
        slide = ArraySlide(rgb, self.mpp)
        parts = segment_slide(slide, self._engine, self._bundle, self._settings)
        nuclei = parts.nuclei(View(min_area_um2=MIN_AREA_UM2))
        return paint(nuclei, *rgb.shape[:2])


def open_bundle_model(
    path: Path,
    tile: int | None = None,
    threads: int = 0,
    flips: int = 1,
    engine: str = "auto",
    precision: str = "auto",
) -> BundleModel:
    """Open a bundle with an engine.

    Parameters
    ----------
    path
        From ``nuhtc-export``: a folder or a ``.zip``.
    tile
        Side of a tile in pixels; None takes the model's.
    threads
        CPU threads; 0 takes every core.
    flips
        How many mirror images of a tile are looked at, the tile itself included.
    engine, precision
        As ``nuhtc-run`` takes them: :func:`nuhtc.runtime.engines.open.open_engine`.

    Raises
    ------
    BundleError, EngineError, UsageError
        The bundle cannot be used, or not so.
    """
    bundle = load_bundle(path)
    settings = RunSettings.for_card(
        bundle.card, tile=tile, threads=threads or available_cores(), flips=flips
    )
    return BundleModel(bundle, engine_for(bundle, settings, engine, precision), settings)


def paint(nuclei: Nuclei, height: int, width: int) -> Prediction:
    """Return outlines as a label map, the best score on top.

    Parameters
    ----------
    nuclei
        At the picture's own resolution.
    height, width
        Of the picture.
    """
    instances, numbers = renumber(label_image(nuclei, (0, 0, width, height)).astype(np.int64))
    order = numbers[1:] - 1
    return Prediction(
        instances,
        _after_unused(nuclei.label[order].astype(np.int64)),
        _after_unused(nuclei.score[order]),
        _after_unused(nuclei.probabilities[order]),
    )


def _after_unused(values: NDArray[Any]) -> NDArray[Any]:
    """Put rows after one of zeros, for numbers that begin at 1."""
    return np.concatenate([np.zeros((1, *values.shape[1:]), values.dtype), values])
