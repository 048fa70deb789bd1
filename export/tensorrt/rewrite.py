"""A bundle's graphs as TensorRT's parser takes them: one tile size, no RoIAlign, short TopK.

Every change keeps the numbers, and :func:`agreement` shows it: the graph before and after run
on the same inputs in ONNX Runtime.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper, shape_inference

from nuhtc.export.tensorrt.roi_align import NodeWriter, UnsupportedNode, read_crop, rewrite

TOPK_LIMIT = 3840
"""The longest list that TensorRT's TopK gives."""

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Prepared:
    """A graph for the parser."""

    model: onnx.ModelProto
    exact_side: float
    """side of a region, in network-input pixels, up to which RoIAlign takes all its samples"""


def prepare(
    model: onnx.ModelProto,
    shapes: Mapping[str, Sequence[int | str]],
    counts: Mapping[str, int],
    samples: int,
) -> Prepared:
    """Rewrite a graph; the one given is left as it is.

    Parameters
    ----------
    model
        As exported.
    shapes
        For each input its sides: numbers for fixed ones, names for others.
    counts
        For each TopK node's second input, how many it asks for with these shapes.
    samples
        Most RoIAlign samples per bin side where their number adapts to the region.

    Raises
    ------
    UnsupportedNode
        A node has a form that no rewriting is known for; says which.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    for value in graph.input:
        del value.type.tensor_type.shape.dim[:]
        for side in shapes[value.name]:
            dim = value.type.tensor_type.shape.dim.add()
            if isinstance(side, int):
                dim.dim_value = side
            else:
                dim.dim_param = side
    # What was inferred for any tile size would contradict what follows for this one.
    del graph.value_info[:]
    for value in graph.output:
        del value.type.tensor_type.shape.dim[:]
        value.type.tensor_type.ClearField("shape")
    _fold_stored_weights(graph)
    _cast_first(graph)
    result = shape_inference.infer_shapes(result, data_prop=True)
    graph = result.graph
    known = {value.name: value for value in (*graph.input, *graph.value_info, *graph.output)}
    nodes: list[Any] = []
    exact_side = float("inf")
    for node in graph.node:
        if node.op_type == "RoiAlign":
            crop = read_crop(node, _map_shape(node, known), samples)
            kind = known[node.input[0]].type.tensor_type.elem_type
            writer = rewrite(node, crop, kind, result.opset_import[0].version)
            exact_side = min(exact_side, crop.exact_side)
        elif node.op_type == "TopK":
            kind = known[node.input[0]].type.tensor_type.elem_type
            writer = _short_topk(node, counts[node.input[1]], kind)
        else:
            nodes.append(node)
            continue
        nodes.extend(writer.nodes)
        graph.initializer.extend(writer.constants)
    del graph.node[:]
    graph.node.extend(nodes)
    del graph.value_info[:]
    _drop_unused(graph)
    onnx.checker.check_model(result)
    return Prepared(result, exact_side)


def topk_inputs(model: onnx.ModelProto) -> list[str]:
    """Return the names of the values that say how many each TopK gives."""
    return sorted({node.input[1] for node in model.graph.node if node.op_type == "TopK"})


def run(model: onnx.ModelProto, inputs: Mapping[str, NDArray[Any]], also: Iterable[str]) -> Arrays:
    """Return a graph's outputs, and other integer values ``also``, by ONNX Runtime on the CPU."""
    whole = onnx.ModelProto()
    whole.CopyFrom(model)
    constants = {tensor.name: tensor for tensor in whole.graph.initializer}
    found: Arrays = {}
    for name in also:
        if name in constants:
            found[name] = numpy_helper.to_array(constants[name])
        else:
            whole.graph.output.append(helper.make_tensor_value_info(name, TensorProto.INT64, None))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        whole.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    names = [output.name for output in session.get_outputs()]
    found.update(zip(names, session.run(names, dict(inputs)), strict=True))
    return found


def agreement(before: Mapping[str, NDArray[Any]], after: Mapping[str, NDArray[Any]]) -> float:
    """Return the largest difference of any output, in standard deviations of that output."""
    worst = 0.0
    for name, given in before.items():
        found = after[name]
        if given.shape != found.shape or not np.isfinite(found).all():
            return float("inf")
        if given.size:
            expected = given.astype(np.float64)
            gap = float(np.abs(expected - found).max())
            worst = max(worst, gap / max(float(expected.std()), 1e-6))
    return worst


