"""What is put into a part comes out of it."""

from dataclasses import replace

import numpy as np
import pytest
from fakes.oracle import OracleEngine, paint
from hypothesis import given, settings
from hypothesis import strategies as st
from made.blobs import random_ellipses
from made.made_nuclei import made_candidates

from nuhtc.runtime.ground.errors import StoreError
from nuhtc.runtime.nuclei.candidates import Candidates
from nuhtc.runtime.pipeline.trace import trace_tile
from nuhtc.runtime.store.schema import decode, encode
from nuhtc.runtime.tiles.grid import Grid


def assert_equal(one: Candidates, other: Candidates) -> None:
    for name, values in vars(one).items():
        there = getattr(other, name)
        assert there.dtype == values.dtype and there.shape == values.shape, name
        if name == "centroid":
            # The kernel sums pixels in single precision; the store goes by the exact outline.
            assert np.allclose(there, values, atol=1e-3)
        else:
            assert np.array_equal(there, values), name


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), overlap=st.integers(0, 64), row=st.integers(0, 2))
def test_every_column_comes_back(seed: int, overlap: int, row: int) -> None:
    grid = Grid(1000, 900, 128, overlap)
    answer = OracleEngine().run(paint(random_ellipses(seed, 128, 128, 20, (4.0, 60.0)))[None])[0]
    found = [trace_tile(answer, grid, grid.numbers(row, col)) for col in range(3)]
    candidates = Candidates.concatenate(found)
    data = encode(candidates, grid)
    assert_equal(candidates, decode(data, grid, 4))
    assert encode(decode(data, grid, 4), grid).equals(data), "the same bytes"


def test_no_candidates_are_a_part_too() -> None:
    grid = Grid(100, 100, 64, 0)
    assert_equal(Candidates.empty(3), decode(encode(Candidates.empty(3), grid), grid, 3))


def test_a_slanted_outline_is_refused() -> None:
    candidates = made_candidates()
    candidates.coords[1] += 1
    with pytest.raises(ValueError, match="pixel edges"):
        encode(candidates, Grid(512, 512, 512, 0))


def test_an_outline_with_an_odd_number_of_points_is_refused() -> None:
    candidates = made_candidates()
    odd = candidates.offsets[1] - 1
    offsets = np.concatenate([[0], candidates.offsets[1:] - 1])
    coords = np.delete(candidates.coords, odd, axis=0)
    with pytest.raises(ValueError, match="pixel edges"):
        encode(replace(candidates, coords=coords, offsets=offsets), Grid(512, 512, 512, 0))


def test_an_outline_outside_its_tile_is_refused() -> None:
    candidates = made_candidates()
    with pytest.raises(ValueError, match="inside its tile"):
        encode(candidates, Grid(512, 512, 64, 0))


def test_another_number_of_classes_is_no_part_of_this_store() -> None:
    grid = Grid(512, 512, 512, 0)
    data = encode(made_candidates(), grid)
    with pytest.raises(StoreError, match="columns"):
        decode(data, grid, 5)
    with pytest.raises(StoreError, match="no Arrow file"):
        decode(b"not arrow", grid, 4)
