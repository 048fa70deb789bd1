"""What a graph's layers are, and which come last."""

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from onnx import TensorProto, numpy_helper

LAYERS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
"""Operators that may have weights and then hold nearly all of a network's arithmetic."""


@dataclass(frozen=True)
class Values:
    """Who makes and who takes each value of a graph."""

    kinds: dict[str, int]
    """element type of every value and constant"""
    constants: dict[str, Any]
    """tensors by name"""
    makers: dict[str, Any]
    """the node that makes each value"""
    takers: dict[str, list[Any]]
    """the nodes that take each value"""

    def is_float(self, name: str) -> bool:
        """Tell whether a value or constant is float32."""
        return self.kinds.get(name) == TensorProto.FLOAT

    def has_weights(self, node: Any) -> bool:
        """Tell whether a node is a layer with weights of its own."""
        return node.op_type in LAYERS and any(name in self.constants for name in node.input[:2])


def read_values(graph: Any) -> Values:
    """Look through an ``onnx.GraphProto`` whose shapes have been inferred."""
    kinds = {tensor.name: tensor.data_type for tensor in graph.initializer}
    for group in (graph.input, graph.output, graph.value_info):
        kinds.update((value.name, value.type.tensor_type.elem_type) for value in group)
    constants = {tensor.name: tensor for tensor in graph.initializer}
    takers: dict[str, list[Any]] = defaultdict(list)
    makers = {}
    for node in graph.node:
        if node.op_type == "Constant":
            constants[node.output[0]] = node.attribute[0].t
        for name in node.input:
            takers[name].append(node)
        makers.update(dict.fromkeys(node.output, node))
    return Values(kinds, constants, makers, takers)


def fold_reshapes(graph: Any) -> None:
    """Store weights in the shape they are used in, where a node only reshapes them.

    The exporter leaves such nodes where weights are large; a layer behind one would seem to
    have no weights of its own.
    """
    values = read_values(graph)
    for node in list(graph.node):
        if node.op_type != "Reshape" or not all(name in values.constants for name in node.input):
            continue
        weights, shape = (numpy_helper.to_array(values.constants[name]) for name in node.input)
        if (shape == 0).any():
            continue  # stands for "as before", or for nothing: left to the engine
        graph.node.remove(node)
        graph.initializer.append(
            numpy_helper.from_array(weights.reshape(shape.tolist()), node.output[0])
        )
        (name,) = node.input[:1]
        if len(values.takers[name]) == 1:
            for tensor in [one for one in graph.initializer if one.name == name]:
                graph.initializer.remove(tensor)


def last_layers(graph: Any, values: Values) -> set[str]:
    """Return the outputs of the layers with weights that no other such layer needs through floats.

    They give boxes, scores and logits. Regions come from boxes, so what a RoIAlign crops
    depends on them; but they say where to look, not what is there, and do not count.
    """
    leads_on: set[str] = set()
    for node in reversed(graph.node):
        if values.has_weights(node) or any(name in leads_on for name in node.output):
            content = node.input[:1] if node.op_type == "RoiAlign" else node.input
            leads_on.update(name for name in content if values.is_float(name))
    return {
        node.output[0]
        for node in graph.node
        if values.has_weights(node) and node.output[0] not in leads_on
    }
