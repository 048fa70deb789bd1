"""Textures: intensity, gradient and Haralick columns of many nuclei; Canny's edges."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

COLUMNS: Final[tuple[str, ...]]
"""Names of the 46 columns: 12 of intensity, 8 of gradient, mean and range of 13 textures."""

def texture_features(
    label: NDArray[np.int32],
    numbers: NDArray[np.int32],
    boxes: NDArray[np.int32],
    channel: NDArray[np.uint8],
    edges: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """Describe how one channel of a picture looks inside each nucleus, as HistomicsTK does.

    Gutman et al., Cancer Research 77 (2017); HistomicsTK 1.4's `compute_nuclei_features`. The
    definitions are, for the pixels of a nucleus unless said otherwise:

    - *Intensity*: grey levels 0 to 255. Quartiles are linear between ranks; MAD is the median
      distance to the median; Std, Skewness and Kurtosis are of the population, Kurtosis is 0 for
      a normal distribution. HistEnergy and HistEntropy (nats) are of the shares of ten equal
      bins from the least to the largest value, as `np.histogram` fills them.
    - *Gradient*: the same of the gradient's length in grey levels a pixel. Differences are
      central, one-sided where the picture ends, and 0 along a side of one pixel. Lengths are
      rounded correctly; `np.hypot` can be off in the last bit, so that a length just between two
      bins may be in the other one there. Canny.Sum and Canny.Mean are number and share of edges.
    - *Haralick*: textures of Haralick, Shanmugam and Dinstein, IEEE Trans. SMC 3 (1973), of 32
      levels, each the mean and the range (largest minus least) over neighbours right, below,
      below right and below left, pairs taken both ways. They look at the whole box and one row
      and one column more, as far as the picture has them, whatever nucleus is there. Entropies
      are in bits, of a share plus 1e-5. DifferenceVariance is the variance of the 32 shares.

    Every value is finite. Where a definition gives none it is 0:

    - Skewness and Kurtosis of values that are all the same, one pixel among them;
    - Correlation where all levels of the pairs are the same;
    - all textures of a direction without pairs, in a box of one row or one column;
    - mean and range of IMC1 where one of the directions has no pairs.

    IMC2 is the root of a difference of entropies: near 0 it is exact to 1e-7.

    Parameters
    ----------
    label
        int32 (H, W), which nucleus a pixel belongs to; fewer than 2^31 pixels.
    numbers
        int32 (N,), the nuclei's numbers in `label`, at least 1, in any order.
    boxes
        int32 (N, 4), xyxy in pixels, half open: each holds all pixels of its nucleus and lies in
        the picture. Pixels outside are left out, and textures are of just this box.
    channel
        uint8 (H, W), the channel, such as haematoxylin.
    edges
        bool (H, W), Canny's edges of the channel, as from `canny_edges`.

    Returns
    -------
    NDArray[np.float64]
        float64 (N, 46), the columns `COLUMNS`, a nucleus a row.

    Raises
    ------
    TypeError, ValueError
        An argument has the wrong type, dtype, shape or range; the message names it. A box has no
        pixel of its number; the message names both.
    """

def canny_edges(smooth: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Find the edges of a picture that has been smoothed.

    Canny, IEEE Trans. PAMI 8 (1986), as scikit-image's `canny`: Sobel's sums with the picture
    reflected at its border; ridges are pixels of a sum of at least 0.1 where no neighbour along
    the gradient, linear between two pixels, is steeper; edges are the ridges that hang together,
    corners counted, with one of at least 0.2. No edge is in the first or last row or column.

    Parameters
    ----------
    smooth
        float64 (H, W), usually 0 to 1, smoothed with a Gaussian of 1 pixel. Next to a value that
        is not finite there may be any edges.

    Returns
    -------
    NDArray[np.bool_]
        bool (H, W).

    Raises
    ------
    TypeError, ValueError
        `smooth` has the wrong type, dtype or shape; the message names it.
    """
