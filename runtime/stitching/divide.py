"""Overlapping neighbours divided: each pixel belongs to one nucleus, the surest that covers it.

A nucleus keeps what no surer one covers, and of that the largest part. The division is made
among stitched nuclei, by what each covers before it: so it depends on no tile, and a nucleus can
be given as soon as all that may cover it are known.

Stitched nuclei share at most half of the smaller one's area, so that none lies inside another:
what is left of one has no holes, and no pixel is inside two outlines.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from nuhtc.native.redraw import redraw_rings
from nuhtc.native.stitch import find_rivals
from nuhtc.runtime.nuclei.candidates import Candidates

_ANY_SHARE = 1e-12
"""Of a nucleus's area: less than one pixel of any."""


def divide(candidates: Candidates) -> Candidates:
    """Return stitched nuclei with each pixel left to the one of the highest score.

    Of equal scores the larger one comes first, then the higher and the further left. One of
    which nothing is left is left out.
    """
    return DivideStream().add(candidates, None)


class DivideStream:
    """Divides nuclei that come a few at a time, from the top of the slide to its bottom.

    All that it gives, one after the other, is what `divide` returns for all at once.
    """

    def __init__(self) -> None:
        self._near: Candidates | None = None
        self._given = np.zeros(0, np.bool_)

    def add(self, nuclei: Candidates, horizon: int | None) -> Candidates:
        """Take more nuclei, and return those that nothing to come can cover, in their order.

        Parameters
        ----------
        nuclei
            The next, after stitching.
        horizon
            y in model pixels above which no nucleus to come reaches; None when none comes.
        """
        given = np.concatenate([self._given, np.zeros(len(nuclei), np.bool_)])
        near = nuclei if self._near is None else Candidates.concatenate([self._near, nuclei])
        horizon = np.iinfo(np.int32).max if horizon is None else horizon
        # In their order: a nucleus is not given before one that came before it.
        waits = np.logical_or.accumulate(~given & (near.bbox[:, 3] > horizon))
        result = _divided(near, np.flatnonzero(~given & ~waits))
        given |= ~waits
        top = near.bbox[~given, 1].min(initial=horizon)
        keep = np.flatnonzero(~given | (near.bbox[:, 3] > top))
        self._near, self._given = near.take(keep), given[keep]
        return result


def _divided(near: Candidates, wanted: NDArray[np.int64]) -> Candidates:
    """Return the nuclei `wanted` less what surer ones cover, if anything is left of them."""
    count = len(near)
    better = np.lexsort((near.bbox[:, 0], near.bbox[:, 1], -near.area, -near.score))
    rank = np.empty(count, np.int32)
    rank[better] = np.arange(count, dtype=np.int32)
    pairs = find_rivals(
        near.coords,
        near.offsets,
        near.bbox,
        near.area,
        rank,
        owned=np.ones(count, np.bool_),
        cut=np.zeros(count, np.bool_),
        score=np.zeros(count, np.float32),
        share=_ANY_SHARE,
    ).astype(np.int64)
    pairs = pairs[np.isin(pairs[:, 0], wanted)]
    pairs = pairs[np.argsort(pairs[:, 0], kind="stable")]
    if not len(pairs):
        return near.take(wanted)
    loser, first, shares = np.unique(pairs[:, 0], return_index=True, return_counts=True)
    # Each loser is drawn, then its winners are taken away.
    rings = np.insert(pairs[:, 1], first, loser)
    ends = np.concatenate([[0], np.cumsum(shares + 1)])
    takes = np.ones(len(rings), np.bool_)
    takes[ends[:-1]] = False
    coords, offsets, area, centroid, bbox = redraw_rings(
        near.coords, near.offsets, rings, takes, ends
    )
    redrawn = replace(
        near.take(loser), coords=coords, offsets=offsets, area=area, centroid=centroid, bbox=bbox
    )
    others = np.setdiff1d(wanted, loser)
    both = Candidates.concatenate([near.take(others), redrawn])
    order = np.argsort(np.concatenate([others, loser]))
    return both.take(order[both.area[order] > 0])
