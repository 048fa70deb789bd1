"""The table of HistomicsTK 1.4 of one labelled picture, nucleus by nucleus, as its definitions are.

A plain twin, for values and not for speed: Gutman et al., Cancer Research 77 (2017), and what its
code takes from scikit-image. Rows of pictures are its first axis; `Orientation` and moments are in
that order. Where a definition has no value, such as the skewness of one pixel, it is NaN here, and
where a nucleus spreads alike both ways its orientation is that of rounding, 45 degrees up or down.
"""

import math
import warnings
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, stats
from scipy.spatial import ConvexHull, QhullError

Floats = NDArray[np.float64]

HAEMATOXYLIN: Final = (0.65, 0.70, 0.29)
BINS: Final = 10
LEVELS: Final = 32
FSD_POINTS: Final = 128
FSD_BANDS: Final = 6
FSD_MARGIN: Final = 8

HARALICK: Final = (
    *("ASM", "Contrast", "Correlation", "SumOfSquares", "IDM", "SumAverage", "SumVariance"),
    *("SumEntropy", "Entropy", "DifferenceVariance", "DifferenceEntropy", "IMC1", "IMC2"),
)

OFFSETS: Final = ((0, 1), (1, 0), (1, 1), (1, -1))


def haematoxylin(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return how much haematoxylin each pixel holds, 0 to 255, by Macenko's stains of the picture.

    Macenko et al., A method for normalizing histology slides, ISBI 2009; with the 1st and 99th
    percentile of the angle, and pixels of a projected density above 16.
    """
    density = optical_density(rgb)
    stains = macenko_stains(density)
    amounts = np.linalg.pinv(stains) @ density
    transmitted = 256 ** (1 - amounts[0] / 255) - 1
    return 255 - transmitted.clip(0, 255).astype(np.uint8).reshape(rgb.shape[:2])


def optical_density(rgb: NDArray[np.uint8]) -> Floats:
    """Return (3, pixels): 0 for white, 255 for black."""
    light = rgb.reshape(-1, 3).T.astype(np.float64) + 1
    density: Floats = np.maximum(-np.log(light / 256) * 255 / np.log(256), 0)
    return density


def macenko_stains(density: Floats) -> Floats:
    """Return unit columns: haematoxylin, eosin, and what is square to both."""
    axes = np.linalg.svd(density, full_matrices=False)[0]
    plane = axes.T[:-1] @ density
    far = plane[:, np.sqrt((plane**2).sum(axis=0)) > 16]
    unit = far / np.sqrt((far**2).sum(axis=0))
    angle = (1 - unit[1]) * np.sign(unit[0])

    def at(share: float) -> Floats:
        place = min(int(share * angle.size + 0.5), angle.size - 1)
        found: Floats = axes[:, :-1] @ far[:, np.argpartition(angle, place)[place]]
        return found / np.linalg.norm(found)

    two = np.array([at(0.01), at(0.99)]).T
    likeness = np.abs(np.array(HAEMATOXYLIN) / np.linalg.norm(HAEMATOXYLIN) @ two)
    first = int(likeness.argmax())
    third = np.cross(two[:, 0], two[:, 1])
    return np.stack([two[:, first], two[:, 1 - first], third / np.linalg.norm(third)], axis=1)


def table(label: NDArray[np.integer], channel: NDArray[np.uint8]) -> list[dict[str, float]]:
    """Return the columns of each nucleus by name, in the order of the labels."""
    slope = np.hypot(*np.gradient(channel.astype(np.float64)))
    edges = canny(channel)
    rows = []
    for number, box in enumerate(ndimage.find_objects(label), start=1):
        if box is None:
            continue
        inside = label[box] == number
        top, left = box[0].start, box[1].start
        row = {
            "Label": float(number),
            "Identifier.Xmin": float(left),
            "Identifier.Ymin": float(top),
            "Identifier.Xmax": float(box[1].stop),
            "Identifier.Ymax": float(box[0].stop),
        }
        values = channel[box].astype(np.float64)
        for name, weights in (("", inside.astype(float)), ("Weighted", inside * values)):
            y, x = centre(weights)
            row[f"Identifier.{name}CentroidX"] = left + x
            row[f"Identifier.{name}CentroidY"] = top + y
        row |= morphometry(inside)
        for name, weights in (("", inside.astype(float)), ("Weighted", inside * values)):
            for place, moment in enumerate(hu_moments(weights), start=1):
                row[f"Shape.{name}HuMoments{place}"] = moment
        row |= fourier_shape(label, number, box)
        row |= {f"Nucleus.Intensity.{k}": v for k, v in intensity(channel[box][inside]).items()}
        row |= {
            f"Nucleus.Gradient.{k}": v
            for k, v in gradient(slope[box][inside], edges[box][inside]).items()
        }
        part = channel[box[0].start : box[0].stop + 1, box[1].start : box[1].stop + 1]
        row |= {f"Nucleus.Haralick.{k}": v for k, v in haralick(part).items()}
        rows.append(row)
    return rows


def centre(weights: Floats) -> tuple[float, float]:
    """Return the mean row and column."""
    total = weights.sum()
    y, x = np.indices(weights.shape)
    return float((y * weights).sum() / total), float((x * weights).sum() / total)


def central_moments(weights: Floats) -> Floats:
    """Return moments (4, 4) about the centre, rows first."""
    y, x = np.indices(weights.shape)
    row, column = centre(weights)
    powers_y = np.stack([(y - row) ** p for p in range(4)])
    powers_x = np.stack([(x - column) ** p for p in range(4)])
    moments: Floats = np.einsum("pij,qij,ij->pq", powers_y, powers_x, weights)
    return moments


def morphometry(inside: NDArray[np.bool_]) -> dict[str, float]:
    """Return orientation, sizes and shapes of a mask."""
    area = float(np.count_nonzero(inside))
    mu = central_moments(inside.astype(np.float64))
    down, across, both = mu[2, 0] / area, mu[0, 2] / area, -mu[1, 1] / area
    if across == down:
        orientation = -math.pi / 4 if both < 0 else math.pi / 4
    else:
        orientation = 0.5 * math.atan2(-2 * both, down - across)
    mean, half = (down + across) / 2, math.hypot((down - across) / 2, both)
    long, short = max(mean + half, 0.0), max(mean - half, 0.0)
    major, minor = 4 * math.sqrt(long), 4 * math.sqrt(short)
    around, hull = perimeter(inside), hull_area(inside)
    return {
        "Orientation.Orientation": orientation,
        "Size.Area": area,
        "Size.ConvexHullArea": hull,
        "Size.MajorAxisLength": major,
        "Size.MinorAxisLength": minor,
        "Size.Perimeter": around,
        "Shape.Circularity": 4 * math.pi * area / (around**2 if around > 0 else 1),
        "Shape.Eccentricity": math.sqrt(1 - short / long) if long > 0 else 0.0,
        "Shape.EquivalentDiameter": math.sqrt(4 * area / math.pi),
        "Shape.Extent": area / inside.size,
        "Shape.FractalDimension": fractal_dimension(inside),
        "Shape.MinorMajorAxisRatio": minor / major if major > 0 else 1.0,
        "Shape.Solidity": area / hull,
    }


def perimeter(inside: NDArray[np.bool_]) -> float:
    """Return the length of the line through the centres of the border's pixels.

    Benkrid et al., Design and FPGA implementation of a perimeter estimator, 2000.
    """
    border = inside & ~ndimage.binary_erosion(inside)
    kernel = np.array([[10, 2, 10], [2, 1, 2], [10, 2, 10]])
    kinds = ndimage.convolve(border.astype(np.uint8), kernel, mode="constant")
    weights = np.zeros(50)
    weights[[5, 7, 15, 17, 25, 27]] = 1
    weights[[21, 33]] = math.sqrt(2)
    weights[[13, 23]] = (1 + math.sqrt(2)) / 2
    return float(np.bincount(kinds.ravel(), minlength=50) @ weights)


def hull_area(inside: NDArray[np.bool_]) -> float:
    """Return how many pixel centres the hull of the pixels' edge midpoints covers."""
    y, x = np.nonzero(inside)
    offsets = ((-0.5, 0), (0.5, 0), (0, -0.5), (0, 0.5))
    points = np.concatenate([np.stack([y + a, x + b], axis=1) for a, b in offsets])
    try:
        planes = ConvexHull(points).equations
    except QhullError:  # pragma: no cover - midpoints of edges never lie on one line
        return float(len(y))
    centres = np.indices(inside.shape).reshape(2, -1)
    covered = (planes[:, :2] @ centres + planes[:, 2:] <= 1e-10).all(axis=0)
    return float(np.count_nonzero(covered))


def fractal_dimension(inside: NDArray[np.bool_]) -> float:
    """Return minus the slope of mixed boxes over box sizes, both as logarithms; 0 if too small."""
    largest = int(np.log(2 ** np.floor(np.log(min(inside.shape)) / np.log(2))) / np.log(2))
    sizes = 2 ** np.arange(largest, 1, -1)
    if not len(sizes):
        return 0.0
    counts = []
    for size in sizes:
        rows, columns = (np.arange(0, side, size) for side in inside.shape)
        held = np.add.reduceat(np.add.reduceat(inside.astype(int), rows, axis=0), columns, axis=1)
        counts.append(np.count_nonzero((held > 0) & (held < size * size)))
    with np.errstate(divide="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", np.exceptions.RankWarning)
        return -float(np.polyfit(np.log(sizes), np.log(counts), 1)[0])


def hu_moments(weights: Floats) -> list[float]:
    """Return the seven moments of Hu (1962) of a weighted mask, rows as the first axis."""
    mu = central_moments(weights)
    nu = {
        (p, q): mu[p, q] / mu[0, 0] ** ((p + q) / 2 + 1)
        for p in range(4)
        for q in range(4)
        if 2 <= p + q <= 3
    }
    one, two = nu[3, 0] + nu[1, 2], nu[2, 1] + nu[0, 3]
    three, four = nu[3, 0] - 3 * nu[1, 2], 3 * nu[2, 1] - nu[0, 3]
    sum2, difference = nu[2, 0] + nu[0, 2], nu[2, 0] - nu[0, 2]
    a, b = one * (one**2 - 3 * two**2), two * (3 * one**2 - two**2)
    return [
        float(value)
        for value in (
            sum2,
            difference**2 + 4 * nu[1, 1] ** 2,
            three**2 + four**2,
            one**2 + two**2,
            three * a + four * b,
            difference * (one**2 - two**2) + 4 * nu[1, 1] * one * two,
            four * a - three * b,
        )
    ]


def fourier_shape(
    label: NDArray[np.integer], number: int, box: tuple[slice, slice]
) -> dict[str, float]:
    """Return the energy of the outline's direction in bands of frequencies that double."""
    windows = []
    for part, side in zip(box, label.shape, strict=True):
        low, high = max(0, part.start - FSD_MARGIN), min(side - 1, part.stop + FSD_MARGIN)
        windows.append((low, high, (1 if low == 0 else 0, 1 if high + 1 == side else 0)))
    (top, bottom, rows), (left, right, columns) = windows
    inside = np.pad(label[top:bottom, left:right] == number, (rows, columns))
    outline = moore_outline(inside)[:-1]
    bands = np.zeros(FSD_BANDS)
    if len(outline) >= 2:
        y, x = resampled(outline.astype(np.float64))
        direction = np.arctan2(np.diff(x), np.diff(y))
        energy = np.abs(np.fft.fft(np.exp(1j * (direction - direction[0])))) ** 2
        energy /= energy.sum()
        ends = 2 ** np.arange(FSD_BANDS + 1)
        bands = np.array([energy[a - 1 : b].sum().round(FSD_BANDS + 1) for a, b in pairwise(ends)])
    return {f"Shape.FSD{place}": float(value) for place, value in enumerate(bands, start=1)}


def resampled(points: Floats) -> tuple[Floats, Floats]:
    """Return rows and columns of points evenly spaced along an open line."""
    lengths = np.hypot(*np.diff(points, axis=0).T)
    lengths /= lengths.sum()
    along = np.concatenate([[0], np.cumsum(lengths)])
    wanted = np.linspace(0, 1, FSD_POINTS + 1)
    place = np.minimum(np.digitize(wanted, along), len(lengths))
    share = (wanted - along[place - 1]) / lengths[place - 1]
    found = points[place - 1] + (points[place] - points[place - 1]) * share[:, None]
    return found[:, 0], found[:, 1]


AROUND: Final = ((-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1), (1, 0), (1, 1), (0, 1))
"""Neighbours x, y in the order they are tried by one who came upwards, from lower left on."""

TURNS: Final = ((-1, 0), (0, -1), (0, -1), (1, 0), (1, 0), (0, 1), (0, 1), (-1, 0))
"""Where he then heads, by the neighbour he went to."""


def moore_outline(inside: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the border's pixels as rows and columns, clockwise and closed (Moore's neighbours)."""
    start = next(_starts(inside), None)
    if start is None or np.count_nonzero(inside) < 2:
        return np.array([start] if start else []).reshape(-1, 2)
    path = [start]
    heading = (1, 0)
    while True:
        y, x = path[-1]
        for (ax, ay), (tx, ty) in zip(AROUND, TURNS, strict=True):
            dx, dy = _turned(ax, ay, heading)
            if inside[y + dy, x + dx]:
                path.append((y + dy, x + dx))
                heading = _turned(tx, ty, heading)
                break
        else:
            return np.array(path)
        if len(path) > 3 and path[-1] == path[1] and path[-2] == path[0]:
            return np.array(path[:-1])


def _starts(inside: NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    for y, x in np.argwhere(inside[1:-1, 1:-1]) + 1:
        if inside[y, x + 1] or inside[y + 1, x] or inside[y + 1, x + 1] or inside[y - 1, x + 1]:
            yield int(y), int(x)


def _turned(x: int, y: int, heading: tuple[int, int]) -> tuple[int, int]:
    """Turn a step of one who came upwards to that of one who came another way."""
    return {(1, 0): (-y, x), (0, -1): (x, y), (-1, 0): (y, -x), (0, 1): (-x, -y)}[heading]


def histogram(values: NDArray[Any]) -> Floats:
    """Return shares of ten bins from the least to the largest value."""
    counts = np.histogram(values, bins=BINS)[0]
    shares: Floats = counts / counts.sum()
    return shares


def intensity(values: NDArray[np.uint8]) -> dict[str, float]:
    """Return statistics of a nucleus's pixels."""
    shares = histogram(values)
    median, mean = np.median(values), values.mean()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return {
            "Min": float(values.min()),
            "Max": float(values.max()),
            "Mean": float(mean),
            "Median": float(median),
            "MeanMedianDiff": float(mean - median),
            "Std": float(values.std()),
            "IQR": float(stats.iqr(values)),
            "MAD": float(np.median(np.abs(values - median))),
            "Skewness": float(stats.skew(values)),
            "Kurtosis": float(stats.kurtosis(values)),
            "HistEnergy": float((shares**2).sum()),
            "HistEntropy": float(stats.entropy(shares)),
        }


def gradient(slopes: Floats, edges: NDArray[np.bool_]) -> dict[str, float]:
    """Return statistics of the gradient's length at a nucleus's pixels, and Canny's edges there."""
    shares = histogram(slopes)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return {
            "Mag.Mean": float(slopes.mean()),
            "Mag.Std": float(slopes.std()),
            "Mag.Skewness": float(stats.skew(slopes)),
            "Mag.Kurtosis": float(stats.kurtosis(slopes)),
            "Mag.HistEntropy": float(stats.entropy(shares)),
            "Mag.HistEnergy": float((shares**2).sum()),
            "Canny.Sum": float(np.count_nonzero(edges)),
            "Canny.Mean": float(edges.mean()),
        }


def canny(channel: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return the edges of a picture: Canny 1986, sigma 1, thresholds 0.1 and 0.2 of its range."""
    image = channel / 255
    covered = ndimage.gaussian_filter(np.ones_like(image), 1, mode="constant")
    smooth = ndimage.gaussian_filter(image, 1, mode="constant") / (covered + np.finfo(float).eps)
    across, down = ndimage.sobel(smooth, axis=1), ndimage.sobel(smooth, axis=0)
    steep = np.hypot(down, across)
    ridge = np.zeros(image.shape)
    for y in range(1, image.shape[0] - 1):
        for x in range(1, image.shape[1] - 1):
            if steep[y, x] >= 0.1 and _is_ridge(steep, y, x, down[y, x], across[y, x]):
                ridge[y, x] = steep[y, x]
    groups, _ = ndimage.label(ridge > 0, np.ones((3, 3)))
    strong = np.unique(groups[ridge >= 0.2])
    found: NDArray[np.bool_] = np.isin(groups, strong[strong > 0])
    return found


def _is_ridge(steep: Floats, y: int, x: int, down: float, across: float) -> bool:
    """Tell whether no interpolated neighbour along the gradient is steeper."""
    rows, columns = abs(down), abs(across)
    same = (down >= 0) == (across >= 0) or down == 0 or across == 0
    sy, sx = (1, 1) if same else (-1, 1)
    if not rows and not columns:
        return False
    if rows > columns:
        share, straight = columns / rows, (sy, 0)
    else:
        share, straight = rows / columns, (0, sx)
    for side in (1, -1):
        near = steep[y + side * straight[0], x + side * straight[1]]
        corner = steep[y + side * sy, x + side * sx]
        if corner * share + near * (1 - share) > steep[y, x]:
            return False
    return True


def haralick(part: NDArray[np.uint8]) -> dict[str, float]:
    """Return Haralick's textures (1973) of a box, mean and range over four directions."""
    levels = np.round(part / 255 * (LEVELS - 1)).astype(int)
    each = np.array([_textures(_cooccurrences(levels, *offset)) for offset in OFFSETS])
    found = {}
    for name, values in zip(HARALICK, each.T, strict=True):
        found[f"{name}.Mean"] = float(values.mean())
        found[f"{name}.Range"] = float(np.ptp(values))
    return found


def _cooccurrences(levels: NDArray[np.int_], down: int, across: int) -> Floats:
    height, width = levels.shape
    here = levels[: height - down, max(0, -across) : width - max(0, across)]
    there = levels[down:, max(0, across) : width + min(0, across)]
    counts = np.zeros((LEVELS, LEVELS))
    np.add.at(counts, (here.ravel(), there.ravel()), 1)
    counts += counts.T
    return counts / counts.sum() if counts.sum() else counts


def _textures(shares: Floats) -> list[float]:
    tiny = 1e-5
    level, both = np.arange(LEVELS), np.indices(shares.shape)
    alone = shares.sum(axis=1)
    sums = np.bincount(both.sum(axis=0).ravel(), shares.ravel(), 2 * LEVELS - 1)
    gaps = np.bincount(np.abs(both[0] - both[1]).ravel(), shares.ravel(), LEVELS)
    mean = level @ alone
    variance = alone @ level**2 - mean**2
    product = float((both[0] * both[1] * shares).sum())
    sum_mean = np.arange(2 * LEVELS - 1) @ sums

    def entropy(p: Floats, q: Floats) -> float:
        return -float((p * np.log2(q + tiny)).sum())

    square = np.outer(alone, alone)
    whole, single = entropy(shares, shares), entropy(alone, alone)
    first, second = entropy(shares, square), entropy(square, square)
    return [
        float((shares**2).sum()),
        float(level**2 @ gaps),
        float((product - mean**2) / variance) if variance else 0.0,
        float(variance),
        float((shares / (1 + (both[0] - both[1]) ** 2)).sum()),
        float(sum_mean),
        float(np.arange(2 * LEVELS - 1) ** 2 @ sums - sum_mean**2),
        entropy(sums, sums),
        whole,
        float(np.var(gaps)),
        entropy(gaps, gaps),
        (whole - first) / single if single else float("nan"),
        math.sqrt(max(0.0, 1 - math.exp(-2 * (second - whole)))),
    ]
