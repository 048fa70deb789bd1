"""The plain twin of HistomicsTK's table against what HistomicsTK itself gave."""

import csv

import numpy as np
import pytest
from numpy.typing import NDArray
from places import SHARED
from reference import features

GOLDEN = SHARED / "parity" / "features"

needs_golden = pytest.mark.skipif(not GOLDEN.exists(), reason="needs ../shared/parity/features")


@pytest.fixture(scope="module")
def pictures() -> dict[str, NDArray[np.generic]]:
    with np.load(GOLDEN / "histomicstk_input.npz") as found:
        return dict(found)


@needs_golden
def test_haematoxylin_is_theirs_to_the_last_level(
    pictures: dict[str, NDArray[np.uint8]],
) -> None:
    assert np.array_equal(features.haematoxylin(pictures["rgb"]), pictures["hematoxylin"])


@needs_golden
def test_every_column_is_theirs_from_the_colours_on(
    pictures: dict[str, NDArray[np.uint8]],
) -> None:
    with (GOLDEN / "histomicstk_features.csv").open(newline="") as file:
        golden = list(csv.DictReader(file))
    found = features.table(pictures["label"], features.haematoxylin(pictures["rgb"]))
    assert len(found) == len(golden) == 72
    assert list(found[0]) == list(golden[0]), "the same columns in the same order"
    for name in golden[0]:
        theirs = np.array([float(row[name] or "nan") for row in golden])
        ours = np.array([row[name] for row in found])
        np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-12, err_msg=name)


def test_what_is_known_without_them() -> None:
    """A square of four on flat ground, a single pixel, and one at the picture's corner."""
    label = np.zeros((30, 40), np.int32)
    label[5:9, 10:14], label[20, 20], label[28:, 38:] = 1, 2, 70_000
    channel = np.full(label.shape, 100, np.uint8)
    square, pixel, corner = features.table(label, channel)
    assert (square["Size.Area"], square["Size.ConvexHullArea"], square["Shape.Extent"]) == (
        16,
        16,
        1,
    )
    assert square["Size.Perimeter"] == 12 and square["Shape.Solidity"] == 1
    assert square["Identifier.CentroidX"] == square["Identifier.WeightedCentroidX"] == 11.5
    assert square["Size.MajorAxisLength"] == pytest.approx(4 * np.sqrt(15 / 12))
    assert square["Nucleus.Intensity.Std"] == square["Nucleus.Gradient.Mag.Mean"] == 0
    assert (
        square["Nucleus.Haralick.ASM.Mean"] == 1 and square["Nucleus.Haralick.Contrast.Mean"] == 0
    )
    assert (pixel["Size.Area"], pixel["Size.Perimeter"], pixel["Shape.FSD1"]) == (1, 0, 0)
    assert corner["Label"] == 70_000 and corner["Identifier.Xmax"] == 40
