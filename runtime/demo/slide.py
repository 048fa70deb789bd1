"""A small slide made by code, for trying the program without any data.

It imitates a haematoxylin and eosin stained section of colon closely enough that a network
trained on real ones finds its nuclei. The same seed gives the same slide, and the true outline
of every nucleus is known.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from nuhtc.runtime.demo.draw_nuclei import draw_nuclei, place_nuclei
from nuhtc.runtime.demo.draw_tissue import draw_tissue, to_rgb
from nuhtc.runtime.demo.pyramid import write_pyramid

DEMO_WIDTH: Final = 3072
DEMO_HEIGHT: Final = 2048
DEMO_MPP: Final = 0.25
DEMO_SEED: Final = 20

FOCUS: Final = 0.75
"""Standard deviation in pixels of the objective's blur."""

KINDS: Final = ("epithelial", "inflammatory", "spindle")
"""The looks of the nuclei, in the order of `DemoPicture.kinds`."""


@dataclass(frozen=True)
class DemoPicture:
    """A made picture and the truth about it."""

    rgb: NDArray[np.uint8]
    """uint8 (height, width, 3)"""
    labels: NDArray[np.int32]
    """int32 (height, width): 0, or the number of the nucleus from 1"""
    kinds: NDArray[np.uint8]
    """uint8 (number of nuclei,): index into `KINDS` of nucleus 1, 2, ..."""


def demo_picture(
    seed: int = DEMO_SEED, width: int = DEMO_WIDTH, height: int = DEMO_HEIGHT
) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """Make a picture and its label map; see `DemoPicture` and `draw_demo`."""
    demo = draw_demo(seed, width, height)
    return demo.rgb, demo.labels


def draw_demo(
    seed: int = DEMO_SEED, width: int = DEMO_WIDTH, height: int = DEMO_HEIGHT
) -> DemoPicture:
    """Make a picture of a stained section at 0.25 um/px, with its nuclei's true outlines.

    Parameters
    ----------
    seed
        The same seed and size give the same picture.
    width, height
        The picture's size in pixels, at least 128.
    """
    if width < 128 or height < 128:
        raise ValueError(f"a demo picture has at least 128 x 128 pixels, not {width} x {height}")
    rng = np.random.default_rng(seed)
    canvas, glands = draw_tissue(rng, width, height)
    labels, kinds = draw_nuclei(rng, canvas, place_nuclei(rng, canvas, glands))
    for stain in (canvas.haematoxylin, canvas.eosin):
        ndimage.gaussian_filter(stain, FOCUS, output=stain, truncate=3.0)
    return DemoPicture(to_rgb(rng, canvas), labels, np.array(kinds, np.uint8))


def write_demo_slide(path: Path, seed: int = DEMO_SEED) -> None:
    """Write the demo slide: a pyramidal TIFF of about 0.8 x 0.5 mm, 0.25 um/px.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    write_pyramid(path, demo_picture(seed)[0], mpp=DEMO_MPP)
