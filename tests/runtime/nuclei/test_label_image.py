"""A label image: every pixel belongs to the nucleus that its centre lies in."""

from dataclasses import replace

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from made.blobs import fill_ring
from made.made_nuclei import made_nuclei
from numpy.typing import NDArray

from nuhtc.runtime.nuclei.label_image import label_image
from nuhtc.runtime.nuclei.nuclei import Nuclei


def rings(nuclei: Nuclei) -> list[NDArray[np.int32]]:
    return np.split(nuclei.coords, nuclei.offsets[1:-1])


@pytest.mark.parametrize("seed", range(4))
def test_outlines_on_whole_pixels_are_painted_to_the_pixel(seed: int) -> None:
    nuclei = made_nuclei(seed, 128, 20)
    expected = np.zeros((128, 128), np.int64)
    for i in np.argsort(nuclei.score, kind="stable"):
        expected[fill_ring(rings(nuclei)[i] // 100, 128, 128)] = i + 1
    assert len(nuclei) > 5
    assert np.array_equal(label_image(nuclei, (0, 0, 128, 128)), expected)


@pytest.mark.parametrize("scale", [0.37, 0.5, 1.7])
def test_at_another_resolution_pixels_are_those_whose_centre_is_inside(scale: float) -> None:
    nuclei = made_nuclei(2, 128, 20, scale=scale)
    side = int(128 * scale) + 1
    found = label_image(nuclei, (0, 0, side, side))
    y, x = np.mgrid[:side, :side] + 0.5
    for index, ring in enumerate(rings(nuclei)):
        alone = label_image(nuclei.take(np.array([index])), (0, 0, side, side)) == 1
        shape = shapely.polygons(ring / 100)
        surely = shapely.contains_xy(shapely.buffer(shape, -1e-6), x, y)
        perhaps = shapely.contains_xy(shapely.buffer(shape, 1e-6), x, y)
        assert (alone >= surely).all() and (alone <= perhaps).all()
        assert (alone | (found != index + 1)).all()
    assert (found > 0).any()


@given(
    st.integers(0, 2**32),
    st.tuples(st.integers(-30, 60), st.integers(-30, 60), st.integers(1, 90), st.integers(1, 70)),
)
def test_any_outline_in_any_region(seed: int, region: tuple[int, int, int, int]) -> None:
    """Stars with slanted edges, as a simplified outline may be."""
    rng = np.random.default_rng(seed)
    angle = np.sort(rng.uniform(0, 2 * np.pi, 9))
    radius = rng.uniform(200, 3000, 9)
    points = np.stack([np.cos(angle), np.sin(angle)], axis=1) * radius[:, None] + 3000
    coords = np.rint(points).astype(np.int32)
    star = shapely.polygons(coords)
    one = made_nuclei(1, 64, 1).take(np.array([0]))
    nuclei = replace(
        one,
        coords=coords,
        offsets=np.array([0, len(coords)], np.int64),
        bbox=np.array([[*coords.min(axis=0), *coords.max(axis=0)]], np.int32),
    )
    x, y, width, height = region
    rows, columns = np.mgrid[:height, :width] + 0.5
    centres = (columns + x) * 100, (rows + y) * 100
    found = label_image(nuclei, region) == 1
    if star.is_valid:
        surely = shapely.contains_xy(shapely.buffer(star, -1e-3), *centres)
        perhaps = shapely.contains_xy(shapely.buffer(star, 1e-3), *centres)
        assert (found >= surely).all() and (found <= perhaps).all()


def test_the_higher_score_has_what_two_share_and_a_region_is_a_window() -> None:
    nuclei = made_nuclei(3, 128, 20)
    whole = label_image(nuclei, (0, 0, 128, 128))
    assert np.array_equal(label_image(nuclei, (17, 40, 60, 33)), whole[40:73, 17:77])
    twice = Nuclei.concatenate([nuclei, replace(nuclei, score=nuclei.score + np.float32(0.01))])
    assert label_image(twice, (0, 0, 128, 128)).max() > len(nuclei)
    assert (label_image(twice, (0, 0, 128, 128))[whole > 0] > len(nuclei)).all()


def test_no_nuclei_and_none_near() -> None:
    nuclei = made_nuclei(3, 128, 20)
    assert not label_image(nuclei, (500, 500, 4, 5)).any()
    assert label_image(nuclei.take(np.zeros(0, np.int64)), (0, 0, 4, 5)).shape == (5, 4)
