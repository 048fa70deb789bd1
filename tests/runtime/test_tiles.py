import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from nuhtc.runtime.errors import SlideReadError
from nuhtc.runtime.grid import Grid
from nuhtc.runtime.picture import ArraySlide
from nuhtc.runtime.resample import best_level
from nuhtc.runtime.tiles import AHEAD, iter_tiles, read_tile

MODEL_MPP = 0.25


def pyramid(width: int, height: int, mpp: float, levels: int, seed: int = 0) -> ArraySlide:
    """Noise, the hardest picture to resample alike twice."""
    rng = np.random.default_rng(seed)
    sizes = [(-(-height // 2**level), -(-width // 2**level), 3) for level in range(levels)]
    pictures = [rng.integers(0, 256, size, np.uint8) for size in sizes]
    return ArraySlide(pictures[0], mpp, smaller=pictures[1:])


def on_slide(slide: ArraySlide, tile: int, overlap: int) -> Grid:
    scale = slide.mpp / MODEL_MPP
    return Grid(max(1, int(slide.width * scale)), max(1, int(slide.height * scale)), tile, overlap)


def assemble(slide: ArraySlide, grid: Grid) -> NDArray[np.uint8]:
    """Put all tiles together, and check that each agrees with what lies there already."""
    width, height = (side + grid.tile for side in grid.origin(grid.rows - 1, grid.cols - 1))
    whole = np.zeros((width, height, 3), np.uint8)
    known = np.zeros((width, height), bool)
    for row, col in list(grid.keys()):
        x, y = grid.origin(row, col)
        tile = read_tile(slide, grid, row, col, MODEL_MPP)
        assert tile.shape == (grid.tile, grid.tile, 3)
        assert tile.dtype == np.uint8
        area = (slice(x, x + grid.tile), slice(y, y + grid.tile))
        upright = tile.transpose(1, 0, 2)
        np.testing.assert_array_equal(whole[area][known[area]], upright[known[area]])
        whole[area], known[area] = upright, True
    return whole


@settings(deadline=None, max_examples=30)
@given(
    width=st.integers(1, 260),
    height=st.integers(1, 260),
    mpp=st.floats(0.07, 0.8),
    levels=st.integers(1, 3),
    tile=st.integers(40, 150),
    other=st.integers(40, 150),
    data=st.data(),
)
def test_a_pixel_does_not_depend_on_the_tile_it_is_read_with(
    width: int, height: int, mpp: float, levels: int, tile: int, other: int, data: st.DataObject
) -> None:
    slide = pyramid(width, height, mpp, levels)
    first = assemble(slide, on_slide(slide, tile, data.draw(st.integers(0, tile // 2))))
    second = assemble(slide, on_slide(slide, other, data.draw(st.integers(0, other // 2))))
    shared = tuple(slice(0, min(sides)) for sides in zip(first.shape, second.shape, strict=True))
    np.testing.assert_array_equal(first[shared], second[shared])


@settings(deadline=None, max_examples=40)
@given(mpp=st.floats(0.08, 0.9))
def test_a_ramp_stays_the_ramp_that_the_resolution_says(mpp: float) -> None:
    # Any centred linear filter keeps a linear ramp, so the truth is known at any scale.
    ratio = MODEL_MPP / mpp
    slope = 0.5
    x = np.minimum(255, slope * (np.arange(480) + 0.5))
    picture = np.repeat(np.rint(x).astype(np.uint8)[None, :, None], 480, axis=0).repeat(3, axis=2)
    grid = Grid(480, 480, 96, 0)
    tile = read_tile(ArraySlide(picture, mpp), grid, 0, 0, MODEL_MPP).astype(float)
    inside = np.arange(96) * ratio
    inside = (inside > 2 * ratio + 2) & (inside < 470)
    expected = slope * (np.arange(96) + 0.5) * ratio
    rows = tile[inside]
    assert np.abs(rows[:, inside, 0] - expected[inside]).max() <= 1.5


def test_the_models_own_resolution_is_a_plain_crop() -> None:
    slide = pyramid(300, 200, MODEL_MPP, 2)
    grid = Grid(300, 200, 128, 32)
    whole = slide.read(0, 0, 0, 400, 400)
    for row, col in list(grid.keys()):
        x, y = grid.origin(row, col)
        tile = read_tile(slide, grid, row, col, MODEL_MPP)
        np.testing.assert_array_equal(tile, whole[y : y + 128, x : x + 128])


def test_a_level_of_the_models_resolution_is_a_plain_crop_too() -> None:
    slide = pyramid(300, 200, MODEL_MPP / 2, 3)
    tile = read_tile(slide, Grid(150, 100, 64, 0), 0, 1, MODEL_MPP)
    np.testing.assert_array_equal(tile, slide.read(64, 0, 1, 64, 64))


def test_the_smallest_sufficient_level_is_read() -> None:
    downsamples = (1.0, 2.0, 4.0003, 16.0)
    assert best_level(downsamples, 0.5) == 0
    assert best_level(downsamples, 1.99) == 0
    assert best_level(downsamples, 2.0) == 1
    assert best_level(downsamples, 4.0) == 2
    assert best_level(downsamples, 100.0) == 3


def test_beyond_the_slide_is_white() -> None:
    slide = ArraySlide(np.zeros((50, 60, 3), np.uint8), 0.5)
    tile = read_tile(slide, Grid(120, 100, 256, 64), 0, 0, MODEL_MPP)
    assert (tile[2:98, 2:118] == 0).all()
    assert (tile[102:] == 255).all()
    assert (tile[:, 122:] == 255).all()


def test_tiles_come_in_the_order_asked_for_whatever_the_threads() -> None:
    slide = pyramid(400, 300, 0.4, 1)
    grid = on_slide(slide, 64, 16)
    keys = list(grid.keys())[::-1]
    with iter_tiles(slide, grid, keys, MODEL_MPP, 4) as tiles:
        found = list(tiles)
    assert [(row, col) for row, col, _ in found] == keys
    for row, col, tile in found[::7]:
        np.testing.assert_array_equal(tile, read_tile(slide, grid, row, col, MODEL_MPP))


class Watched(ArraySlide):
    """Counts its reads, and is damaged in the columns given."""

    def __init__(self, damaged: tuple[int, ...] = ()) -> None:
        super().__init__(np.zeros((64, 6400, 3), np.uint8), MODEL_MPP)
        self.damaged = damaged
        self.reads = 0
        self.lock = threading.Lock()

    def read(self, x: int, y: int, level: int, width: int, height: int) -> NDArray[np.uint8]:
        with self.lock:
            self.reads += 1
        if x // 64 in self.damaged:
            raise SlideReadError(f"column {x // 64}")
        return super().read(x, y, level, width, height)


def test_an_error_comes_at_its_tile_and_the_rest_after_it() -> None:
    slide = Watched(damaged=(0, 3, 4, 9))
    grid = Grid(640, 64, 64, 0)
    tiles = iter_tiles(slide, grid, list(grid.keys()), MODEL_MPP, 3)
    good, bad = [], []
    for row, col in list(grid.keys()):
        try:
            found = next(tiles)
            assert found[:2] == (row, col)
            good.append(col)
        except SlideReadError as error:
            assert str(error) == f"column {col}"
            bad.append(col)
    assert (good, bad) == ([1, 2, 5, 6, 7, 8], [0, 3, 4, 9])
    with pytest.raises(StopIteration):
        next(tiles)


def test_no_more_is_read_ahead_than_promised() -> None:
    slide = Watched()
    grid = Grid(6400, 64, 64, 0)
    before = threading.active_count()
    with iter_tiles(slide, grid, grid.keys(), MODEL_MPP, 2) as tiles:
        for _ in range(5):
            next(tiles)
        time.sleep(0.05)
        assert slide.reads <= 5 + 2 * AHEAD
    assert threading.active_count() == before
    assert slide.reads <= 5 + 2 * AHEAD


def test_no_tiles_at_all() -> None:
    assert list(iter_tiles(Watched(), Grid(64, 64, 64, 0), [], MODEL_MPP, 1)) == []
    with pytest.raises(ValueError, match="threads"):
        iter_tiles(Watched(), Grid(64, 64, 64, 0), [], MODEL_MPP, 0)
