"""Shapes: where nuclei of a labelled picture are, how large and of what form."""

import numpy as np
from numpy.typing import NDArray

COLUMNS: tuple[str, ...]
"""Names of the columns, in order: those HistomicsTK 1.4 gives the same values."""

def shape_features(
    label: NDArray[np.int32],
    numbers: NDArray[np.int32],
    boxes: NDArray[np.int32],
    channel: NDArray[np.uint8],
) -> NDArray[np.float64]:
    """Measure place, size and form of each nucleus of a labelled picture.

    A nucleus is all pixels of its number; holes and several parts are fine. The definitions are
    HistomicsTK's (Gutman et al., Cancer Research 77, 2017). x counts columns, y rows; lengths
    are in pixels, areas in pixels squared, angles in radians. Every value is finite.

    ``Identifier.CentroidX``, ``CentroidY``, ``WeightedCentroidX``, ``WeightedCentroidY``
        The mean of the pixels' places, (0, 0) the first pixel's centre; then the same weighted
        by the channel. Where all weights are 0 it is the plain one.
    ``Orientation.Orientation``
        The angle of the longer axis of the ellipse of the same second moments: 0 along y,
        +-pi/2 along x, up to pi/4 either side of it. Where the nucleus spreads exactly alike in
        x and y, it is -pi/4 if it leans along the main diagonal (x and y grow together) and pi/4
        otherwise, as HistomicsTK has it.
    ``Size.Area``, ``Size.ConvexHullArea``
        How many pixels it has, and how many pixels' centres the hull of the pixels' edge
        midpoints covers, its border included.
    ``Size.MajorAxisLength``, ``Size.MinorAxisLength``
        That ellipse's axes; both are 0 for one pixel.
    ``Size.Perimeter``
        The length of the line through the centres of the border's pixels (Benkrid et al., Design
        and FPGA implementation of a perimeter estimator, 2000); 0 for one pixel and for two.
    ``Shape.Circularity``
        4 pi area / perimeter^2; 4 pi area where the perimeter is 0.
    ``Shape.Eccentricity``, ``Shape.MinorMajorAxisRatio``
        Of that ellipse; 0 and 1 for one pixel.
    ``Shape.EquivalentDiameter``, ``Shape.Extent``, ``Shape.Solidity``
        The diameter of a disc of the same area; the shares that the area has of the tight box's
        and of the hull's.
    ``Shape.FractalDimension``
        Minus the slope of the number of boxes that the nucleus fills in part over the boxes'
        size, both as logarithms; sizes are 4, 8, ... up to the tight box's shorter side, and the
        boxes start at its corner. Of one size alone it is -log(number) / (2 log(4)). It is 0 where
        the side is shorter than 4, and where any size has no such box.
    ``Shape.HuMoments1`` to ``7``, ``Shape.WeightedHuMoments1`` to ``7``
        Hu's moments (IRE Transactions on Information Theory 8, 1962), y as the first axis; then
        the same weighted by the channel, 0 where all weights are 0.
    ``Shape.FSD1`` to ``6``
        Shares of energy in bands of frequencies 0-1, 1-3, 3-7, 7-15, 15-31 and 31-63 of the
        directions between 128 points along the outline (Moore's neighbours, from the first pixel
        with one to its right or below it), rounded to seven decimals; 0 where no two pixels touch.
        The picture's last row and column are left out, as in HistomicsTK.

    The same arguments give the same values, to the last bit, in whatever order nuclei are given.
    The GIL is released while nuclei are measured.

    Parameters
    ----------
    label
        int32 (H, W), the number of the nucleus that each pixel belongs to; 0 for none.
    numbers
        int32 (N,), which number each nucleus has, 1 or more.
    boxes
        int32 (N, 4), x0, y0, x1, y1 (half open) of each nucleus, within the picture and at most
        4,096 pixels a side. A box may be larger than needed; pixels outside it are not looked at.
    channel
        uint8 (H, W), weights, such as how much haematoxylin a pixel holds.

    Returns
    -------
    float64 (N, len(COLUMNS)), a row for each nucleus.

    Raises
    ------
    TypeError, ValueError
        An argument has the wrong type, dtype, shape or range, or a box has no pixel of its
        nucleus; the message names it.
    """
