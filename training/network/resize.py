"""Enlarging pictures before the backbone."""

from fractions import Fraction

import torch
from torch import Tensor
from torch.nn import functional

LARGEST_STRIDE = 32
"""Of the backbone: sides of what it is given are multiples of this."""


def tile_multiple(scale: float) -> int:
    """Return what a tile's side is a multiple of, so that it is whole cells once enlarged."""
    return LARGEST_STRIDE * Fraction(scale).denominator


def enlarge(x: Tensor, scale: float) -> Tensor:
    """Enlarge pictures, bilinearly.

    Parameters
    ----------
    x
        float (B, C, H, W), whole numbers 0 to 255.
    scale
        1 changes nothing, 2 is :func:`double`.

    Returns
    -------
    Tensor
        float (B, C, scale H, scale W).
    """
    if scale == 1:
        return x
    if scale == 2:
        return double(x)
    # By the factor, not the size: it is the same for every tile, so the graph stays dynamic.
    return functional.interpolate(x, scale_factor=scale, mode="bilinear")


def double(x: Tensor) -> Tensor:
    """Double the size, bilinearly, with the rounding that published weights were trained on.

    OpenCV enlarges uint8 pictures by a row pass without loss and a column pass in which
    each of the two addends is cut to a whole quarter grey level before the sum is rounded.
    About one value in ten is a grey level away from the exactly rounded one.

    Parameters
    ----------
    x
        float (B, C, H, W), whole numbers 0 to 255.

    Returns
    -------
    Tensor
        float (B, C, 2 H, 2 W), whole numbers 0 to 255.
    """
    height, width = x.shape[-2:]
    wide = functional.interpolate(x, size=(height, 2 * width), mode="bilinear")
    near = (3 * wide).floor()
    far = wide.floor()
    above = torch.cat([far[:, :, :1], far[:, :, :-1]], dim=2)
    below = torch.cat([far[:, :, 1:], far[:, :, -1:]], dim=2)
    rows = torch.stack([near + above, near + below], dim=3)
    return ((rows + 2) / 4).floor().flatten(2, 3)
