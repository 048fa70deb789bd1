"""Where the tissue is, so that empty glass costs nothing.

Glass is bright, neutral and *flat*; tissue is denser than the glass or has texture. Texture is
what tells pale stroma from glass: at a few um/px the brightest stroma varies ten times as much
as glass does. Missing tissue is worse than looking at glass, so a picture that shows no glass is
all tissue.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from nuhtc.runtime.slides.slide import Slide
from nuhtc.runtime.tiles.grid import Grid

MASK_MPP: Final = 4.0
"""um/px of the thumbnail the mask is made of: a nucleus is two pixels wide."""

MAX_SIDE: Final = 3072
"""Longer side in pixels of that thumbnail at most, whatever the slide's size."""

DENSITY: Final = 0.06
"""Decadic optical density against the glass from which on anything is tissue. Glass varies by
about 0.03 across a scan, stitching gaps included; connective tissue begins at about 0.05."""

TEXTURE: Final = 2.0
"""Standard deviation in grey levels of 3 x 3 pixels from which on anything is tissue. Glass has
about 0.5, the palest stroma 3."""

BLACK: Final = 25
"""Grey level below which a pixel is a black frame or a scanner's gap, not tissue."""

GLASS_LEVEL: Final = 180
GLASS_TINT: Final = 16
GLASS_SHARE: Final = 0.003
"""Glass is flat, brighter than the level in every channel and less tinted than the difference
between its channels; a smaller share of such pixels is chance, and the picture has no glass."""

SMOOTH_UM: Final = 6.0
"""Standard deviation of the smoothing of the density, so that it is the tissue's and not that of
single fibres."""

SPECK_UM2: Final = 300.0
"""Smaller islands are dust."""

HOLE_UM2: Final = 4000.0
"""Smaller holes are part of the tissue: lumina, tears, fat cells."""

DILATE_UM: Final = 16.0
"""Tiles this close to tissue are processed too: about two nuclei."""


@dataclass(frozen=True)
class Tissue:
    """Which part of a slide is tissue."""

    mask: NDArray[np.bool_]
    """bool (height, width), over the whole slide"""
    width_um: float
    """the slide's, in microns"""
    height_um: float
    """the slide's, in microns"""

    @property
    def area_mm2(self) -> float:
        """Give the area of the tissue in square millimetres."""
        return float(self.mask.mean()) * self.width_um * self.height_um / 1e6

    def tiles(self, grid: Grid, model_mpp: float) -> NDArray[np.int64]:
        """Return the numbers of the tiles that touch tissue or its close surroundings, ascending.

        Parameters
        ----------
        grid
            The tiles.
        model_mpp
            um/px of the grid's pixels.
        """
        height, width = self.mask.shape
        um_x, um_y = self.width_um / width, self.height_um / height
        reach = (max(1, math.ceil(DILATE_UM / um_y)), max(1, math.ceil(DILATE_UM / um_x)))
        near = ndimage.maximum_filter(self.mask, (2 * reach[0] + 1, 2 * reach[1] + 1))
        # Summed over everything above and to the left, four look-ups count any rectangle.
        total = np.zeros((height + 1, width + 1), np.int64)
        total[1:, 1:] = near.cumsum(0, dtype=np.int64).cumsum(1)
        top, bottom = _cells(grid.rows, grid, model_mpp / um_y, height)
        left, right = _cells(grid.cols, grid, model_mpp / um_x, width)
        count = (
            total[np.ix_(bottom, right)]
            - total[np.ix_(top, right)]
            - total[np.ix_(bottom, left)]
            + total[np.ix_(top, left)]
        )
        return np.flatnonzero(count > 0).astype(np.int64)


def find_tissue(slide: Slide) -> Tissue:
    """Find the tissue of a slide on a thumbnail of about `MASK_MPP` um/px.

    Raises
    ------
    SlideReadError
        Nothing of the slide can be read.
    """
    longer = max(slide.width, slide.height)
    side = min(longer, MAX_SIDE, max(1, round(longer * slide.mpp / MASK_MPP)))
    small = slide.thumbnail(side)
    mpp = longer * slide.mpp / max(small.shape[:2])
    return Tissue(tissue_mask(small, mpp), slide.width * slide.mpp, slide.height * slide.mpp)


def tissue_mask(thumbnail: NDArray[np.uint8], mpp: float = MASK_MPP) -> NDArray[np.bool_]:
    """Tell tissue from glass on a picture of a whole slide.

    Parameters
    ----------
    thumbnail
        RGB (height, width, 3).
    mpp
        The thumbnail's um/px.

    Returns
    -------
    NDArray[np.bool_]
        (height, width), true on tissue. All true where there is no glass, all false where there
        is nothing else.
    """
    texture = _texture(thumbnail)
    glass = _glass(thumbnail, texture)
    mask = thumbnail.max(axis=2) >= BLACK
    if glass is not None:
        density = ndimage.gaussian_filter(_density(thumbnail, glass), SMOOTH_UM / mpp)
        # A step between two flat areas, such as the rim of what was scanned, is two pixels wide;
        # a fibre seen through three pixels' windows is three.
        textured = ndimage.binary_opening(texture > TEXTURE, np.ones((3, 3)))
        mask &= (density > DENSITY) | textured
    mask = _without_small(mask, SPECK_UM2 / mpp**2)
    return ~_without_small(~mask, HOLE_UM2 / mpp**2)


def _texture(thumbnail: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the standard deviation of each 3 x 3 neighbourhood, in the channel that stain dims."""
    grey = thumbnail.min(axis=2).astype(np.float32)
    mean = ndimage.uniform_filter(grey, 3)
    square = ndimage.uniform_filter(grey * grey, 3)
    return np.asarray(np.sqrt(np.maximum(square - mean * mean, 0)), np.float32)


def _glass(
    thumbnail: NDArray[np.uint8], texture: NDArray[np.float32]
) -> NDArray[np.float32] | None:
    """Return the usual colour of glass (3,), or None where the picture shows none."""
    low, high = thumbnail.min(axis=2), thumbnail.max(axis=2)
    glass = (low >= GLASS_LEVEL) & (high - low <= GLASS_TINT) & (texture <= TEXTURE)
    if glass.mean() < GLASS_SHARE:
        return None
    return np.asarray(np.median(thumbnail[glass], axis=0), np.float32)


def _density(thumbnail: NDArray[np.uint8], glass: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the decadic optical density against the glass in the densest channel."""
    grey = np.arange(256, dtype=np.float32).clip(1)
    curves = [np.log10(np.maximum(level / grey, 1), dtype=np.float32) for level in glass]
    channels = [curve[thumbnail[..., index]] for index, curve in enumerate(curves)]
    return np.asarray(np.maximum.reduce(channels), np.float32)


def _without_small(mask: NDArray[np.bool_], pixels: float) -> NDArray[np.bool_]:
    """Clear the mask's components of fewer than `pixels` pixels (4-connected)."""
    labels, count = ndimage.label(mask)
    if count == 0:
        return mask
    keep = np.bincount(labels.ravel(), minlength=count + 1) >= pixels
    keep[0] = False
    return np.asarray(keep[labels], dtype=np.bool_)


def _cells(
    count: int, grid: Grid, cells_per_px: float, limit: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the half-open range of mask cells below each tile of a row or column."""
    start = np.arange(count) * grid.stride
    first = np.floor(start * cells_per_px)
    last = np.ceil((start + grid.tile) * cells_per_px)
    return (
        np.clip(first, 0, limit - 1).astype(np.int64),
        np.clip(last, 1, limit).astype(np.int64),
    )
