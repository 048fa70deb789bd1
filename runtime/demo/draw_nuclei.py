"""The demo slide's nuclei: where they lie, and how their chromatin looks."""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from nuhtc.runtime.demo.draw_tissue import Canvas, Field, Gland, noise

WINDOW: Final = 64
"""Side in pixels of the square a nucleus is drawn in."""

MAX_SHARED: Final = 0.04
"""Part of a nucleus that may lie over others; one that would share more is left out."""


@dataclass(frozen=True)
class Look:
    """How one kind of nucleus looks."""

    length: tuple[float, float]
    """lowest and highest longer half axis, in pixels"""
    breadth: tuple[float, float]
    """lowest and highest shorter half axis, in pixels"""
    body: tuple[float, float]
    """haematoxylin of the inside"""
    rim: float
    """haematoxylin of the dark edge on top of it"""
    clumps: float
    """haematoxylin of the chromatin's speckle"""
    nucleoli: int
    """most nucleoli in one nucleus"""
    wave: float
    """unevenness of the outline, as a part of its radius"""


EPITHELIAL: Final = Look((12.0, 16.5), (7.5, 9.5), (0.36, 0.66), 0.46, 0.15, 2, 0.04)
INFLAMMATORY: Final = Look((7.0, 8.5), (6.0, 7.5), (0.92, 1.15), 0.12, 0.22, 0, 0.05)
SPINDLE: Final = Look((14.0, 22.0), (4.2, 6.2), (0.55, 0.85), 0.25, 0.14, 1, 0.06)


@dataclass(frozen=True)
class Places:
    """Where nuclei of one look are wanted: centres (N, 2) as (x, y), and angles (N,)."""

    look: Look
    centre: NDArray[np.float64]
    angle: NDArray[np.float64]


