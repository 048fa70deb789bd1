"""Everything of the demo slide but its nuclei: glass, collagen, glands and red cells.

All is drawn as two stain densities, haematoxylin and eosin, and becomes colour only at the end
by the law of Beer and Lambert, so that overlapping structures darken each other as they do in a
microscope. Lengths are in pixels of 0.25 um.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Field = NDArray[np.float32]

GLASS: Final = (244.0, 243.0, 244.0)
"""Colour of empty glass."""

HAEMATOXYLIN: Final = (0.34, 0.46, 0.18)
"""Optical density of one unit of the nuclear stain in red, green and blue."""

EOSIN: Final = (0.035, 0.30, 0.115)
"""Optical density of one unit of the stain of everything else."""

GLAND_SPACING: Final = 400
EPITHELIUM: Final = (56, 74)
"""Thickness of a gland's lining, lowest and highest."""

SURROUNDINGS: Final = 80
"""Distance from a gland up to which the fibres follow its outline."""


@dataclass(frozen=True)
class Gland:
    """An elliptic gland with a wavy outline: a ring of epithelium around a lumen."""

    x: float
    y: float
    half_width: float
    half_height: float
    angle: float
    lining: float
    waves: tuple[tuple[int, float, float], ...]

    @property
    def reach(self) -> int:
        """Give the radius of a circle that holds the gland and its surroundings."""
        return int(1.25 * max(self.half_width, self.half_height)) + SURROUNDINGS

    def outline(self, turn: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the outline's points (N, 2) at the given angles."""
        radius = self._wave(turn)
        u, v = radius * self.half_width * np.cos(turn), radius * self.half_height * np.sin(turn)
        cos, sin = math.cos(self.angle), math.sin(self.angle)
        return np.stack([self.x + u * cos - v * sin, self.y + u * sin + v * cos], axis=1)

    def depth(self, x: Field, y: Field) -> tuple[Field, Field]:
        """Return each point's distance inward from the outline, and its angle around the centre."""
        cos, sin = math.cos(self.angle), math.sin(self.angle)
        u = (x - self.x) * cos + (y - self.y) * sin
        v = (y - self.y) * cos - (x - self.x) * sin
        turn = np.arctan2(v / self.half_height, u / self.half_width)
        relative = np.hypot(u / self.half_width, v / self.half_height) / self._wave(turn)
        radius = np.hypot(u, v)
        depth = radius * (1 / np.maximum(relative, 1e-3) - 1)
        return depth.astype(np.float32), turn.astype(np.float32)

    def _wave(self, turn: NDArray[np.floating]) -> NDArray[np.floating]:
        radius = np.ones_like(turn)
        for count, height, phase in self.waves:
            radius += height * np.cos(count * turn + phase)
        return radius


@dataclass
class Canvas:
    """The picture while it is drawn."""

    haematoxylin: Field
    """stain density (height, width)"""
    eosin: Field
    """stain density (height, width)"""
    tissue: Field
    """above 0 inside the section, growing inward to about 1"""
    depth: Field
    """distance inward from the nearest gland's outline; negative outside"""
    flow: Field
    """a field whose contour lines are the fibres"""


def draw_tissue(rng: np.random.Generator, width: int, height: int) -> tuple[Canvas, list[Gland]]:
    """Draw a section without its nuclei and tell where its glands are."""
    tissue = _section(rng, width, height)
    glands = _place_glands(rng, tissue)
    # A steady slope keeps the contours from closing into rings.
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    flow = 0.8 * y + 0.5 * x
    flow += 85 * noise(rng, (height, width), 210) + 14 * noise(rng, (height, width), 60)
    depth = np.full((height, width), -1e3, np.float32)
    around = flow.copy()
    for gland in glands:
        window, x, y = _window(gland, width, height)
        inward = gland.depth(x, y)[0]
        nearest = inward > depth[window]
        depth[window][nearest] = inward[nearest]
        around[window][nearest] = inward[nearest] + flow[int(gland.y), int(gland.x)]
    # Fibres run around the glands near them.
    near = np.clip(1 + depth / SURROUNDINGS, 0, 1)
    flow += near * near * (3 - 2 * near) * (around - flow)
    canvas = Canvas(np.zeros_like(flow), np.zeros_like(flow), tissue, depth, flow)
    _draw_stroma(rng, canvas)
    _draw_red_cells(rng, canvas)
    for gland in glands:
        _draw_gland(rng, canvas, gland)
    inside = np.clip(tissue * 60, 0, 1)
    canvas.haematoxylin *= inside
    canvas.eosin *= inside
    return canvas, glands


def to_rgb(rng: np.random.Generator, canvas: Canvas) -> NDArray[np.uint8]:
    """Turn stain densities into what a camera sees, with its noise."""
    shape = canvas.eosin.shape
    light = 1 + 0.004 * noise(rng, shape, 300)
    grain = rng.standard_normal(shape, np.float32)
    out = np.empty((*shape, 3), np.uint8)
    for channel in range(3):
        density = HAEMATOXYLIN[channel] * canvas.haematoxylin + EOSIN[channel] * canvas.eosin
        value = GLASS[channel] * light * np.exp(-math.log(10) * density) + 1.2 * grain
        out[..., channel] = np.clip(value, 0, 255)
    return out


def noise(rng: np.random.Generator, shape: tuple[int, int], scale: int) -> Field:
    """Return smooth noise of mean 0 and deviation of about 1, with bumps of `scale` pixels."""
    height, width = shape
    rows, columns = height // scale + 4, width // scale + 4
    coarse = Image.fromarray(rng.standard_normal((rows, columns), np.float32) * 1.6)
    fine = coarse.resize((columns * scale, rows * scale), Image.Resampling.BICUBIC)
    return np.asarray(fine)[scale : scale + height, scale : scale + width].copy()


def _section(rng: np.random.Generator, width: int, height: int) -> Field:
    """Return the section: a rounded piece of tissue with a ragged rim, clear of the picture's."""
    x = np.abs(np.linspace(-1.06, 1.06, width, dtype=np.float32))[None, :]
    y = np.abs(np.linspace(-1.10, 1.10, height, dtype=np.float32))[:, None]
    shape = (height, width)
    ragged = 0.05 * noise(rng, shape, 260) + 0.012 * noise(rng, shape, 40)
    section = 0.93 - (x**5 + y**5) ** 0.2 + ragged + 0.003 * noise(rng, shape, 7)
    return np.asarray(section, np.float32)


def _place_glands(rng: np.random.Generator, tissue: Field) -> list[Gland]:
    height, width = tissue.shape
    glands = []
    for row, y in enumerate(np.arange(GLAND_SPACING / 2, height, GLAND_SPACING * 0.9)):
        shift = GLAND_SPACING / 2 * (row % 2)
        for x in np.arange(GLAND_SPACING / 2 + shift, width, GLAND_SPACING):
            dx, dy = rng.uniform(-35, 35, 2)
            size, aspect = rng.uniform(98, 140), rng.uniform(0.70, 1.25)
            waves = tuple(
                (count, float(rng.normal(0, 0.14 / count)), float(rng.uniform(0, 2 * math.pi)))
                for count in (2, 3, 4, 5)
            )
            gland = Gland(
                float(x + dx),
                float(y + dy),
                float(size),
                float(size * aspect),
                float(rng.uniform(0, math.pi)),
                float(rng.uniform(*EPITHELIUM)),
                waves,
            )
            # The last quarter of the places stays stroma.
            inside = 0 <= gland.y < height and 0 <= gland.x < width
            if inside and tissue[int(gland.y), int(gland.x)] > 0.13 and rng.random() < 0.72:
                glands.append(gland)
    return glands


def _window(gland: Gland, width: int, height: int) -> tuple[tuple[slice, slice], Field, Field]:
    left, right = max(0, int(gland.x) - gland.reach), min(width, int(gland.x) + gland.reach)
    top, bottom = max(0, int(gland.y) - gland.reach), min(height, int(gland.y) + gland.reach)
    y, x = np.mgrid[top:bottom, left:right].astype(np.float32)
    return (slice(top, bottom), slice(left, right)), x, y


def _stripes(rng: np.random.Generator, place: Field, width: float) -> Field:
    """Look up a smooth random function of one variable: stripes along the place's contours."""
    table = rng.standard_normal(4096).astype(np.float32) * 1.4
    index = place / np.float32(width)
    low = np.floor(index)
    part = index - low
    # The table's length is a power of two, so that the mask wraps negative places too.
    before = low.astype(np.int32) & 4095
    after = (before + 1) & 4095
    return np.asarray(table[before] * (1 - part) + table[after] * part, np.float32)


def _draw_stroma(rng: np.random.Generator, canvas: Canvas) -> None:
    shape = canvas.eosin.shape
    along = canvas.flow + 5 * noise(rng, shape, 24) + 1.6 * noise(rng, shape, 8)
    fibres = 0.6 * _stripes(rng, along, 2.6) + 0.55 * _stripes(rng, along, 8.0)
    fibres += 0.35 * noise(rng, shape, 3)
    thick = noise(rng, shape, 120)
    drawn = np.clip(0.6 + 0.5 * noise(rng, shape, 70), 0.1, 1)
    loose = np.clip(0.85 + 0.28 * thick + 0.34 * drawn * fibres, 0.10, 1.25)
    canvas.eosin[:] = 0.42 * loose + 0.07 * np.clip(fibres, -1, 2) * loose
    canvas.haematoxylin[:] = loose * (0.075 + 0.03 * noise(rng, shape, 60))
    # Clefts between bundles are bare glass.
    cleft = _stripes(rng, along, 17.0) + 0.7 * noise(rng, shape, 45) - 0.4 * thick
    open_ = 1 - 0.9 * np.clip((cleft - 1.9) * 2.2, 0, 1)
    canvas.eosin *= open_
    canvas.haematoxylin *= open_
    np.clip(canvas.eosin, 0.01, None, out=canvas.eosin)
    np.clip(canvas.haematoxylin, 0, None, out=canvas.haematoxylin)


def _draw_gland(rng: np.random.Generator, canvas: Canvas, gland: Gland) -> None:
    height, width = canvas.eosin.shape
    window, x, y = _window(gland, width, height)
    depth, turn = gland.depth(x, y)
    shape = depth.shape
    grain = noise(rng, shape, 3)
    cloud = noise(rng, shape, 16)
    cells = _stripes(rng, (turn + math.pi) * gland.half_width + 2.5 * cloud, 6.0)
    ragged = depth + 2.5 * cloud + 1.2 * grain
    inside = np.clip(depth / 2, 0, 1)
    # Cytoplasm is bluer at its base and paler towards the lumen.
    base = np.clip(1 - depth / gland.lining, 0, 1)
    eosin = 0.36 + 0.05 * cells + 0.04 * grain + 0.05 * cloud
    blue = 0.15 + 0.14 * base + 0.03 * cells + 0.025 * grain
    # Goblets of mucin: pale drops in the upper half of some cells.
    goblet = np.clip((cells - 1.25) * 2, 0, 1) * np.clip(1 - np.abs(base - 0.33) / 0.22, 0, 1)
    eosin *= 1 - 0.75 * goblet
    blue *= 1 - 0.55 * goblet
    rim = np.exp(-(((ragged - gland.lining) / 2.2) ** 2))
    eosin += 0.16 * rim
    lumen = np.clip((ragged - gland.lining) / 2.5, 0, 1)
    mucus = np.clip(1 - np.abs(noise(rng, shape, 30)) * 9, 0, 1) * (cloud > 0.2)
    eosin += lumen * (0.02 + 0.10 * mucus - eosin)
    blue += lumen * (0.005 + 0.06 * mucus - blue)
    membrane = np.exp(-(((depth + 2) / 2.0) ** 2))
    canvas.eosin[window] += inside * (eosin - canvas.eosin[window]) + 0.12 * membrane
    canvas.haematoxylin[window] += inside * (blue - canvas.haematoxylin[window])
    np.clip(canvas.haematoxylin[window], 0, None, out=canvas.haematoxylin[window])
    np.clip(canvas.eosin[window], 0.01, None, out=canvas.eosin[window])


def _draw_red_cells(rng: np.random.Generator, canvas: Canvas) -> None:
    """Fill a few small vessels with red cells: round, bright, and no nuclei."""
    height, width = canvas.eosin.shape
    for _ in range(max(1, height * width // 500_000)):
        x, y = rng.uniform(60, width - 60), rng.uniform(60, height - 60)
        if canvas.depth[int(y), int(x)] > -40 or canvas.tissue[int(y), int(x)] < 0.08:
            continue
        for cx, cy in rng.normal((x, y), (16, 11), (14, 2)):
            left, top = int(cx) - 16, int(cy) - 16
            if not (0 <= left < width - 32 and 0 <= top < height - 32):
                continue
            window = (slice(top, top + 32), slice(left, left + 32))
            v, u = np.mgrid[top : top + 32, left : left + 32].astype(np.float32)
            radius = np.hypot(u - cx, v - cy) / rng.uniform(9, 12)
            cell = np.clip((1 - radius) * 7, 0, 1)
            body = 0.95 + 0.25 * np.clip(radius, 0, 1) ** 2
            canvas.eosin[window] += cell * (body - canvas.eosin[window])
            canvas.haematoxylin[window] *= 1 - cell
