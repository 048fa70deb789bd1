"""From model pixels to hundredths of level-0 pixels: valid, exact, inside the slide."""

import numpy as np
import pytest
import shapely
from fakes.oracle import OracleEngine, paint
from hypothesis import assume, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from made.blobs import random_ellipses
from made.made_nuclei import made_candidates, made_nuclei
from numpy.typing import NDArray

from nuhtc.runtime.ground.errors import PipelineError
from nuhtc.runtime.nuclei.candidates import Candidates
from nuhtc.runtime.nuclei.nuclei import MIN_SCALE, Nuclei, model_extent, place_on_slide
from nuhtc.runtime.nuclei.ragged import check_rings, join_rings, ring_areas, take_rings
from nuhtc.runtime.pipeline.trace import trace_tile
from nuhtc.runtime.tiles.grid import Grid

RATIOS = [1.0, 0.25 / 0.499, 0.25 / 0.2527, 0.25 / 1.0, 0.25 / 0.2201, 0.5 / 0.11, 0.013]


def polygons(nuclei: Nuclei) -> NDArray[np.object_]:
    """Return each ring as a shapely polygon in level-0 pixels."""
    return np.array(
        [
            shapely.Polygon(nuclei.coords[low:high] / 100)
            for low, high in zip(nuclei.offsets[:-1], nuclei.offsets[1:], strict=True)
        ]
    )


@pytest.mark.parametrize("scale", RATIOS)
def test_every_outline_is_valid_at_any_resolution(scale: float) -> None:
    nuclei = made_nuclei(seed=1, scale=scale)
    assert len(nuclei) > 40
    shapes = polygons(nuclei)
    assert shapely.is_valid(shapes).all()
    assert shapely.is_valid(shapely.set_precision(shapes, 0.01)).all()
    assert np.allclose(shapely.area(shapes), nuclei.area_px, rtol=1e-12, atol=0)
    assert np.array_equal(np.rint(shapely.bounds(shapes) * 100), nuclei.bbox)
    centres = shapely.get_coordinates(shapely.centroid(shapes))
    assert np.abs(centres - nuclei.centroid).max() < 0.6 * max(scale, 0.02)


@hypothesis_settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**32),
    st.floats(MIN_SCALE, 8.0),
    st.integers(1, 60),
    st.integers(1, 60),
)
def test_masks_of_noise_stay_valid_and_inside_the_slide(
    seed: int, scale: float, width: int, height: int
) -> None:
    """Ragged shapes that reach over the slide's far corner, at a resolution nobody planned."""
    extent = model_extent(width, scale), model_extent(height, scale)
    assume(max(extent) < 400)
    rng = np.random.default_rng(seed)
    grid = Grid(*extent, 512, 0)
    low = rng.uniform((0, 0), extent, (6, 2))
    boxes = np.concatenate([low, low + rng.uniform(2, 40, (6, 2))], axis=1).astype(np.float32)
    answer = OracleEngine().run(np.full((1, 64, 64, 3), 255, np.uint8))[0]
    noisy = type(answer)(
        boxes,
        np.full((6, 4), 0.5, np.float32),
        rng.uniform(0.2, 0.8, (6, 28, 28)).astype(np.float32),
    )
    traced = trace_tile(noisy, grid, 0)
    nuclei = place_on_slide(traced, scale=scale, width=width, height=height)
    assert shapely.is_valid(polygons(nuclei)).all()
    assert (nuclei.area_px > 0).all()
    assert nuclei.coords.min(initial=0) >= 0
    assert (nuclei.coords <= (width * 100, height * 100)).all()


@pytest.mark.parametrize("scale", RATIOS)
def test_outlines_that_shared_an_edge_still_do(scale: float) -> None:
    labels = np.zeros((40, 40), np.int32)
    labels[5:30, 3:17] = 1
    labels[5:30, 17:33] = 2
    answer = OracleEngine().run(paint(labels)[None])[0]
    traced = trace_tile(answer, Grid(40, 40, 40, 0), 0)
    left, right = polygons(place_on_slide(traced, scale=scale, width=999, height=999))
    assert left.intersection(right).area == 0
    assert left.touches(right)
    assert left.union(right).geom_type == "Polygon"


@given(st.integers(1, 300_000), st.floats(MIN_SCALE, 20.0))
def test_the_models_extent_covers_the_slide_and_no_empty_pixel(length: int, scale: float) -> None:
    extent = model_extent(length, scale)
    assert extent >= 1
    assert extent * scale * 100 >= length * 100 - 1, "a hundredth at most is left out"
    assert extent == 1 or np.floor((extent - 1) * scale * 100 + 0.5) < length * 100


