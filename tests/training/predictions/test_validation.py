"""Whole pictures: every nucleus once, whatever the tiles; masks where the kernels put them."""

from typing import Any

import numpy as np
import pytest
from fakes.oracle import OracleEngine, paint
from hypothesis import given
from hypothesis import strategies as st
from made.blobs import random_ellipses
from numpy.typing import NDArray
from reference import outlines as reference
from scipy import ndimage

from nuhtc.native.outlines import trace_masks
from nuhtc.runtime.engines.engine import Detections
from nuhtc.training.data.images import AnnotatedImage
from nuhtc.training.measures.instance import compare
from nuhtc.training.predictions.validation import paste, segment, summarise, validate

ORACLE = OracleEngine()


@pytest.mark.parametrize(("height", "width"), [(300, 421), (128, 128), (129, 320), (90, 60)])
@pytest.mark.parametrize("tile", [128, 192])
def test_each_nucleus_once_and_in_its_place(height: int, width: int, tile: int) -> None:
    truth = random_ellipses(tile + width, height, width, height * width // 800, (8.0, 26.0))
    found = segment(ORACLE, paint(truth), tile, 0.5)
    assert found.instances.shape == truth.shape
    quality = compare(truth, found.instances)
    assert quality.matched == truth.max() > 0
    assert (quality.missed, quality.invented) == (0, 0)
    assert quality.sq == 1, "to the pixel"
    for number in range(1, int(truth.max()) + 1):
        own = np.unique(found.instances[truth == number])
        assert found.types is not None
        assert len(own) == 1 and found.types[own[0]] == number % 4


def test_a_picture_without_nuclei() -> None:
    found = segment(ORACLE, paint(np.zeros((150, 200), np.int64)), 128, 0.5)
    assert not found.instances.any() and found.types is not None and len(found.types) == 1


class Answers:
    """An engine that says the same of every tile: each nucleus of a class of its own."""

    name, precision, reason = "answers", "fp32", "named"

    def __init__(
        self, boxes: list[list[float]], scores: list[float], masks: list[NDArray[Any]]
    ) -> None:
        self.nuclei = Detections(
            np.array(boxes, np.float32),
            np.diag(scores).astype(np.float32),
            np.stack(masks).astype(np.float32),
        )

    def run(self, tiles: NDArray[np.uint8]) -> list[Detections]:
        return [self.nuclei] * len(tiles)


def test_the_better_score_takes_the_pixels() -> None:
    # The second loses a quarter to the third and stays; the first loses all and goes.
    full = np.ones((28, 28))
    engine = Answers([[10, 10, 38, 38], [31, 10, 59, 38], [10, 10, 38, 38]], [0.4, 0.5, 0.9],
                    [full] * 3)  # fmt: skip
    found = segment(engine, np.zeros((100, 100, 3), np.uint8), 128, 0.5)
    assert found.types is not None and np.array_equal(found.types[1:], [2, 1])
    assert found.scores.tolist() == [0, np.float32(0.9), np.float32(0.5)]
    assert np.count_nonzero(found.instances == 1) == 28 * 28
    assert np.count_nonzero(found.instances == 2) == 28 * 21


def smooth_mask(rng: np.random.Generator) -> NDArray[np.float32]:
    noise = ndimage.gaussian_filter(rng.normal(size=(28, 28)), 2)
    return (0.5 + noise / np.abs(noise).max() / 2).astype(np.float32)


@given(st.integers(0, 2000))
def test_a_pasted_mask_is_the_kernels(seed: int) -> None:
    rng = np.random.default_rng(seed)
    mask = smooth_mask(rng)
    low = rng.uniform(-20, 70, 2)
    box = np.concatenate([low, low + rng.uniform(0.5, 60, 2)]).astype(np.float32)
    x, y, inside = paste(mask, box, (80, 60), 0.5)
    placed = np.zeros((80, 60), bool)
    placed[y : y + inside.shape[0], x : x + inside.shape[1]] = inside
    assert np.array_equal(placed, reference.paste(mask, box, 60, 80))


@given(st.floats(4, 50), st.floats(4, 50), st.floats(0, 40), st.floats(0, 40))
def test_a_pasted_ellipse_has_the_outlines_area(
    width: float, height: float, x0: float, y0: float
) -> None:
    y, x = (np.mgrid[:28, :28] + 0.5) / 14 - 1
    mask = (1.2 - np.hypot(x, y)).clip(0, 1).astype(np.float32)
    box = np.array([x0, y0, x0 + width, y0 + height], np.float32)
    _, _, inside = paste(mask, box, (100, 100), 0.5)
    area = trace_masks(mask[None], box[None], 100, 100)[2]
    assert np.count_nonzero(inside) == area[0] > 0


@pytest.mark.parametrize("box", [[5, 5, 5, 9], [9, 9, 5, 5], [-30, 2, -10, 9], [200, 2, 220, 9]])
def test_a_box_without_pixels(box: list[float]) -> None:
    _, _, inside = paste(np.ones((28, 28), np.float32), np.array(box, np.float32), (50, 50), 0.5)
    assert inside.size == 0 or not inside.any()


def test_quality_and_classes_of_pictures() -> None:
    truth = random_ellipses(5, 150, 150, 20, (10.0, 24.0))
    count = int(truth.max())
    types = np.arange(count + 1) % 4
    types[1] = (types[1] + 1) % 4
    pictures = [
        AnnotatedImage("typed", paint(truth), truth, types),
        AnnotatedImage("untyped", paint(truth), truth, None),
        AnnotatedImage("shifted", paint(truth), np.roll(truth, 60, axis=0), None),
    ]
    results = validate(ORACLE, pictures, 128, 0.5)
    assert [result.name for result in results] == ["typed", "untyped", "shifted"]
    assert (results[0].typed, results[0].right_class) == (count, count - 1)
    assert (results[1].typed, results[1].right_class) == (0, 0)
    assert results[0].quality.pq == results[1].quality.pq == 1
    assert results[2].quality.pq < 0.5
    summary = summarise(results)
    assert summary["images"] == 3
    assert summary["pq"] == pytest.approx((2 + results[2].quality.pq) / 3, abs=5e-5)
    assert summary["class_accuracy_of_matched"] == pytest.approx((count - 1) / count, abs=5e-5)


def test_no_class_accuracy_without_classes() -> None:
    truth = random_ellipses(6, 100, 100, 9, (10.0, 24.0))
    picture = AnnotatedImage("untyped", paint(truth), truth, None)
    summary = summarise(validate(ORACLE, [picture], 128, 0.5))
    assert "class_accuracy_of_matched" not in summary