def as_declared(model: onnx.ModelProto, values: Mapping[str, NDArray[Any]]) -> Arrays:
    """Return a graph's inputs, out of ``values`` by name, in the types that it declares."""
    return {
        value.name: values[value.name].astype(
            helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        )
        for value in model.graph.input
    }


def load(path: Path) -> onnx.ModelProto:
    """Read a graph."""
    return onnx.load(path)


def _map_shape(node: Any, known: Mapping[str, Any]) -> tuple[int, int, int]:
    value = known.get(node.input[0])
    sides = [] if value is None else list(value.type.tensor_type.shape.dim)
    if len(sides) != 4 or not all(side.dim_value > 0 for side in sides[1:]):
        raise UnsupportedNode(f"RoiAlign {node.name}: the size of its map is not known")
    channels, height, width = (int(side.dim_value) for side in sides[1:])
    return channels, height, width


def _short_topk(node: Any, count: int, kind: int) -> NodeWriter:
    """Split TopK into rounds of at most TOPK_LIMIT, each without what those before found."""
    w = NodeWriter(f"{node.name or node.output[0]}.rounds")
    attributes = {item.name: helper.get_attribute_value(item) for item in node.attribute}
    if not attributes.get("largest", 1) or not attributes.get("sorted", 1):
        raise UnsupportedNode(f"TopK {node.name}: the smallest, or in no order")
    axis = int(attributes.get("axis", -1))
    rounds = [min(TOPK_LIMIT, count - start) for start in range(0, count, TOPK_LIMIT)]
    values, places, rest = [], [], node.input[0]
    dtype = np.float16 if kind == TensorProto.FLOAT16 else np.float32
    for index, length in enumerate(rounds):
        last = index == len(rounds) - 1
        value = node.output[0] if len(rounds) == 1 else f"{w.prefix}.values{index}"
        place = node.output[1] if len(rounds) == 1 else f"{w.prefix}.places{index}"
        w.nodes.append(
            helper.make_node(
                "TopK",
                [rest, w.constant([length], np.int64)],
                [value, place],
                f"{w.prefix}.{index}",
                axis=axis,
            )
        )
        values.append(value)
        places.append(place)
        if not last:
            lowest = w.constant([np.finfo(dtype).min], dtype)
            nothing = w.add("Add", w.add("Mul", value, w.constant([0], dtype)), lowest)
            rest = w.add("ScatterElements", rest, place, nothing, axis=axis)
    if len(rounds) > 1:
        w.add("Concat", *values, output=node.output[0], axis=axis)
        w.add("Concat", *places, output=node.output[1], axis=axis)
    return w


def _fold_stored_weights(graph: Any) -> None:
    """Turn weights stored as float16 into the float32 ones that the arithmetic uses."""
    constants = {tensor.name: tensor for tensor in graph.initializer}
    kept = []
    for node in graph.node:
        source = constants.get(node.input[0]) if node.op_type == "Cast" else None
        if source is None:
            kept.append(node)
            continue
        kind = helper.tensor_dtype_to_np_dtype(node.attribute[0].i)
        array = numpy_helper.to_array(source).astype(kind)
        graph.initializer.append(numpy_helper.from_array(array, node.output[0]))
    del graph.node[:]
    graph.node.extend(kept)


def _cast_first(graph: Any) -> None:
    """Let a cast take uint8 inputs: TensorRT has no other operator for them."""
    for value in graph.input:
        if value.type.tensor_type.elem_type != TensorProto.UINT8:
            continue
        name = f"{value.name}.float"
        for node in graph.node:
            for index, source in enumerate(node.input):
                if source == value.name:
                    node.input[index] = name
        cast = helper.make_node("Cast", [value.name], [name], f"{name}.cast", to=TensorProto.FLOAT)
        graph.node.insert(0, cast)


def _drop_unused(graph: Any) -> None:
    """Remove nodes and constants that no output needs any more."""
    needed = {value.name for value in graph.output}
    kept = []
    for node in reversed(graph.node):
        if needed & set(node.output):
            kept.append(node)
            needed.update(node.input)
    del graph.node[:]
    graph.node.extend(reversed(kept))
    constants = [tensor for tensor in graph.initializer if tensor.name in needed]
    del graph.initializer[:]
    graph.initializer.extend(constants)
