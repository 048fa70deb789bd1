"""Tiles: a region through libopenslide as RGB on white, and any area at another scale."""

import numpy as np
from numpy.typing import NDArray

def read_region(
    library: tuple[int, int],
    slide: int,
    place: tuple[int, int],
    level: int,
    out: NDArray[np.uint8],
    scratch: NDArray[np.uint32],
) -> bool:
    """Read a region through libopenslide, without the GIL, and lay it on white.

    Premultiplied ARGB on white is the colour plus what the pixel lacks in cover: for an opaque
    pixel the colour itself, for one that was never scanned white.

    Parameters
    ----------
    library
        Addresses of ``openslide_read_region`` and ``openslide_get_error`` in one loaded library.
    slide
        Address of the open slide (``openslide_t``); the caller keeps it open meanwhile.
    place
        (x, y) of the region's corner in level-0 pixels; it may lie outside of the slide.
    level
        The pyramid level.
    out
        uint8 (height, width, 3), C-contiguous; written in place.
    scratch
        uint32, at least height x width; its content is lost. For reuse by one thread.

    Returns
    -------
    bool
        False where libopenslide met an error, now or before; `out` is then unchanged.

    Raises
    ------
    TypeError, ValueError
        An argument has the wrong type, dtype, shape or range; the message names it.
    """

def source_span(start: int, stop: int, ratio: float) -> tuple[int, int]:
    """Return the half-open range of source pixels that the output pixels start to stop - 1 take.

    Raises
    ------
    TypeError, ValueError
        An argument has the wrong type or range; the message names it.
    """

def resample(
    source: NDArray[np.uint8],
    source_origin: tuple[int, int],
    ratio: tuple[float, float],
    origin: tuple[int, int],
    size: tuple[int, int],
) -> NDArray[np.uint8]:
    """Resample an area of a plane, so that a pixel is the same in whatever area it lies.

    Output pixel i covers the source from ``i * ratio`` to ``(i + 1) * ratio``. With a ratio of
    1 or more it is the mean of what it covers (area), below 1 the interpolation of the two
    source pixels whose centres surround its own (bilinear); along x first, rounded to 1/128,
    then along y, rounded to whole grey levels, halves up. Weights are multiples of 1/32768.

    Parameters
    ----------
    source
        uint8 (h, w, 3), any strides, read-only is fine; a piece of the source plane.
    source_origin
        (x, y) of its first pixel on that plane.
    ratio
        Source pixels per output pixel in x and y, 0.0001 to 1000000.
    origin, size
        (x, y) and (width, height) of the area in output pixels. `source` must hold its
        `source_span` in x and in y.

    Returns
    -------
    NDArray[np.uint8]
        RGB (height, width, 3).

    Raises
    ------
    TypeError, ValueError
        An argument has the wrong type, dtype, shape or range, or `source` is too small; the
        message names it.
    """
