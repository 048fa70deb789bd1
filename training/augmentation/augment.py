"""Augmentation: one random tile from an annotated picture.

Everything is drawn from a ``numpy`` generator that the caller seeds with the tile's
number, so that a tile does not depend on which process made it or on what came before.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch.nn import functional

from nuhtc.training.data.images import AnnotatedImage

RGB_FROM_HED = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]], np.float32)
"""Optical density of haematoxylin, eosin and DAB (Ruifrok and Johnston 2001)."""

HED_FROM_RGB = np.linalg.inv(RGB_FROM_HED).astype(np.float32)


@dataclass(frozen=True)
class AugmentSettings:
    """How far a tile may differ from the picture it is cut from."""

    scale: tuple[float, float] = (0.8, 1.25)
    """Range of enlargement."""
    rotation: float = 0.5
    """Probability of a rotation by any angle; otherwise quarter turns and mirroring only."""
    shear: float = 0.1
    stain: float = 0.7
    """Probability of a change of stain strength, one factor for each stain."""
    stain_sigma: float = 0.15
    colour: float = 0.7
    """Probability of a change of brightness, contrast and saturation."""
    blur: float = 0.2
    noise: float = 0.15


def draw_tile(
    image: AnnotatedImage,
    size: int,
    rng: np.random.Generator,
    settings: AugmentSettings,
    *,
    mpp: float,
    centre: tuple[float, float] | None = None,
) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """Cut one augmented tile.

    Parameters
    ----------
    image
        The picture; at least ``size`` pixels on each side, or the rest is mirrored.
    size
        Side of the tile in pixels.
    rng
        Source of all randomness.
    settings
        Probabilities and ranges.
    mpp
        um per pixel of the tile.
    centre
        x, y of a point of the picture, in its pixels, that the tile shows. (A turned tile
        may miss it in the picture's corners.)

    Returns
    -------
    rgb
        uint8 (size, size, 3).
    instances
        int32 (size, size), numbers as in the picture, 0 where the tile leaves it.
    """
    rgb, instances = _cut(image, size, rng, settings, mpp, centre)
    return _recolour(rgb, rng, settings), instances


def _cut(
    image: AnnotatedImage,
    size: int,
    rng: np.random.Generator,
    settings: AugmentSettings,
    mpp: float,
    shown: tuple[float, float] | None,
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Sample the tile through one affine map: bilinear for the picture, nearest for labels."""
    height, width = image.instances.shape
    zoom = float(np.exp(rng.uniform(*np.log(settings.scale)))) * (image.mpp / mpp)
    if rng.random() < settings.rotation:
        angle = rng.uniform(0, 2 * np.pi)
        shear = rng.uniform(-settings.shear, settings.shear)
    else:
        angle = rng.integers(4) * (np.pi / 2)
        shear = 0.0
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    mirror = np.diag([rng.choice([-1.0, 1.0]), 1.0])
    matrix = turn @ np.array([[1.0, shear], [0.0, 1.0]]) @ mirror / zoom
    reach = np.abs(matrix).sum(axis=1) * size / 2
    low = np.minimum(reach, np.array([width, height]) / 2)
    high = np.array([width, height]) - low
    centre = rng.uniform(low, high)
    if shown is not None:
        # The point lands within the middle of the tile, wherever the picture's border allows.
        away = matrix @ (rng.uniform(-0.4, 0.4, 2) * size)
        centre = np.clip(np.asarray(shown) - away, low, high)
    x0, y0 = (max(0, int(c - r) - 2) for c, r in zip(centre, reach, strict=True))
    x1, y1 = (int(c + r) + 3 for c, r in zip(centre, reach, strict=True))
    window = image.rgb[y0:y1, x0:x1]
    labels = image.instances[y0:y1, x0:x1]

    offset = (np.arange(size) + 0.5) - size / 2
    u, v = np.meshgrid(offset, offset)
    x = matrix[0, 0] * u + matrix[0, 1] * v + centre[0] - x0
    y = matrix[1, 0] * u + matrix[1, 1] * v + centre[1] - y0
    tall, wide = labels.shape
    grid = np.stack([x * (2 / wide) - 1, y * (2 / tall) - 1], axis=-1).astype(np.float32)
    picture = torch.from_numpy(window.astype(np.float32)).permute(2, 0, 1)[None]
    sampled = functional.grid_sample(
        picture, torch.from_numpy(grid)[None], padding_mode="reflection", align_corners=False
    )
    column = np.floor(x).astype(np.int64)
    row = np.floor(y).astype(np.int64)
    inside = (column >= 0) & (column < wide) & (row >= 0) & (row < tall)
    instances = np.where(inside, labels[row.clip(0, tall - 1), column.clip(0, wide - 1)], 0).astype(
        np.int32
    )
    return sampled[0].permute(1, 2, 0).numpy(), instances


def _recolour(
    rgb: NDArray[np.float32], rng: np.random.Generator, settings: AugmentSettings
) -> NDArray[np.uint8]:
    """Change stain, light and sharpness."""
    if rng.random() < settings.stain:
        density = -np.log((rgb + 1) / 256)
        stains = density @ HED_FROM_RGB
        factor = 1 + rng.normal(0, settings.stain_sigma, 3).clip(-0.5, 0.5)
        shift = rng.normal(0, 0.02, 3)
        stains = stains * factor.astype(np.float32) + shift.astype(np.float32)
        rgb = np.exp(-(stains @ RGB_FROM_HED)) * 256 - 1
    if rng.random() < settings.colour:
        rgb = (rgb - 128) * rng.uniform(0.8, 1.25) + 128 + rng.uniform(-20, 20)
        grey = rgb.mean(axis=2, keepdims=True)
        rgb = grey + (rgb - grey) * rng.uniform(0.7, 1.3)
    if rng.random() < settings.blur:
        sigma = rng.uniform(0.3, 1.2)
        rgb = ndimage.gaussian_filter(rgb, (sigma, sigma, 0))
    if rng.random() < settings.noise:
        rgb = (rgb + rng.normal(0, rng.uniform(2, 8), rgb.shape)).astype(np.float32)
    return np.asarray(rgb, np.float32).round().clip(0, 255).astype(np.uint8)
