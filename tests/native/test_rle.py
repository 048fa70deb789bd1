"""Masks of outlines in COCO's text, decoded by pycocotools and compared with known pixels."""

import json
from itertools import pairwise

import numpy as np
import pytest
from fakes.oracle import OracleEngine, paint
from hypothesis import given, settings
from hypothesis import strategies as st
from made.blobs import random_ellipses
from pycocotools import mask as coco_mask

from nuhtc.native.rle import rle_texts
from nuhtc.runtime.pipeline.trace import trace_tile
from nuhtc.runtime.tiles.grid import Grid

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def decoded(text: np.ndarray, low: int, high: int, width: int, height: int) -> np.ndarray:
    counts = json.loads(b'"' + text[low:high].tobytes() + b'"')
    return coco_mask.decode({"size": [height, width], "counts": counts})


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), side=st.sampled_from([40, 97, 300]))
def test_a_traced_mask_comes_back_to_the_pixel(seed: int, side: int) -> None:
    labels = random_ellipses(seed, side, side, 12, (4.0, 28.0))
    found = trace_tile(OracleEngine().run(paint(labels)[None])[0], Grid(side, side, side, 0), 0)
    sizes = np.full((len(found), 2), side, np.int64)
    text, ends, areas = rle_texts(found.coords * np.int32(100), found.offsets, sizes)
    assert np.array_equal(areas, found.area)
    together = np.zeros((side, side), np.int64)
    for low, high in pairwise(ends):
        together += decoded(text, low, high, side, side)
    assert np.array_equal(together, labels > 0)


@settings(max_examples=60, deadline=None)
@given(
    points=st.lists(
        st.tuples(st.integers(-500, 3500), st.integers(-500, 3500)), min_size=3, max_size=8
    ),
    width=st.integers(1, 30),
    height=st.integers(1, 30),
)
def test_pixels_are_those_whose_centres_an_even_odd_test_finds_inside(
    points: list[tuple[int, int]], width: int, height: int
) -> None:
    ring = np.array(points, np.int32)
    sizes = np.array([[width, height]], np.int64)
    text, ends, areas = rle_texts(ring, np.array([0, len(ring)]), sizes)
    mask = decoded(text, ends[0], ends[1], width, height)
    expected = np.zeros((height, width), np.uint8)
    after = np.roll(ring, -1, axis=0).astype(np.int64)
    for row in range(height):
        for col in range(width):
            x, y = 100 * col + 50, 100 * row + 50
            for (x0, y0), (x1, y1) in zip(ring.tolist(), after.tolist(), strict=True):
                if (x0 <= x) != (x1 <= x):
                    # The crossing is at or above the centre, in whole numbers.
                    above = (y - y0) * (x1 - x0) - (x - x0) * (y1 - y0)
                    expected[row, col] ^= (above if x1 > x0 else -above) >= 0
    assert np.array_equal(mask, expected)
    assert areas[0] == expected.sum()


def test_wrong_arguments_are_named() -> None:
    ring, cuts = np.zeros((3, 2), np.int32), np.array([0, 3])
    with pytest.raises(ValueError, match="sizes"):
        rle_texts(ring, cuts, np.array([[0, 5]]))
    with pytest.raises(ValueError, match="sizes"):
        rle_texts(ring, cuts, np.array([[1 << 16, 1 << 16]]))
    with pytest.raises(ValueError, match="sizes"):
        rle_texts(ring, cuts, np.zeros((2, 2), np.int64))
    with pytest.raises(TypeError, match="coords"):
        rle_texts(ring.astype(np.int64), cuts, np.array([[5, 5]]))
    text, ends, areas = rle_texts(
        np.zeros((0, 2), np.int32), np.zeros(1, np.int64), np.zeros((0, 2), np.int64)
    )
    assert (len(text), ends.tolist(), len(areas)) == (0, [0], 0)
