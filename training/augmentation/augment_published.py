"""Augmentation as published: light, mirroring, a corruption, a small movement.

The recipe of Li et al. 2025, made for pictures of 256 x 256 pixels that are tiles already. Like
:mod:`nuhtc.training.augmentation.augment`, everything is drawn from the caller's generator.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nuhtc.training.augmentation.corrupt import corrupt, hsv_value, scale_saturation, to_bytes
from nuhtc.training.data.images import AnnotatedImage

FILL = 125
"""Grey of what lies outside the picture."""

Tile = tuple[NDArray[np.uint8], NDArray[np.int32]]


@dataclass(frozen=True)
class PublishedAugment:
    """How far a tile may differ from the picture; the defaults are the published ones."""

    photometric: float = 0.5
    """Probability of each change of light."""
    brightness: float = 32.0
    """Bound on what is added, of 255."""
    contrast: tuple[float, float] = (0.5, 1.5)
    """Range of the factor, as for saturation."""
    saturation: tuple[float, float] = (0.5, 1.5)
    hue: float = 9.0
    """Bound on the turn of the hue, in degrees."""
    bleached: float = 0.25
    """Share of values that may become full white; a picture made lighter than that is darkened
    as a whole. The published network was shown values above 255, which bytes cannot hold; cut
    off alone, as with 1.0, they would leave some tiles of light pictures nearly blank."""
    swap_channels: float = 0.5
    """Probability of red, green and blue in random order."""
    flip: float = 0.5
    """Probability of mirroring: left-right, up-down or both."""
    corrupt: float = 0.5
    """Probability of a corruption; see :mod:`nuhtc.training.augmentation.corrupt`."""
    corrupt_scale: int = 2
    """Corruptions count their pixels in the picture enlarged so many times."""
    translate: float = 0.1
    """Bound on a translation, as a share of the side."""
    rotate: float = 10.0
    """Bound on a rotation, in degrees."""
    shear: float = 10.0
    """Bound on a shear along each axis, in degrees."""


def draw_published_tile(
    image: AnnotatedImage,
    size: int,
    rng: np.random.Generator,
    settings: PublishedAugment,
    mpp: float,
    centre: tuple[float, float] | None = None,
) -> Tile:
    """Cut one augmented tile.

    Parameters
    ----------
    image
        The picture. A random window is cut from a larger one; a smaller one lies somewhere in
        the tile, with grey and no nuclei around it.
    size
        Side of the tile in pixels.
    rng
        Source of all randomness.
    settings
        Probabilities and ranges.
    mpp
        um per pixel of the tile; a picture of another resolution is resampled.
    centre
        A point (x, y) of the picture, in its pixels, that the window must hold. (The movement
        afterwards may still push it out.)

    Returns
    -------
    rgb
        uint8 (size, size, 3).
    instances
        int32 (size, size), numbers as in the picture, 0 outside it.
    """
    rgb, instances = _window(image, size, rng, image.mpp / mpp, centre)
    rgb = _change_light(rgb, rng, settings)
    if rng.random() < settings.flip:
        axes = ((1,), (0,), (0, 1))[int(rng.integers(3))]
        rgb, instances = np.flip(rgb, axes), np.flip(instances, axes)
    if rng.random() < settings.corrupt:
        rgb = corrupt(rgb, rng, settings.corrupt_scale)
    return _move(rgb, instances, _movement(size, rng, settings))


def _window(
    image: AnnotatedImage,
    size: int,
    rng: np.random.Generator,
    scale: float,
    centre: tuple[float, float] | None,
) -> Tile:
    """Cut a square that gives ``size`` pixels when it is enlarged by ``scale``."""
    height, width = image.instances.shape
    reach = size / scale
    x, y = (
        _start(side, reach, point, rng)
        for side, point in zip((width, height), centre or (None, None), strict=True)
    )
    count = int(np.ceil(reach))
    rgb = np.full((count, count, 3), FILL, np.uint8)
    instances = np.zeros((count, count), np.int32)
    rows = slice(max(y, 0), max(min(y + count, height), 0))
    columns = slice(max(x, 0), max(min(x + count, width), 0))
    inside = (
        slice(rows.start - y, rows.stop - y),
        slice(columns.start - x, columns.stop - x),
    )
    rgb[inside] = image.rgb[rows, columns]
    instances[inside] = image.instances[rows, columns]
    if scale == 1:
        return rgb, instances
    resized = Image.fromarray(rgb).resize(
        (size, size), Image.Resampling.BILINEAR, box=(0, 0, reach, reach)
    )
    nearest = ((np.arange(size) + 0.5) / scale).astype(np.int64).clip(max=count - 1)
    return np.asarray(resized), instances[np.ix_(nearest, nearest)]


def _start(side: int, reach: float, point: float | None, rng: np.random.Generator) -> int:
    """Return where a window of a length starts along a side, so that it holds the point."""
    low, high = sorted((0.0, side - reach))
    if point is not None:
        low, high = max(low, point - reach), min(high, point)
    return int(rng.integers(int(np.ceil(low)), int(np.floor(high)) + 1))


def _change_light(
    rgb: NDArray[np.uint8], rng: np.random.Generator, settings: PublishedAugment
) -> NDArray[np.uint8]:
    """Change brightness, contrast, saturation, hue and the order of the channels."""
    changed = rgb.astype(np.float32)
    if rng.random() < settings.photometric:
        changed += np.float32(rng.uniform(-settings.brightness, settings.brightness))
    if rng.random() < settings.photometric:
        # As published this comes before or after the colours; a factor gives the same in both.
        changed *= np.float32(rng.uniform(*settings.contrast))
    if rng.random() < settings.photometric:
        changed = scale_saturation(changed, rng.uniform(*settings.saturation))
    if rng.random() < settings.photometric:
        changed = turn_hue(changed, rng.uniform(-settings.hue, settings.hue))
    # A few thousand values show the light of all.
    lightest = float(np.quantile(changed[::4, ::4], 1 - settings.bleached))
    if lightest > 255:
        changed *= np.float32(255 / lightest)
    if rng.random() < settings.swap_channels:
        changed = changed[..., rng.permutation(3)]
    return to_bytes(changed)


def turn_hue(picture: NDArray[np.float32], degrees: float) -> NDArray[np.float32]:
    """Add to HSV's hue; saturation and value stay.

    Parameters
    ----------
    picture
        RGB (H, W, 3), of any range.
    degrees
        The turn; a whole one is 360.
    """
    red, green, blue = np.moveaxis(picture, -1, 0)
    value = hsv_value(picture)[..., 0]
    chroma = value + hsv_value(-picture)[..., 0]
    step = 1 / np.where(chroma > 0, chroma, 1)
    hue = np.where(
        value == red,
        (green - blue) * step,
        np.where(value == green, (blue - red) * step + 2, (red - green) * step + 4),
    )
    hue += np.float32(degrees / 60)
    # Each channel is at the value for two sixths of the circle, falls and rises in one sixth
    # each, and is at its lowest for two; the three are thirds of the circle apart.
    result = np.empty_like(picture)
    for channel, shift in enumerate((5, 3, 1)):
        place = (hue + shift) % 6
        result[..., channel] = value - chroma * np.minimum(place, 4 - place).clip(0, 1)
    return result


def _movement(
    size: int, rng: np.random.Generator, settings: PublishedAugment
) -> NDArray[np.float64]:
    """Draw the affine map (3, 3) from places in the picture to places in the tile."""
    kind = int(rng.integers(5))
    moved = np.eye(3)
    if kind < 3:
        # Whole pixels, so that nothing is blurred.
        x, y = np.rint(rng.uniform(-settings.translate, settings.translate, 2) * size)
        moved[:2, 2] = (x if kind != 1 else 0, y if kind != 0 else 0)
        return moved
    if kind == 3:
        angle = np.deg2rad(rng.uniform(-settings.rotate, settings.rotate))
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        moved[:2, :2] = turn
        moved[:2, 2] = size / 2 - turn @ (size / 2, size / 2)
        return moved
    along_x, along_y = np.tan(np.deg2rad(rng.uniform(-settings.shear, settings.shear, 2)))
    # About the picture's corner, as published.
    moved[:2, :2] = np.array([[1, 0], [along_y, 1]]) @ np.array([[1, along_x], [0, 1]])
    return moved


def _move(
    rgb: NDArray[np.uint8], instances: NDArray[np.int32], movement: NDArray[np.float64]
) -> Tile:
    """Move picture (bilinear) and numbers (nearest) alike; what comes into view is empty."""
    # Pillow asks where each pixel of the tile comes from.
    inverse = np.linalg.inv(movement)
    height, width = instances.shape

    def moved(
        array: NDArray[np.uint8] | NDArray[np.int32], resample: Image.Resampling, border: int
    ) -> NDArray[np.generic]:
        shifted = inverse[:2].copy()
        shifted[:, 2] += border
        return np.array(
            Image.fromarray(np.ascontiguousarray(array)).transform(
                (width, height), Image.Transform.AFFINE, tuple(shifted.ravel().tolist()), resample
            )
        )

    # Pillow rounds places differently for the two, so that at the very edge one may fall inside
    # and the other not: the numbers alone decide, and the colours reach a pixel further.
    numbers = moved(instances + 1, Image.Resampling.NEAREST, 0)
    wider = np.pad(rgb, ((1, 1), (1, 1), (0, 0)), mode="edge")
    colours = moved(wider, Image.Resampling.BILINEAR, 1)
    colours[numbers == 0] = FILL
    return colours.astype(np.uint8), np.maximum(numbers.astype(np.int32) - 1, 0)
