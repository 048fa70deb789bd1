import math
import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from nuhtc.runtime.ground.errors import SlideError, SlideReadError
from nuhtc.runtime.slides.damage import read_around_damage
from nuhtc.runtime.slides.picture import ArraySlide
from nuhtc.runtime.slides.resample import best_level
from nuhtc.runtime.tiles.grid import Grid
from nuhtc.runtime.tiles.read_ahead import AHEAD, BLOCK_PX, TileIterator, read_block

MODEL_MPP = 0.25


def pyramid(width: int, height: int, mpp: float, levels: int, seed: int = 0) -> ArraySlide:
    """Noise, the hardest picture to resample alike twice."""
    rng = np.random.default_rng(seed)
    sizes = [(-(-height // 2**level), -(-width // 2**level), 3) for level in range(levels)]
    pictures = [rng.integers(0, 256, size, np.uint8) for size in sizes]
    return ArraySlide(pictures[0], mpp, smaller=pictures[1:])


def read_tile(slide: ArraySlide, grid: Grid, row: int, col: int, mpp: float) -> NDArray[np.uint8]:
    return read_block(slide, grid, row, range(col, col + 1), mpp / slide.mpp).tiles[0]


def on_slide(slide: ArraySlide, tile: int, overlap: int) -> Grid:
    scale = slide.mpp / MODEL_MPP
    return Grid(max(1, int(slide.width * scale)), max(1, int(slide.height * scale)), tile, overlap)


def assemble(slide: ArraySlide, grid: Grid) -> NDArray[np.uint8]:
    """Put all tiles together, and check that each agrees with what lies there already."""
    width, height = (
        side + grid.tile for side in grid.corner(grid.numbers(grid.rows - 1, grid.cols - 1))
    )
    whole = np.zeros((width, height, 3), np.uint8)
    known = np.zeros((width, height), bool)
    for row, col in np.ndindex(grid.rows, grid.cols):
        x, y = grid.corner(grid.numbers(row, col))
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
    for row, col in np.ndindex(grid.rows, grid.cols):
        x, y = grid.corner(grid.numbers(row, col))
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
    wanted = range(grid.count)[::-1]
    with TileIterator(slide, grid, wanted, MODEL_MPP / slide.mpp, 4) as tiles:
        found = list(tiles)
    assert [number for number, _ in found] == list(wanted)
    for number, tile in found[::7]:
        row, col = grid.rows_cols(number)
        np.testing.assert_array_equal(tile, read_tile(slide, grid, row, col, MODEL_MPP))


@settings(deadline=None, max_examples=40)
@given(
    mpp=st.floats(0.07, 0.8),
    tile=st.integers(30, 90),
    first=st.integers(0, 6),
    count=st.integers(1, 6),
    data=st.data(),
)
def test_a_tile_does_not_depend_on_the_block_it_is_read_in(
    mpp: float, tile: int, first: int, count: int, data: st.DataObject
) -> None:
    slide = pyramid(230, 150, mpp, 2)
    grid = Grid(1000, 300, tile, data.draw(st.integers(0, tile // 2)))
    block = read_block(slide, grid, 1, range(first, first + count), MODEL_MPP / mpp)
    assert (block.damaged, any(block.lost), block.reason) == (((),) * count, False, "")
    for col, found in enumerate(block.tiles, start=first):
        np.testing.assert_array_equal(found, read_tile(slide, grid, 1, col, MODEL_MPP))


@settings(deadline=None, max_examples=20)
@given(mpp=st.floats(0.26, 0.9), seed=st.integers(0, 9))
def test_enlarging_is_what_pillow_calls_bilinear(mpp: float, seed: int) -> None:
    slide = pyramid(90, 80, mpp, 1, seed)
    ratio = MODEL_MPP / mpp
    tile = read_tile(slide, Grid(100, 100, 64, 0), 0, 0, MODEL_MPP)
    source = Image.fromarray(slide.read(0, 0, 0, 90, 80))
    box = (0, 0, 64 * ratio, 64 * ratio)
    theirs = np.asarray(source.resize((64, 64), Image.Resampling.BILINEAR, box)).astype(int)
    # Pillow repeats the picture's edge; here, what lies beyond the slide is white.
    inside = slice(math.ceil(0.5 / ratio), 64)
    assert np.abs(tile.astype(int) - theirs)[inside, inside].max() <= 1


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
        columns = set(range(x // 64, (x + width - 1) // 64 + 1))
        if found := sorted(columns & set(self.damaged)):
            raise SlideReadError(f"column {found[0]}")
        return super().read(x, y, level, width, height)


def test_an_error_comes_at_its_tile_and_the_rest_after_it() -> None:
    slide = Watched(damaged=(0, 3, 4, 9))
    grid = Grid(640, 64, 64, 0)
    tiles = TileIterator(slide, grid, range(grid.count), 1.0, 3)
    good, bad = [], []
    for row, col in np.ndindex(grid.rows, grid.cols):
        try:
            found = next(tiles)
            assert found[0] == grid.numbers(row, col)
            good.append(col)
        except SlideReadError as error:
            assert "column" in str(error)
            bad.append(col)
    assert (good, bad) == ([1, 2, 5, 6, 7, 8], [0, 3, 4, 9])
    with pytest.raises(StopIteration):
        next(tiles)
    assert tiles.take_damaged() == tuple((64 * col, 0, 64, 64) for col in (0, 3, 4, 9))
    assert tiles.take_damaged() == ()


def test_no_more_is_read_ahead_than_promised() -> None:
    slide = Watched()
    grid = Grid(6400, 64, 64, 0)
    before = threading.active_count()
    # Every second tile, so that each is a block of its own.
    with TileIterator(slide, grid, range(0, 100, 2), 1.0, 2) as tiles:
        for _ in range(5):
            next(tiles)
        time.sleep(0.05)
        assert slide.reads <= 5 + 2 * AHEAD
    assert threading.active_count() == before
    assert slide.reads <= 5 + 2 * AHEAD


def test_neighbours_are_read_at_once_but_not_without_bound() -> None:
    slide = Watched()
    grid = Grid(6400, 64, 64, 0)
    with TileIterator(slide, grid, range(grid.count), 1.0, 1) as tiles:
        assert len(list(tiles)) == 100
    assert slide.reads == 1
    slide = Watched()
    wide = Grid(6400, 64, 1024, 0)
    with TileIterator(slide, wide, range(wide.count), 1.0, 1) as tiles:
        assert len(list(tiles)) == 7
    assert slide.reads == math.ceil(7 / (BLOCK_PX // 1024**2)) == 4


class Spotted(ArraySlide):
    """Cells of 24 x 40 pixels, some of them damaged."""

    def __init__(self, damaged: set[tuple[int, int]]) -> None:
        super().__init__(np.zeros((200, 300, 3), np.uint8), MODEL_MPP)
        self.damaged = damaged

    def read(self, x: int, y: int, level: int, width: int, height: int) -> NDArray[np.uint8]:
        for column, row in self.damaged:
            across = x < 24 * column + 24 and 24 * column < x + width
            if across and y < 40 * row + 40 and 40 * row < y + height:
                raise SlideReadError("a spot", (24, 40))
        return super().read(x, y, level, width, height)


spots = st.sets(st.tuples(st.integers(0, 12), st.integers(0, 4)), min_size=1, max_size=20)


@settings(deadline=None, max_examples=60)
@given(spots, st.integers(-60, 300), st.integers(-60, 200), st.integers(1, 250), st.integers(1, 90))
def test_exactly_the_damaged_cells_are_white(
    damaged: set[tuple[int, int]], x: int, y: int, width: int, height: int
) -> None:
    truth = np.full((400, 700, 3), 255, np.uint8)
    truth[100:300, 100:400] = 0
    for column, row in damaged:
        truth[100 + 40 * row : 140 + 40 * row, 100 + 24 * column : 124 + 24 * column] = 255
    region = read_around_damage(Spotted(damaged), (x, y, width, height), 0)
    np.testing.assert_array_equal(
        region.pixels, truth[y + 100 : y + 100 + height, x + 100 : x + 100 + width]
    )
    met = {(c, r) for c, r in damaged if x < min(300, 24 * c + 24) and 24 * c < x + width}
    met = {(c, r) for c, r in met if y < min(200, 40 * r + 40) and 40 * r < y + height}
    assert set(region.damaged) == {(24 * c, 40 * r, 24, 40) for c, r in met}


@settings(deadline=None, max_examples=60)
@given(spots, st.integers(20, 90))
def test_a_tile_is_lost_only_where_all_of_it_is_damaged(
    damaged: set[tuple[int, int]], side: int
) -> None:
    slide, grid = Spotted(damaged), Grid(300, 200, side, side // 4)
    mask = np.zeros((200, 300), bool)
    for column, row in damaged:
        mask[40 * row : 40 * row + 40, 24 * column : 24 * column + 24] = True
    tiles = TileIterator(slide, grid, range(grid.count), 1.0, 2)
    for row, col in np.ndindex(grid.rows, grid.cols):
        x, y = grid.corner(grid.numbers(row, col))
        if mask[y : y + side, x : x + side].all():
            with pytest.raises(SlideReadError, match="a spot"):
                next(tiles)
        else:
            assert next(tiles)[0] == grid.numbers(row, col)
    tiles.close()
    met = tiles.take_damaged()
    assert len(met) == len(set(met)) == len(damaged)


def test_an_error_that_is_no_damage_is_raised_for_every_tile() -> None:
    class Closed(ArraySlide):
        def read(self, x: int, y: int, level: int, width: int, height: int) -> NDArray[np.uint8]:
            raise SlideError("closed")

    grid = Grid(640, 64, 64, 0)
    slide = Closed(np.zeros((64, 640, 3), np.uint8), MODEL_MPP)
    with TileIterator(slide, grid, range(grid.count), 1.0, 2) as tiles:
        for _ in range(grid.cols):
            with pytest.raises(SlideError, match="closed"):
                next(tiles)


def test_no_tiles_at_all() -> None:
    assert list(TileIterator(Watched(), Grid(64, 64, 64, 0), [], 1.0, 1)) == []
    with pytest.raises(ValueError, match="threads"):
        TileIterator(Watched(), Grid(64, 64, 64, 0), [], 1.0, 0)
