"""Row by row a stream of candidates gives what all of them at once give."""

from dataclasses import replace

import numpy as np
import pytest
from fakes.oracle import OracleEngine
from hypothesis import given, settings
from hypothesis import strategies as st
from made.blobs import fill_ring, random_ellipses
from made.seen import as_set, core, everywhere, grid_over, see
from numpy.typing import NDArray
from reference.outlines import ring_of, solid

from nuhtc.native.stitch import find_rivals
from nuhtc.runtime.ground.errors import PipelineError
from nuhtc.runtime.nuclei.candidates import Candidates
from nuhtc.runtime.stitching.stitch import StitchStream, stitch
from nuhtc.runtime.tiles.grid import Grid

SCENES = settings.default.max_examples // 4
"""Each is a slide seen tile by tile."""


def streamed(parts: list[Candidates], grid: Grid, ran: NDArray[np.bool_]) -> list[Candidates]:
    """Return what a stream gives, row by row."""
    stream = StitchStream(grid, ran)
    rows = [
        stream.add_row(
            row, Candidates.concatenate([Candidates.empty(4), *parts[:: -1 if row % 2 else 1]])
        )
        for row, parts in enumerate(by_row(parts, grid))
    ]
    return [*rows, stream.finish(4)]


def by_row(parts: list[Candidates], grid: Grid) -> list[list[Candidates]]:
    rows: list[list[Candidates]] = [[] for _ in range(grid.rows)]
    for part in parts:
        if len(part):
            rows[part.tile[0] // grid.cols].append(part)
    return rows


@settings(max_examples=SCENES, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(16, 48),
    st.floats(0, 0.5),
    st.sampled_from([0, 0.2]),
    st.sampled_from([(6.0, 14.0), (10.0, 60.0)]),
)
def test_a_stream_gives_what_all_at_once_gives(
    seed: int, tile: int, overlap: float, missing: float, sides: tuple[float, float]
) -> None:
    # Nuclei larger than the overlap, even than a tile, and answers that are placed a little
    # differently: chains of rivals that run through several rows.
    rng = np.random.default_rng(seed)
    labels = random_ellipses(seed, 110, 90, 30, sides)
    grid = grid_over(labels, tile, int(overlap * tile))
    ran = rng.random((grid.rows, grid.cols)) >= missing
    parts = []
    for part, there in zip(see(labels, grid, OracleEngine()), ran.ravel(), strict=True):
        step = rng.integers(-1, 2, 2).astype(np.int32)
        if there:
            parts.append(
                replace(part, coords=part.coords + step, bbox=part.bbox + np.tile(step, 2))
            )
    every = Candidates.concatenate([Candidates.empty(4), *parts])
    rows = streamed(parts, grid, ran)
    pieces = Candidates.concatenate(rows)
    for name in vars(every):
        at_once = getattr(stitch(every, grid, ran), name)
        np.testing.assert_array_equal(getattr(pieces, name), at_once, err_msg=name)
    assert stays_at_once(every, grid, ran) == as_set(pieces)


def stays_at_once(every: Candidates, grid: Grid, ran: NDArray[np.bool_]) -> set[tuple[object, ...]]:
    """Choose among all candidates in one call of the kernel, by the rules alone."""
    x, y = (every.bbox[:, k] + every.bbox[:, k + 2] for k in (0, 1))
    cores = np.array([core(grid, *grid.rows_cols(int(tile))) for tile in every.tile])
    cores = cores.reshape(-1, 4)
    outside = np.stack(
        [2 * cores[:, 0] - x, x - 2 * cores[:, 2] + 1, 2 * cores[:, 1] - y, y - 2 * cores[:, 3] + 1]
    ).max(axis=0, initial=0)
    row, col = grid.owner(x / 2, y / 2)
    may_speak = (outside <= 2 * min(8, grid.overlap // 4)) | ~ran[row, col]
    near = every.take(np.flatnonzero(may_speak))
    owned = (outside == 0)[may_speak]
    corner = grid.corners(near.tile).astype(np.int32)
    corner = corner.reshape(-1, 2)
    pairs = find_rivals(
        near.coords,
        near.offsets,
        near.bbox,
        near.area,
        near.tile,
        owned,
        near.cut,
        near.score,
        windows=np.concatenate([corner, corner + np.int32(grid.tile)], axis=1),
    )
    stays = np.ones(len(near), np.bool_)
    for worse, better in pairs:
        stays[worse] &= not stays[better] or (near.cut[worse] and near.cut[better])
    pieces = [set(pair) for pair in pairs.tolist() if stays[pair].all()]
    joined = []
    while pieces:
        group = pieces.pop()
        while touching := [pair for pair in pieces if pair & group]:
            group = group.union(*touching)
            pieces = [pair for pair in pieces if pair not in touching]
        joined.append(union_of(near.take(np.array(sorted(group))), grid))
        stays[list(group)] = False
    return as_set(Candidates.concatenate([near.take(np.flatnonzero(stays)), *joined]))


def union_of(pieces: Candidates, grid: Grid) -> Candidates:
    """Return the largest piece, grown by the others unless that is larger than two tiles."""
    corner = pieces.bbox[:, :2].min(axis=0)
    width, height = pieces.bbox[:, 2:].max(axis=0) - corner
    order = sorted(
        range(len(pieces)), key=lambda i: (-pieces.area[i], -pieces.score[i], pieces.tile[i])
    )
    best = pieces.take(np.array(order[:1]))
    if max(width, height) > 2 * grid.tile:
        return best
    inside = np.zeros((height, width), np.bool_)
    for low, high in zip(pieces.offsets[:-1], pieces.offsets[1:], strict=True):
        inside |= fill_ring(pieces.coords[low:high] - corner, height, width)
    tiles = grid.corners(pieces.tile)
    low, high = tiles.min(axis=0), tiles.max(axis=0) + grid.tile
    cut = (low > 0) & (corner <= low)
    far = pieces.bbox[:, 2:].max(axis=0)
    cut |= (high < (grid.width, grid.height)) & (far >= high)
    ring = np.array(ring_of(solid(inside)), np.int32) + corner
    return replace(best, coords=ring, offsets=np.array([0, len(ring)]), cut=np.array([cut.any()]))


def test_a_stream_gives_rows_early_and_holds_about_two() -> None:
    labels = random_ellipses(4, 900, 120, 400, (8.0, 20.0))
    grid = grid_over(labels, 64, 24)
    parts = see(labels, grid, OracleEngine())
    rows = streamed(parts, grid, everywhere(grid))
    for row, given_now in enumerate(rows[:-1]):
        assert (given_now.tile // grid.cols < max(row, 1)).all() or row == grid.rows - 1
    assert all(len(given_now) for given_now in rows[2:-1]), "each row gives those above it"
    assert not len(rows[-1]), "the last row holds nothing back"


def test_a_stream_refuses_rows_that_do_not_ascend_and_candidates_of_others() -> None:
    labels = random_ellipses(1, 200, 100, 40, (8.0, 20.0))
    grid = grid_over(labels, 64, 32)
    rows = by_row(see(labels, grid, OracleEngine()), grid)
    ran = everywhere(grid)
    ran[2] = False
    stream = StitchStream(grid, ran)
    stream.add_row(1, Candidates.concatenate(rows[1]))
    for row, found in [(1, 1), (0, 0), (grid.rows, 1), (2, 2), (3, 1)]:
        with pytest.raises(PipelineError, match="row"):
            stream.add_row(row, Candidates.concatenate(rows[found]))
