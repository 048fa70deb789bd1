"""Enlarging pictures before the backbone."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from nuhtc.training.network.resize import LARGEST_STRIDE, double, enlarge, tile_multiple


@given(st.integers(8, 32).map(lambda eighths: eighths / 8))
def test_a_tile_of_the_multiple_is_whole_cells_and_no_smaller_one_is(scale: float) -> None:
    side = tile_multiple(scale)
    assert side % LARGEST_STRIDE == 0
    assert (side * scale) % LARGEST_STRIDE == 0
    smaller = range(LARGEST_STRIDE, side, LARGEST_STRIDE)
    assert all((other * scale) % LARGEST_STRIDE for other in smaller)


@pytest.mark.parametrize("scale", [1.25, 1.5])
def test_a_pixel_is_where_it_was_only_larger(scale: float) -> None:
    """Between the pixels' middles, as scipy interpolates there."""
    picture = np.random.default_rng(0).integers(0, 256, (16, 24)).astype(np.float64)
    found = enlarge(torch.from_numpy(picture)[None, None], scale)[0, 0].numpy()
    assert found.shape == (16 * scale, 24 * scale)
    y, x = ((np.arange(side) + 0.5) / scale - 0.5 for side in found.shape)
    wanted = ndimage.map_coordinates(
        picture, np.meshgrid(y, x, indexing="ij"), order=1, mode="nearest"
    )
    assert np.allclose(found, wanted)


def test_one_changes_nothing_and_two_doubles_as_published() -> None:
    picture = torch.randint(0, 256, (2, 3, 8, 8)).float()
    assert enlarge(picture, 1) is picture
    assert torch.equal(enlarge(picture, 2.0), double(picture))
