"""What a run is told, resolved, and what it takes where it is told nothing."""

from dataclasses import dataclass
from typing import Final

from nuhtc.runtime.bundle.card import Card
from nuhtc.runtime.ground.errors import UsageError

OVERLAP_PX: Final = 64
"""Model pixels that neighbouring tiles share: wider than any nucleus at 0.25 um/px."""

MIN_AREA_UM2: Final = 2.0
"""Least area of a nucleus that is shown; what is smaller is debris."""

MOST_TILE_PX: Final = 8192

OVERLAPS: Final = ("keep", "divide")
"""What becomes of pixels that two outlines share; the first is the default."""


@dataclass(frozen=True)
class RunSettings:
    """What changes the nuclei that a run finds, or how it goes about it.

    What is shown of them is a `nuhtc.runtime.nuclei.view.View`.
    """

    tile_px: int
    """side of a tile, in model pixels"""
    overlap_px: int = OVERLAP_PX
    """shared by neighbouring tiles, in model pixels"""
    min_score: float = 0.0
    """nuclei of a lower score are not kept"""
    batch: int = 1
    """tiles given to the network at a time"""
    threads: int = 1
    """CPU threads, of the engine and for reading"""
    flips: int = 1
    """how many mirror images of a tile the engine looks at, the tile itself included"""

    @classmethod
    def for_card(
        cls,
        card: Card,
        *,
        tile: int | None = None,
        overlap: int | None = None,
        min_score: float | None = None,
        batch: int = 1,
        threads: int = 1,
        flips: int = 1,
    ) -> "RunSettings":
        """Return settings for a model: what is given, else what its card says.

        Parameters
        ----------
        card
            The model's.
        tile, overlap
            In model pixels; None takes the card's tile, and `OVERLAP_PX` or half the tile.
        min_score
            0 to 1; None takes the card's.
        batch, threads, flips
            As in `RunSettings`.

        Raises
        ------
        UsageError
            When the tiles do not fit the model.
        """
        side = card.tile if tile is None else tile
        if side % card.multiple:
            raise UsageError(
                f"--tile {side}: this model needs a multiple of {card.multiple}, such as "
                f"{card.tile}"
            )
        shared = min(OVERLAP_PX, side // 2) if overlap is None else overlap
        if shared > side // 2:
            raise UsageError(f"--overlap {shared}: at most half the tile, {side // 2}")
        return cls(
            tile_px=side,
            overlap_px=shared,
            min_score=card.detection.score if min_score is None else min_score,
            batch=batch,
            threads=threads,
            flips=flips,
        )
