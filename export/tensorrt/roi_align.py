"""RoIAlign in operators that TensorRT's parser takes.

TensorRT for RTX has no RoIAlign. Its samples are bilinear reads at computed places, which is
what GridSample does; the mean of a bin's samples is then a weighted sum::

    regions -> places of sample (s, t) in every bin -> GridSample -> times weight -> sum

The tiles of a batch are laid below one another, so that one GridSample serves the regions of
all of them. Places are clamped to their own tile, so no sample reads a neighbour.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

DEFAULT_SAMPLES = 4
"""Most samples per bin side where RoIAlign adapts their number to the region."""


class UnsupportedNode(ValueError):
    """A node that cannot be written in TensorRT's operators; says which and why."""


@dataclass(frozen=True)
class Crop:
    """What one RoiAlign node does."""

    channels: int
    height: int
    width: int
    """of the map, in cells"""
    bins: int
    """per side"""
    scale: float
    """cells per unit of the regions' coordinates"""
    samples: int
    """per bin side; the most of them where ``adaptive``"""
    adaptive: bool
    """whether a region takes as many as its bins have cells, up to ``samples``"""

    @property
    def exact_side(self) -> float:
        """Side in the regions' unit up to which no region wants more than ``samples``."""
        return self.samples * self.bins / self.scale if self.adaptive else float("inf")


