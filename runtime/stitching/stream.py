"""Every nucleus of a store or of a run's parts once, some thousands at a time."""

from collections.abc import Iterable, Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from nuhtc.runtime.nuclei.candidates import Candidates
from nuhtc.runtime.nuclei.nuclei import Nuclei, place_on_slide
from nuhtc.runtime.nuclei.view import View
from nuhtc.runtime.slides.slide import SlideFacts
from nuhtc.runtime.stitching.divide import DivideStream
from nuhtc.runtime.stitching.stitch import StitchStream
from nuhtc.runtime.tiles.grid import Grid

CHUNK: Final = 16384
"""Nuclei handed to the writers at a time: enough for arrays to pay, little memory."""


def iter_nuclei(
    parts: Iterable[Candidates],
    grid: Grid,
    scale: float,
    slide: SlideFacts,
    ran: NDArray[np.bool_],
    view: View,
) -> Iterator[Nuclei]:
    """Give each nucleus once, some thousands at a time, in the order of the tiles.

    Parameters
    ----------
    parts
        The candidates, in the order of the tiles.
    grid
        The tiles, in model pixels.
    scale
        Level-0 pixels per model pixel.
    slide
        Where the nuclei are: its size and um/px.
    ran
        bool (rows, columns): the tiles that were run.
    view
        Which are wanted.
    """
    parts = (_above(part, view.min_score) for part in parts)
    for stitched in _stitched(parts, grid, ran, divide=view.overlaps == "divide"):
        nuclei = place_on_slide(stitched, scale=scale, width=slide.width_px, height=slide.height_px)
        nuclei = view.apply(nuclei, slide.mpp)
        if len(nuclei):
            yield nuclei


def _above(part: Candidates, least: float) -> Candidates:
    above = part.score >= np.float32(least)
    return part if above.all() else part.take(np.flatnonzero(above))


def _stitched(
    parts: Iterable[Candidates], grid: Grid, ran: NDArray[np.bool_], *, divide: bool
) -> Iterator[Candidates]:
    """Stitch row by row and hand on in chunks what is settled."""
    stream, division = StitchStream(grid, ran), DivideStream()
    classes = 0
    for row, candidates in _by_row(parts, grid):
        classes = candidates.probabilities.shape[1]
        found = stream.add_row(row, candidates)
        yield from _chunks(division.add(found, stream.horizon) if divide else found)
    found = stream.finish(classes)
    yield from _chunks(division.add(found, None) if divide else found)


def _by_row(parts: Iterable[Candidates], grid: Grid) -> Iterator[tuple[int, Candidates]]:
    """Cut parts, whose tiles ascend, into rows of tiles; a row may begin and end in any part."""
    open_row, waiting = -1, list[Candidates]()
    for part in parts:
        rows, _ = grid.rows_cols(part.tile)
        for row in np.unique(rows).tolist():
            if row != open_row and waiting:
                yield open_row, Candidates.concatenate(waiting)
                waiting = []
            open_row = row
            waiting.append(part.take(np.flatnonzero(rows == row)))
    if waiting:
        yield open_row, Candidates.concatenate(waiting)


def _chunks(found: Candidates) -> Iterator[Candidates]:
    for start in range(0, len(found), CHUNK):
        yield found.take(np.arange(start, min(start + CHUNK, len(found))))
