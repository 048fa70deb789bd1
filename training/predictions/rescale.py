"""Pictures of another resolution than the model's."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nuhtc.runtime.slides.resolution import SAME_SCALE
from nuhtc.training.data.images import AnnotatedImage
from nuhtc.training.data.numbering import renumber
from nuhtc.training.predictions.prediction import Prediction


def find_at(
    find: Callable[[NDArray[np.uint8]], Prediction], image: AnnotatedImage, mpp: float
) -> Prediction:
    """Find a picture's nuclei at another resolution, and give them on its own grid.

    A picture of another um/px is resampled (bilinear, antialiased where it shrinks), and the
    label map brought back by taking the nearest pixel; nuclei that no pixel is left of are
    dropped.

    Parameters
    ----------
    find
        Finds nuclei in a picture, uint8 (H, W, 3), of ``mpp``.
    image
        The picture.
    mpp
        um per pixel that ``find`` wants.
    """
    scale = image.mpp / mpp
    if abs(scale - 1) <= SAME_SCALE:
        return find(image.rgb)
    height, width = image.rgb.shape[:2]
    size = (max(round(width * scale), 1), max(round(height * scale), 1))
    resized = Image.fromarray(image.rgb).resize(size, Image.Resampling.BILINEAR)
    return bring_back(find(np.asarray(resized)), height, width)


def bring_back(found: Prediction, height: int, width: int) -> Prediction:
    """Bring a prediction to another grid over the same area.

    Parameters
    ----------
    found
        On any grid.
    height, width
        Of the wanted grid.
    """
    rows, columns = (
        ((np.arange(wanted) + 0.5) * have / wanted).astype(np.int64)
        for have, wanted in zip(found.instances.shape, (height, width), strict=True)
    )
    instances, numbers = renumber(found.instances[rows][:, columns])
    return Prediction(
        instances,
        None if found.types is None else found.types[numbers],
        None if found.scores is None else found.scores[numbers],
        None if found.probabilities is None else found.probabilities[numbers],
    )