def test_at_the_models_own_resolution_coordinates_are_whole() -> None:
    candidates = made_candidates(seed=2)
    nuclei = place_on_slide(candidates, scale=1.0, width=512, height=512)
    assert np.array_equal(nuclei.coords, candidates.coords * 100)
    assert np.array_equal(nuclei.area_px, candidates.area)


def test_a_slide_too_coarse_or_too_wide_is_refused() -> None:
    candidates = made_candidates()
    with pytest.raises(PipelineError, match="--mpp"):
        place_on_slide(candidates, scale=0.0099, width=512, height=512)
    with pytest.raises(PipelineError, match="--mpp"):
        place_on_slide(candidates, scale=float("nan"), width=512, height=512)
    with pytest.raises(PipelineError, match="pixels"):
        place_on_slide(candidates, scale=1.0, width=2**31 // 100 + 1, height=512)


def test_a_far_corner_of_a_huge_slide_is_exact() -> None:
    far = 200_000
    labels = random_ellipses(4, 512, 512, 40, (8.0, 28.0))
    answer = OracleEngine().run(paint(labels)[None])[0]
    grid = Grid(far + 512, far + 512, 1, 0)
    near = trace_tile(answer, Grid(512, 512, 512, 0), 0)
    moved = Candidates(**{**vars(near), "coords": near.coords + far, "bbox": near.bbox + far})
    nuclei = place_on_slide(moved, scale=0.37, width=grid.width, height=grid.height)
    assert shapely.is_valid(polygons(nuclei)).all()
    assert np.allclose(nuclei.area_px, near.area * 0.37**2, rtol=0.05)


@given(st.integers(0, 1000), st.lists(st.integers(0, 59), max_size=30))
@hypothesis_settings(max_examples=20, deadline=None)
def test_taking_rings_keeps_each_whole(seed: int, wanted: list[int]) -> None:
    nuclei = made_nuclei(seed % 3)
    index = np.array([one for one in wanted if one < len(nuclei)], np.int64)
    taken = nuclei.take(index)
    assert len(taken) == len(index)
    for place, source in enumerate(index):
        ring = taken.coords[taken.offsets[place] : taken.offsets[place + 1]]
        low, high = nuclei.offsets[source : source + 2]
        assert np.array_equal(ring, nuclei.coords[low:high])
        assert taken.score[place] == nuclei.score[source]


def test_joined_rings_come_apart_again() -> None:
    parts = [made_nuclei(seed) for seed in range(3)]
    coords, offsets = join_rings([(part.coords, part.offsets) for part in parts])
    start = 0
    for part in parts:
        index = np.arange(start, start + len(part))
        again, cuts = take_rings(coords, offsets, index)
        assert np.array_equal(again, part.coords)
        assert np.array_equal(cuts, part.offsets)
        start += len(part)
    nothing, cuts = join_rings([])
    assert nothing.shape == (0, 2)
    assert cuts.tolist() == [0]


def test_areas_of_empty_and_distant_rings() -> None:
    square = np.array([[0, 0], [3, 0], [3, 2], [0, 2]], np.int32)
    coords = np.concatenate([square, square + (2**31 - 10)]).astype(np.int32)
    offsets = np.array([0, 0, 4, 4, 8, 8], np.int64)
    assert ring_areas(coords, offsets).tolist() == [0, 12, 0, 12, 0]
    assert ring_areas(coords[:0], np.zeros(1, np.int64)).tolist() == []


@pytest.mark.parametrize(
    ("coords", "offsets"),
    [
        (np.zeros((3, 2), np.int64), np.array([0, 3])),
        (np.zeros((3, 3), np.int32), np.array([0, 3])),
        (np.zeros((3, 2), np.int32), np.array([0, 2])),
        (np.zeros((3, 2), np.int32), np.array([1, 3])),
        (np.zeros((3, 2), np.int32), np.array([0, 2, 1, 3])),
        (np.zeros((3, 2), np.int32), np.zeros(0, np.int64)),
        (np.zeros((3, 2), np.int32), np.array([0, 3], np.int32)),
    ],
)
def test_offsets_that_do_not_fit_are_refused(
    coords: NDArray[np.integer], offsets: NDArray[np.integer]
) -> None:
    with pytest.raises(ValueError, match=r"coords|offsets"):
        check_rings(coords, offsets)


def test_columns_of_different_length_are_refused() -> None:
    nuclei = made_nuclei()
    with pytest.raises(ValueError, match="score"):
        Nuclei(**{**vars(nuclei), "score": nuclei.score[:-1]})
