import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made.seen import core

from nuhtc.runtime.ground.errors import UsageError
from nuhtc.runtime.tiles.grid import Grid


@st.composite
def grids(draw: st.DrawFn) -> Grid:
    tile = draw(st.integers(1, 300))
    return Grid(
        draw(st.integers(1, 3000)),
        draw(st.integers(1, 3000)),
        tile,
        draw(st.integers(0, tile // 2)),
    )


@settings(deadline=None)
@given(grids())
def test_tiles_cover_the_slide_and_none_is_needless(grid: Grid) -> None:
    x, y = grid.corner(grid.numbers(grid.rows - 1, grid.cols - 1))
    assert x + grid.tile >= grid.width
    assert y + grid.tile >= grid.height
    # Without the last column or row something would be missing.
    assert grid.cols == 1 or x - grid.stride + grid.tile < grid.width
    assert grid.rows == 1 or y - grid.stride + grid.tile < grid.height


@settings(deadline=None)
@given(grids(), st.integers(0, 2**32))
def test_every_point_has_the_one_owner_whose_core_holds_it(grid: Grid, seed: int) -> None:
    rng = np.random.default_rng(seed)
    points = rng.uniform(-50, 3100, (40, 2))
    borders = [(x, 0.0) for x in grid.x_borders()[:20]] + [(0.0, y) for y in grid.y_borders()[:20]]
    points = np.concatenate([points, np.reshape(borders, (-1, 2))])
    rows, cols = grid.owner(points[:, 0], points[:, 1])
    for (x, y), row, col in zip(points, rows, cols, strict=True):
        x0, y0, x1, y1 = core(grid, int(row), int(col))
        assert x0 <= x < x1
        assert y0 <= y < y1


@settings(deadline=None)
@given(grids())
def test_cores_meet_in_the_middle_of_the_overlap(grid: Grid) -> None:
    for col in range(min(grid.cols - 1, 5)):
        right, left = core(grid, 0, col)[2], core(grid, 0, col + 1)[0]
        assert right == left == grid.x_borders()[col]
        shared = (
            grid.corner(grid.numbers(0, col + 1))[0],
            grid.corner(grid.numbers(0, col))[0] + grid.tile,
        )
        assert abs((shared[0] + shared[1]) / 2 - right) <= 0.5


def test_a_slide_smaller_than_a_tile_has_one_tile() -> None:
    grid = Grid(10, 256, 256, 64)
    assert grid.count == 1
    assert grid.owner(np.array([-5.0, 900.0]), np.array([3.0, -9.0]))[0].tolist() == [0, 0]


@settings(deadline=None)
@given(grids())
def test_numbers_run_through_the_rows(grid: Grid) -> None:
    number = np.arange(grid.count)
    rows, cols = grid.rows_cols(number)
    assert np.array_equal(grid.numbers(rows, cols), number)
    assert list(zip(rows.tolist(), cols.tolist(), strict=True)) == [
        *np.ndindex(grid.rows, grid.cols)
    ]
    assert np.array_equal(grid.corners(number), np.stack([cols, rows], axis=1) * grid.stride)
    assert grid.corner(grid.count - 1) == tuple(grid.corners(number)[-1].tolist())


def test_a_known_grid() -> None:
    grid = Grid(1000, 449, 256, 64)
    assert (grid.stride, grid.cols, grid.rows) == (192, 5, 3)
    assert grid.corner(grid.numbers(2, 3)) == (576, 384)
    assert grid.x_borders().tolist() == [224, 416, 608, 800]


@pytest.mark.parametrize(("tile", "overlap"), [(0, 0), (-256, 0), (256, -1), (256, 129)])
def test_impossible_tiles_are_the_users_mistake(tile: int, overlap: int) -> None:
    with pytest.raises(UsageError, match=r"--tile|--overlap"):
        Grid(1000, 1000, tile, overlap)
