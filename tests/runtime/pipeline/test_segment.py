"""A slide from pixels to nuclei, with the oracle in the network's place."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fakes.oracle import OracleEngine, class_probabilities, oracle_slide
from made.blobs import random_ellipses
from made.made_nuclei import made_bundle
from made.summarized import summarized
from numpy.typing import NDArray
from scipy import ndimage

from nuhtc.runtime.engines.engine import Detections
from nuhtc.runtime.ground.errors import EngineError, PipelineError, SlideReadError, UsageError
from nuhtc.runtime.nuclei.view import View
from nuhtc.runtime.pipeline.segment import segment_slide
from nuhtc.runtime.pipeline.settings import RunSettings
from nuhtc.runtime.slides.picture import ArraySlide

LABELS = random_ellipses(11, 420, 530, 150, (8.0, 28.0))
SETTINGS = RunSettings(tile_px=128, overlap_px=48, batch=4, threads=2)
BUNDLE = made_bundle(Path("nowhere"))


class DamagedSlide(ArraySlide):
    """A slide with a damaged rectangle (xyxy), or that can be read as a whole only."""

    def __init__(self, picture: NDArray[np.uint8], spot: tuple[int, int, int, int] | None) -> None:
        super().__init__(picture, 0.25, name="damaged", path=None)
        self._spot = spot

    def read(self, x: int, y: int, level: int, width: int, height: int) -> NDArray[np.uint8]:
        spot = self._spot
        if spot is None:
            damaged = height < self.height
        else:
            across = x < spot[2] and spot[0] < x + width
            damaged = across and y < spot[3] and spot[1] < y + height
        if damaged:
            raise SlideReadError(f"damaged around x {x}, y {y}")
        return super().read(x, y, level, width, height)

    def digest(self) -> str:
        return "sha256:damaged"


def test_all_nuclei_of_a_slide_once_each() -> None:
    nuclei, summary = summarized(oracle_slide(LABELS), OracleEngine(), BUNDLE, SETTINGS)
    count = int(LABELS.max())
    assert len(nuclei) == summary.nuclei == count > 60
    areas = np.bincount(LABELS.ravel())[1:]
    assert sorted(nuclei.area_px) == sorted(areas.tolist())
    labels = class_probabilities(np.arange(1, count + 1)).argmax(axis=1)
    expected = np.bincount(labels, minlength=4).tolist()
    assert list(summary.nuclei_per_class.values()) == expected
    assert summary.nuclei_cut == 0
    assert summary.tissue_mm2 == pytest.approx(LABELS.size * 0.25**2 / 1e6, rel=0.01)
    assert summary.slide.digest == oracle_slide(LABELS).digest()
    assert summary.engine == "oracle"
    assert all(value >= 0 for value in summary.seconds.values())


@pytest.mark.parametrize("tile", [128, 160, 256, 1024])
@pytest.mark.parametrize("batch", [1, 3])
def test_tiles_and_batches_do_not_change_the_nuclei(tile: int, batch: int) -> None:
    settings = replace(SETTINGS, tile_px=tile, batch=batch)
    here = segment_slide(oracle_slide(LABELS), OracleEngine(), BUNDLE, settings).nuclei(View())
    there = segment_slide(oracle_slide(LABELS), OracleEngine(), BUNDLE, SETTINGS).nuclei(View())

    def rings(nuclei: object) -> set[bytes]:
        ends = zip(nuclei.offsets[:-1], nuclei.offsets[1:], strict=True)
        return {nuclei.coords[low:high].tobytes() for low, high in ends}

    assert rings(here) == rings(there)
    assert len(here) == len(there)


def test_two_runs_are_equal_to_the_last_bit() -> None:
    runs = [summarized(oracle_slide(LABELS), OracleEngine(), BUNDLE, SETTINGS) for _ in "ab"]
    (first, one), (second, other) = runs
    for name in vars(first):
        assert np.array_equal(getattr(first, name), getattr(second, name)), name
    assert replace(one, seconds={}) == replace(other, seconds={})


@pytest.mark.parametrize("threads", [1, 4])
def test_a_slide_of_another_resolution_is_read_at_the_models(threads: int) -> None:
    """The slide is finer than the model: nuclei keep their place and size in its own pixels."""
    fine = np.repeat(np.repeat(LABELS, 2, axis=0), 2, axis=1)
    slide = oracle_slide(fine, mpp=0.125)
    settings = replace(SETTINGS, threads=threads)
    nuclei, summary = summarized(slide, OracleEngine(), BUNDLE, settings)
    sizes = np.bincount(fine.ravel())[1:]
    number = np.arange(1, LABELS.max() + 1)
    truth = np.array(ndimage.center_of_mass(fine > 0, fine, number))[:, ::-1] + 0.5
    apart = np.abs(truth[:, None] - nuclei.centroid[None]).max(axis=2)
    assert ((apart < 0.01).sum(axis=1) == 1).all(), "each once, where it is"
    assert sorted(nuclei.area_px) == sorted(sizes.tolist())
    assert (nuclei.coords % 200 == 0).all(), "one model pixel is two of the slide's"
    assert summary.tissue_mm2 == pytest.approx(LABELS.size * 0.25**2 / 1e6, rel=0.02)


def test_small_and_unsure_nuclei_are_left_out() -> None:
    areas = np.bincount(LABELS.ravel())[1:] * 0.25**2
    limit = float(np.median(areas))
    small = View(min_area_um2=limit)
    nuclei, summary = summarized(oracle_slide(LABELS), OracleEngine(), BUNDLE, SETTINGS, small)
    assert len(nuclei) == (areas >= limit).sum() == summary.nuclei
    scores = class_probabilities(np.arange(1, LABELS.max() + 1)).max(axis=1)
    unsure = replace(SETTINGS, min_score=0.8)
    nuclei, _ = summarized(oracle_slide(LABELS), OracleEngine(), BUNDLE, unsure)
    assert len(nuclei) == (scores >= np.float32(0.8)).sum()


def test_empty_glass_is_never_given_to_the_network(caplog: pytest.LogCaptureFixture) -> None:
    engine = OracleEngine()
    slide = ArraySlide(np.full((700, 600, 3), 244, np.uint8), 0.25, name="glass")
    nuclei, summary = summarized(slide, engine, BUNDLE, SETTINGS)
    assert engine.tiles == 0
    assert len(nuclei) == summary.tiles_run == 0
    assert summary.nuclei_per_mm2 is None
    assert "no tissue" in caplog.text


def test_progress_counts_every_tile() -> None:
    seen: list[tuple[int, int]] = []
    engine = OracleEngine()
    segment_slide(
        oracle_slide(LABELS),
        engine,
        BUNDLE,
        SETTINGS,
        progress=lambda *step: seen.append(step),
    )
    assert seen[0] == (0, engine.tiles)
    assert seen[-1] == (engine.tiles, engine.tiles)
    assert seen == sorted(seen)


def test_a_damaged_area_is_white_and_listed(caplog: pytest.LogCaptureFixture) -> None:
    whole = oracle_slide(LABELS)
    picture = whole.read(0, 0, 0, whole.width, whole.height)
    slide = DamagedSlide(picture, (190, 130, 191, 131))
    nuclei, summary = summarized(slide, OracleEngine(), BUNDLE, SETTINGS)
    assert summary.damaged_px == ((128, 128, 64, 64),)
    assert summary.tiles_skipped_px == ()
    assert "x 128, y 128, 64 x 64 is damaged" in caplog.text
    # Every nucleus outside of it is found as if nothing were damaged.
    touched = np.unique(LABELS[128:192, 128:192])
    intact = np.setdiff1d(np.arange(1, LABELS.max() + 1), touched)
    areas = set(np.bincount(LABELS.ravel())[intact].tolist())
    assert areas <= set(nuclei.area_px.tolist())
    assert len(intact) <= len(nuclei) <= LABELS.max()


def test_a_tile_of_which_nothing_can_be_read_is_skipped(caplog: pytest.LogCaptureFixture) -> None:
    whole = oracle_slide(LABELS)
    picture = whole.read(0, 0, 0, whole.width, whole.height)
    slide = DamagedSlide(picture, (70, 70, 300, 300))
    nuclei, summary = summarized(slide, OracleEngine(), BUNDLE, SETTINGS)
    # Cells of 64 from 64 to 320; tiles of 128 every 80.
    assert len(summary.damaged_px) == 16
    assert summary.tiles_skipped_px == tuple((x, y, 128, 128) for y in (80, 160) for x in (80, 160))
    assert 0 < len(nuclei) < LABELS.max()
    assert "skipped" in caplog.text


def test_a_slide_that_cannot_be_read_at_all_fails() -> None:
    whole = oracle_slide(LABELS)
    slide = DamagedSlide(whole.read(0, 0, 0, whole.width, whole.height), None)
    with pytest.raises(SlideReadError, match="none of its tiles"):
        segment_slide(slide, OracleEngine(), BUNDLE, SETTINGS)


def test_an_engine_that_forgets_a_tile_is_found_out() -> None:
    class Forgetful(OracleEngine):
        def run(self, tiles: NDArray[np.uint8]) -> list[Detections]:
            return super().run(tiles)[:-1]

    with pytest.raises(EngineError, match="answered 3 of 4"):
        segment_slide(oracle_slide(LABELS), Forgetful(), BUNDLE, SETTINGS)


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(UsageError, match="--overlap"):
        segment_slide(
            oracle_slide(LABELS), OracleEngine(), BUNDLE, replace(SETTINGS, overlap_px=100)
        )
    with pytest.raises(PipelineError, match="--mpp"):
        segment_slide(oracle_slide(LABELS, mpp=26.0), OracleEngine(), BUNDLE, SETTINGS)