def place_nuclei(rng: np.random.Generator, canvas: Canvas, glands: list[Gland]) -> list[Places]:
    """Choose places: palisades in the glands, spindles along fibres, lymphocytes in swarms."""
    height, width = canvas.eosin.shape
    area = height * width
    palisades = [_palisade(rng, gland) for gland in glands]
    empty = np.zeros((0, 3))
    stacked = np.concatenate([empty, *palisades])
    single = rng.uniform((0, 0), (width, height), (area // 9_000, 2))
    swarms = rng.uniform((0, 0), (width, height), (max(1, area // 450_000), 2))
    swarming = np.concatenate([rng.normal(swarm, 52, (70, 2)) for swarm in swarms])
    spindles = rng.uniform((0, 0), (width, height), (area // 3_600, 2))
    spindles = spindles[_in_stroma(canvas, spindles, 16)]
    round_ = np.concatenate([swarming, single])
    round_ = round_[_in_stroma(canvas, round_, 10)]
    return [
        Places(EPITHELIAL, stacked[:, :2], stacked[:, 2]),
        Places(INFLAMMATORY, round_, rng.uniform(0, math.pi, len(round_))),
        Places(
            SPINDLE, spindles, _along_fibres(canvas, spindles) + rng.normal(0, 0.2, len(spindles))
        ),
    ]


def draw_nuclei(
    rng: np.random.Generator, canvas: Canvas, places: list[Places]
) -> tuple[NDArray[np.int32], list[int]]:
    """Draw the nuclei that fit.

    Returns
    -------
    NDArray[np.int32]
        (height, width): 0, or the number of the nucleus from 1.
    list of int
        The index in `places` of each nucleus, in the order of their numbers.
    """
    height, width = canvas.eosin.shape
    labels = np.zeros((height, width), np.int32)
    speckle = noise(rng, (height, width), 2) + 0.8 * noise(rng, (height, width), 4)
    kinds: list[int] = []
    for kind, wanted in enumerate(places):
        corner = np.floor(wanted.centre).astype(int) - WINDOW // 2
        fits = ((corner >= 0) & (corner + WINDOW <= (width, height))).all(axis=1)
        corner, centre, angle = corner[fits], wanted.centre[fits], wanted.angle[fits]
        edge, density = _shapes(rng, wanted.look, centre - corner, angle)
        for (left, top), inward, stain in zip(corner, edge, density, strict=True):
            window = (slice(top, top + WINDOW), slice(left, left + WINDOW))
            inside = inward > 0
            taken = labels[window] > 0
            if (inside & taken).sum() > MAX_SHARED * inside.sum():
                continue
            if canvas.tissue[window][inside].min() < 0.02:
                continue
            kinds.append(kind)
            labels[window][inside & ~taken] = len(kinds)
            cover = np.clip(inward / 1.6 + 0.5, 0, 1)
            chromatin = stain + wanted.look.clumps * speckle[window]
            lower = canvas.haematoxylin[window]
            lower += cover * (np.maximum(chromatin, 0.2) + 0.3 * lower - lower)
            canvas.eosin[window] *= 1 - 0.35 * cover
            # A narrow pale seam sets the nucleus off from what surrounds it.
            seam = np.exp(-(((inward + 2.5) / 1.5) ** 2)) * ~taken
            canvas.eosin[window] *= 1 - 0.30 * seam
    return labels, kinds


def _palisade(rng: np.random.Generator, gland: Gland) -> NDArray[np.float64]:
    """Return (x, y, angle) of nuclei standing side by side at the base of a gland's lining."""
    turn = np.linspace(0, 2 * math.pi, 720)
    outline = gland.outline(turn)
    step = np.hypot(*np.diff(outline, axis=0).T)
    length = np.concatenate([[0], np.cumsum(step)])
    layers = []
    for depth, spacing, share in ((20, 21.0, 0.96), (44, 26.0, 0.16)):
        along = np.arange(rng.uniform(0, spacing), length[-1] - spacing / 2, spacing)
        along = along + rng.normal(0, 1.6, along.shape)
        along = along[rng.random(along.shape) < share]
        x, y = (np.interp(along, length, outline[:, axis]) for axis in (0, 1))
        ahead = np.mod(along + 4, length[-1])
        angle = np.arctan2(
            np.interp(ahead, length, outline[:, 1]) - y, np.interp(ahead, length, outline[:, 0]) - x
        )
        # The outline runs clockwise on the screen: inward is a quarter turn to its right.
        inward = angle + math.pi / 2
        inset = depth + rng.normal(0, 3.0, along.shape)
        tilt = inward + rng.normal(0, 0.16, along.shape)
        layers.append(np.stack([x + inset * np.cos(inward), y + inset * np.sin(inward), tilt], 1))
    return np.concatenate(layers)


def _in_stroma(canvas: Canvas, points: NDArray[np.float64], margin: float) -> NDArray[np.bool_]:
    """Tell which points (N, 2) lie in the section and outside the glands."""
    height, width = canvas.eosin.shape
    x, y = np.floor(points).astype(int).T
    known = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    x, y = np.clip(x, 0, width - 1), np.clip(y, 0, height - 1)
    found = known & (canvas.depth[y, x] < -margin) & (canvas.tissue[y, x] > 0.03)
    return np.asarray(found, np.bool_)


def _along_fibres(canvas: Canvas, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the direction of the fibres at each point (N, 2)."""
    height, width = canvas.flow.shape
    x, y = points.T
    step = 6.0

    def flow(dx: float, dy: float) -> NDArray[np.float64]:
        place = (np.clip(y + dy, 0, height - 1), np.clip(x + dx, 0, width - 1))
        return np.asarray(ndimage.map_coordinates(canvas.flow, place, order=1), np.float64)

    across = np.arctan2(flow(0, step) - flow(0, -step), flow(step, 0) - flow(-step, 0))
    return across + math.pi / 2


def _shapes(
    rng: np.random.Generator,
    look: Look,
    centre: NDArray[np.float64],
    angle: NDArray[np.float64],
) -> tuple[Field, Field]:
    """Return each nucleus' window as distance inward from its outline, and as stain (N, W, W)."""
    count = len(centre)
    column = (count, 1, 1)
    x = np.arange(WINDOW, dtype=np.float32)[None, None, :] + 0.5 - centre[:, 0].reshape(column)
    y = np.arange(WINDOW, dtype=np.float32)[None, :, None] + 0.5 - centre[:, 1].reshape(column)
    x, y = x.astype(np.float32), y.astype(np.float32)
    cos, sin = (part(angle).astype(np.float32).reshape(column) for part in (np.cos, np.sin))
    u, v = x * cos + y * sin, y * cos - x * sin
    length, breadth, body = (
        rng.uniform(*bounds, column).astype(np.float32)
        for bounds in (look.length, look.breadth, look.body)
    )
    turn = np.arctan2(v / breadth, u / length)
    wave = np.ones_like(turn)
    for waves in (1, 2, 3):
        height = rng.normal(0, look.wave, column).astype(np.float32)
        phase = rng.uniform(0, 2 * math.pi, column).astype(np.float32)
        wave += height * np.cos(waves * turn + phase)
    relative = np.hypot(u / length, v / breadth) / wave
    inward = (1 - relative) * breadth
    stain = body + look.rim * np.exp(-(((inward - 1.2) / 1.5) ** 2))
    for _ in range(look.nucleoli):
        du = rng.uniform(-0.55, 0.55, column).astype(np.float32) * length
        dv = rng.uniform(-0.45, 0.45, column).astype(np.float32) * breadth
        strength = rng.uniform(0, 0.55, column).astype(np.float32)
        stain += strength * np.exp(-((u - du) ** 2 + (v - dv) ** 2) / 5.0)
    return inward.astype(np.float32), stain.astype(np.float32)