def read_crop(node: Any, shape: tuple[int, int, int], samples: int) -> Crop:
    """Read a RoiAlign node.

    Parameters
    ----------
    node
        An ``onnx.NodeProto``.
    shape
        Channels, height and width of its map.
    samples
        Most samples per bin side where the node adapts their number.

    Raises
    ------
    UnsupportedNode
        The node averages or places its samples in another way.
    """
    given = {item.name: helper.get_attribute_value(item) for item in node.attribute}
    if given.get("mode", b"avg") != b"avg":
        raise UnsupportedNode(f"RoiAlign {node.name}: mode {given['mode'].decode()!r}")
    mode = given.get("coordinate_transformation_mode", b"half_pixel")
    if mode != b"half_pixel":
        raise UnsupportedNode(f"RoiAlign {node.name}: coordinates {mode.decode()!r}")
    bins = int(given.get("output_height", 1))
    if bins != int(given.get("output_width", 1)):
        raise UnsupportedNode(f"RoiAlign {node.name}: bins that are not a square")
    wanted = int(given.get("sampling_ratio", 0))
    adaptive = wanted == 0
    if adaptive:
        # A region within the tile never wants more than this.
        longest = max(shape[1], shape[2])
        wanted = min(samples, -(-longest // bins))
    return Crop(*shape, bins, float(given.get("spatial_scale", 1.0)), wanted, adaptive)


class NodeWriter:
    """Collects the nodes of one rewritten RoiAlign under names that no other node has."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, value: Any, dtype: type[np.generic] = np.float32) -> str:
        """Add a constant and return its name."""
        name = f"{self.prefix}.constant{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def add(self, kind: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """Add a node and return the name of its answer."""
        name = output or f"{self.prefix}.{len(self.nodes)}"
        self.nodes.append(
            helper.make_node(kind, list(inputs), [name], f"{name}.{kind}", **attributes)
        )
        return name


def rewrite(node: Any, crop: Crop, kind: int, opset: int) -> NodeWriter:
    """Return the nodes that stand for a RoiAlign node; the last gives its output.

    Parameters
    ----------
    node
        An ``onnx.NodeProto`` with inputs map (B, C, H, W), regions (R, 4) and tiles (R,).
    crop
        What it does.
    kind
        ``onnx.TensorProto`` type of map and output; arithmetic is float32.
    opset
        Of the graph.
    """
    picture, regions, tiles = node.input
    w = NodeWriter(f"{node.name or node.output[0]}.grid")
    if kind != TensorProto.FLOAT:
        picture = w.add("Cast", picture, to=TensorProto.FLOAT)
        regions = w.add("Cast", regions, to=TensorProto.FLOAT)
    # (B, C, H, W) to (1, C, B * H, W): the tiles below one another.
    below = w.add("Transpose", picture, perm=[1, 0, 2, 3])
    below = w.add("Reshape", below, w.constant([1, crop.channels, -1, crop.width], np.int64))
    batch = w.add("Cast", w.add("Shape", picture, start=0, end=1), to=TensorProto.FLOAT)
    rows = w.add("Mul", batch, w.constant([crop.height]))
    tile = w.add("Cast", tiles, to=TensorProto.FLOAT)
    first_row = w.add("Mul", tile, w.constant([crop.height]))
    first_row = w.add("Unsqueeze", first_row, w.constant([1], np.int64))
    x_axis, y_axis = _Axis(w, regions, crop, 0, crop.width), _Axis(w, regions, crop, 1, crop.height)
    across = [x_axis.sample(number) for number in range(crop.samples)]
    down = [y_axis.sample(number) for number in range(crop.samples)]
    columns = [_unit(w, place, w.constant([crop.width])) for place, _ in across]
    lines = [_unit(w, w.add("Add", place, first_row), rows) for place, _ in down]
    total = ""
    for line, (_, y) in zip(lines, down, strict=True):
        for column, (_, x) in zip(columns, across, strict=True):
            sample = w.add(
                "GridSample",
                below,
                _grid(w, column, line, crop.bins),
                align_corners=0,
                # What opset 20 renamed.
                mode="linear" if opset >= 20 else "bilinear",
                padding_mode="border",
            )
            weight = _outer(w, "Mul", y, x)
            weight = w.add("Reshape", weight, w.constant([1, 1, -1, crop.bins], np.int64))
            part = w.add("Mul", sample, weight)
            total = w.add("Add", total, part) if total else part
    # (1, C, R * bins, bins) to (R, C, bins, bins).
    shape = w.constant([crop.channels, -1, crop.bins, crop.bins], np.int64)
    total = w.add("Reshape", total, shape)
    if kind != TensorProto.FLOAT:
        total = w.add("Transpose", total, perm=[1, 0, 2, 3])
        w.add("Cast", total, to=kind, output=node.output[0])
    else:
        w.add("Transpose", total, perm=[1, 0, 2, 3], output=node.output[0])
    return w


class _Axis:
    """Along one axis of the map: where the samples of each region's bins lie."""

    def __init__(self, w: NodeWriter, regions: str, crop: Crop, axis: int, cells: int) -> None:
        low, high = (
            w.add(
                "Sub",
                w.add(
                    "Mul",
                    w.add("Gather", regions, w.constant([column], np.int64), axis=1),
                    w.constant([crop.scale]),
                ),
                w.constant([0.5]),
            )
            for column in (axis, axis + 2)
        )
        self.w, self.crop, self.cells, self.low = w, crop, cells, low
        # Divided, not multiplied by 1 / bins, which may round a whole number of cells up.
        self.size = w.add("Div", w.add("Sub", high, low), w.constant([crop.bins]))
        self.count = self.divisor = ""
        if crop.adaptive:
            whole = w.add("Ceil", self.size)
            self.count = w.add("Clip", whole, w.constant(0.0), w.constant(float(crop.samples)))
            self.divisor = w.add("Max", self.count, w.constant([1.0]))

    def sample(self, number: int) -> tuple[str, str]:
        """Return the place and weight of sample ``number`` of each bin, (R, bins) each."""
        w, crop = self.w, self.crop
        if crop.adaptive:
            inner = w.add("Div", w.constant([number + 0.5]), self.divisor)
            offsets = w.add("Add", w.constant(np.arange(crop.bins)), inner)
            # 1 while number < count, which are whole numbers.
            left = w.add("Sub", self.count, w.constant([float(number)]))
            share = w.add("Clip", left, w.constant(0.0), w.constant(1.0))
            share = w.add("Div", share, self.divisor)
        else:
            offsets = w.constant(np.arange(crop.bins) + (number + 0.5) / crop.samples)
            share = w.constant([1 / crop.samples])
        place = w.add("Add", self.low, w.add("Mul", self.size, offsets))
        # A sample more than a cell outside the map counts as nothing.
        over = w.add("LessOrEqual", place, w.constant([float(self.cells)]))
        under = w.add("GreaterOrEqual", place, w.constant([-1.0]))
        inside = w.add("Cast", w.add("And", over, under), to=TensorProto.FLOAT)
        weight = w.add("Mul", inside, share)
        return w.add("Clip", place, w.constant(0.0), w.constant(float(self.cells - 1))), weight


def _unit(w: NodeWriter, place: str, cells: str) -> str:
    """Return cells as GridSample counts them: -1 and 1 are outer edges of the first and last."""
    doubled = w.add("Add", w.add("Mul", place, w.constant([2.0])), w.constant([1.0]))
    return w.add("Sub", w.add("Div", doubled, cells), w.constant([1.0]))


def _outer(w: NodeWriter, kind: str, down: str, across: str) -> str:
    """Return (R, bins, bins) of two (R, bins)."""
    down = w.add("Unsqueeze", down, w.constant([2], np.int64))
    return w.add(kind, down, w.add("Unsqueeze", across, w.constant([1], np.int64)))


def _grid(w: NodeWriter, column: str, line: str, bins: int) -> str:
    """Return the places (1, R * bins, bins, 2) of columns and lines (R, bins)."""
    zero = w.constant([0.0])
    x = _outer(w, "Add", w.add("Mul", line, zero), column)
    y = _outer(w, "Add", line, w.add("Mul", column, zero))
    last = w.constant([3], np.int64)
    pair = w.add("Concat", w.add("Unsqueeze", x, last), w.add("Unsqueeze", y, last), axis=3)
    return w.add("Reshape", pair, w.constant([1, -1, bins, 2], np.int64))
