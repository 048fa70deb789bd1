"""Corruptions: what scanners, cameras and compression do to a picture, at the lowest severity.

The corruptions of ImageNet-C (Hendrycks and Dietterich 2019) with the parameters of severity 1.
Left out are snow, frost, fog and spatter, glass and zoom blur, which no slide shows, and the
elastic deformation, which would move nuclei away from their outlines.
"""

import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

Picture = NDArray[np.float32]
"""(H, W, 3) RGB, 0 to 255."""


def corrupt(rgb: NDArray[np.uint8], rng: np.random.Generator, scale: int = 1) -> NDArray[np.uint8]:
    """Corrupt a picture in one of the ways of ``CORRUPTIONS``, all equally likely.

    Parameters
    ----------
    rgb
        uint8 (H, W, 3).
    rng
        Source of all randomness.
    scale
        The picture is enlarged so many times by repeating its pixels, corrupted, and reduced
        by averaging, which alone would change nothing. So the parameters, which count pixels,
        mean those of a network that sees the picture enlarged.

    Returns
    -------
    NDArray
        uint8 (H, W, 3); nothing has moved.
    """
    change = CORRUPTIONS[int(rng.integers(len(CORRUPTIONS)))]
    large = rgb.repeat(scale, axis=0).repeat(scale, axis=1) if scale > 1 else rgb
    changed = to_bytes(change(large.astype(np.float32), rng))
    return np.asarray(Image.fromarray(changed).reduce(scale)) if scale > 1 else changed


def to_bytes(picture: Picture) -> NDArray[np.uint8]:
    """Round and cut off at 0 and 255."""
    return np.rint(picture).clip(0, 255).astype(np.uint8)


def gaussian_noise(picture: Picture, rng: np.random.Generator) -> Picture:
    """Add noise of the same strength everywhere, as of a camera's electronics."""
    return picture + (0.08 * 255) * rng.standard_normal(picture.shape, np.float32)


def shot_noise(picture: Picture, rng: np.random.Generator) -> Picture:
    """Add the noise of counted photons: white is 60 of them."""
    return (rng.poisson(picture * (60 / 255)) * (255 / 60)).astype(np.float32)


def impulse_noise(picture: Picture, rng: np.random.Generator) -> Picture:
    """Add salt and pepper: three values in a hundred become 0 or 255."""
    draw = rng.random(picture.shape, np.float32)
    return np.where(draw < 0.015, np.float32(0), np.where(draw < 0.03, np.float32(255), picture))


def speckle_noise(picture: Picture, rng: np.random.Generator) -> Picture:
    """Add noise in proportion to the light."""
    return picture + 0.15 * picture * rng.standard_normal(picture.shape, np.float32)


def gaussian_blur(picture: Picture, rng: np.random.Generator) -> Picture:
    """Blur with a standard deviation of one pixel."""
    return np.asarray(ndimage.gaussian_filter(picture, (1, 1, 0), mode="nearest"), np.float32)


def defocus_blur(picture: Picture, rng: np.random.Generator) -> Picture:
    """Blur by a disc of radius 3, as of a lens out of focus."""
    y, x = np.mgrid[-3:4, -3:4]
    disc = [(int(a), int(b)) for a, b in zip(x.flat, y.flat, strict=True) if a * a + b * b <= 9]
    return _spread(picture, disc, np.ones(len(disc)))


def motion_blur(picture: Picture, rng: np.random.Generator) -> Picture:
    """Blur along a line within 45 degrees of the rows, as of a moving stage.

    The light falls off along the line as one half of a Gaussian (radius 10, sigma 3). Its
    centre of mass stays where it was, so that nuclei stay under their outlines.
    """
    angle = np.deg2rad(rng.uniform(-45, 45))
    along = np.arange(21)
    weights = np.exp(-(along**2) / (2 * 3.0**2))
    centred = along - (along * weights).sum() / weights.sum()
    steps = np.rint(np.outer(centred, (np.cos(angle), np.sin(angle)))).astype(int)
    bright = weights > 1e-3
    return _spread(picture, [(int(x), int(y)) for x, y in steps[bright]], weights[bright])


def pixelate(picture: Picture, rng: np.random.Generator) -> Picture:
    """Take fewer pixels: six for every ten."""
    height, width = picture.shape[:2]
    small = (max(1, int(width * 0.6)), max(1, int(height * 0.6)))
    reduced = Image.fromarray(to_bytes(picture)).resize(small, Image.Resampling.BOX)
    return np.asarray(reduced.resize((width, height), Image.Resampling.BOX), np.float32)


def jpeg_compression(picture: Picture, rng: np.random.Generator) -> Picture:
    """Compress as JPEG of quality 25."""
    file = io.BytesIO()
    Image.fromarray(to_bytes(picture)).save(file, "JPEG", quality=25)
    with Image.open(file) as read:
        return np.asarray(read.convert("RGB"), np.float32)


def brightness(picture: Picture, rng: np.random.Generator) -> Picture:
    """Add light: the value of HSV rises by a tenth of white; hue and saturation stay."""
    value = hsv_value(picture)
    raised = np.minimum(value + np.float32(25.5), np.float32(255))
    factor = raised / np.where(value > 0, value, np.float32(1))
    # Black has neither hue nor saturation: it becomes grey.
    return np.asarray(np.where(value > 0, picture * factor, raised), np.float32)


def contrast(picture: Picture, rng: np.random.Generator) -> Picture:
    """Reduce the contrast: each channel comes closer to its mean."""
    mean = picture.mean(axis=(0, 1))
    return np.asarray((picture - mean) * np.float32(0.4) + mean, np.float32)


def saturate(picture: Picture, rng: np.random.Generator) -> Picture:
    """Reduce the colour: three tenths of the saturation of HSV; hue and value stay."""
    return scale_saturation(picture, 0.3)


def scale_saturation(picture: Picture, factor: float) -> Picture:
    """Multiply HSV's saturation.

    With hue and value fixed, each channel's distance below the value is in proportion to the
    saturation, so no change of colour space is needed.
    """
    value = hsv_value(picture)
    return value - (value - picture) * np.float32(factor)


def hsv_value(picture: Picture) -> Picture:
    """Return HSV's value (H, W, 1): the brightest channel."""
    # Three times as fast as max(axis=2), which takes every pixel by itself.
    return np.maximum(np.maximum(picture[..., :1], picture[..., 1:2]), picture[..., 2:])


def _spread(
    picture: Picture, steps: Sequence[tuple[int, int]], weights: NDArray[np.float64]
) -> Picture:
    """Return the weighted mean of the picture moved by each (x, y); edges are repeated outside."""
    height, width = picture.shape[:2]
    margin = max(max(abs(x), abs(y)) for x, y in steps)
    wide = np.pad(picture, ((margin, margin), (margin, margin), (0, 0)), mode="edge")
    total = np.zeros_like(picture)
    for (x, y), weight in zip(steps, weights / weights.sum(), strict=True):
        top, left = margin - y, margin - x
        total += wide[top : top + height, left : left + width] * np.float32(weight)
    return total


CORRUPTIONS = (
    gaussian_noise,
    shot_noise,
    impulse_noise,
    speckle_noise,
    gaussian_blur,
    defocus_blur,
    motion_blur,
    pixelate,
    jpeg_compression,
    brightness,
    contrast,
    saturate,
)
"""Each takes a picture and a generator, and returns the picture changed, not yet cut off."""
