r"""Float16 arithmetic: a graph whose heavy layers compute in half precision.

::

    float32 --Cast--> [Conv Relu Conv Add MatMul ...] --Cast--> float32

Layers with weights (convolutions and matrix products) become float16, and so does what merely
carries their results on (activations, sums, reshapes). Everything else stays in float32 as it
was: pictures and their normalisation, normalisations of features, softmax, similarities, box
arithmetic, RoIAlign with its coordinates; and every last layer, whose results are boxes, scores
or logits, which costs little and keeps their full range. The graph's inputs and outputs keep
their types, so a float16 graph takes the place of a float32 one.
"""

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from nuhtc.export.graphs.layers import Values, fold_reshapes, last_layers, read_values
from nuhtc.runtime.ground.errors import BundleError

CARRIERS = frozenset(
    {
        "Add",
        "AveragePool",
        "Clip",
        "Concat",
        "DepthToSpace",
        "Expand",
        "Flatten",
        "Gather",
        "Gelu",
        "Identity",
        "LeakyRelu",
        "MaxPool",
        "Mul",
        "Pad",
        "Relu",
        "Reshape",
        "Resize",
        "Slice",
        "SpaceToDepth",
        "Split",
        "Squeeze",
        "Transpose",
        "Unsqueeze",
    }
)
"""Operators that stay in float16 where all they take is."""

BOUNDED = frozenset({"Softmax"})
"""Computed in float32, but their results, 0 to 1, may enter a float16 product."""

HALF_MAX = float(np.finfo(np.float16).max)


def to_half(model: Any) -> Any:
    """Return a copy of a float32 graph whose heavy layers compute in float16.

    Parameters
    ----------
    model
        An ``onnx.ModelProto`` of standard operators, without subgraphs.

    Raises
    ------
    BundleError
        A weight is too large for float16.
    """
    model = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    graph = model.graph
    fold_reshapes(graph)
    known = read_values(graph)
    last = last_layers(graph, known)
    half: set[str] = set()
    halves = []
    for node in graph.node:
        if _is_half(node, known, half, last):
            halves.append(node)
            half.update(o for o in node.output if known.is_float(o))
    _rewrite(model, known, halves, half)
    onnx.checker.check_model(model, full_check=True)
    return model


def _float_inputs(node: Any, known: Values) -> list[str]:
    """Return the inputs of a node that share its element type."""
    # Resize's scales and region of interest are float32 whatever the picture is.
    names = node.input[:1] if node.op_type == "Resize" else node.input
    return [name for name in names if known.is_float(name)]


def _is_half(node: Any, known: Values, half: set[str], last: set[str]) -> bool:
    if known.has_weights(node):
        return node.output[0] not in last
    values = [name for name in _float_inputs(node, known) if name not in known.constants]
    if not values:
        return False
    if node.op_type == "MatMul":
        return any(name in half for name in values) and all(
            name in half or _is_bounded(name, known) for name in values
        )
    return node.op_type in CARRIERS and all(name in half for name in values)


def _is_bounded(name: str, known: Values) -> bool:
    maker = known.makers.get(name)
    return maker is not None and maker.op_type in BOUNDED


def _rewrite(model: Any, known: Values, halves: list[Any], half: set[str]) -> None:
    """Cast at the borders, and store constants in the type they are used in."""
    graph = model.graph
    chosen = {id(node) for node in halves}
    outputs = {value.name for value in graph.output}
    nodes: list[Any] = []
    cast: dict[tuple[str, int], str] = {}
    constants: dict[str, Any] = {}

    def as_kind(name: str, kind: int) -> str:
        """The name of a value in the type wanted, cast once where it has the other."""
        if kind == TensorProto.FLOAT16 and name in known.constants:
            constants.setdefault(name, _half_constant(known.constants[name], f"{name}.float16"))
            return f"{name}.float16"
        has = TensorProto.FLOAT16 if name in half else TensorProto.FLOAT
        if has == kind:
            return inner(name)
        key = name, kind
        if key not in cast:
            suffix = "float16" if kind == TensorProto.FLOAT16 else "float32"
            cast[key] = f"{name}.{suffix}"
            nodes.append(
                helper.make_node(
                    "Cast", [inner(name)], [cast[key]], name=f"{cast[key]}.cast", to=kind
                )
            )
        return cast[key]

    def inner(name: str) -> str:
        """A half value that is also an output of the graph goes by another name inside."""
        return f"{name}.half" if name in half and name in outputs else name

    for node in graph.node:
        kind = TensorProto.FLOAT16 if id(node) in chosen else TensorProto.FLOAT
        wanted = set(_float_inputs(node, known))
        inputs = [as_kind(n, kind) if n in wanted else n for n in node.input]
        del node.input[:]
        node.input.extend(inputs)
        results = [inner(name) for name in node.output]
        for name, result in zip(list(node.output), results, strict=True):
            if result != name:
                cast[name, TensorProto.FLOAT] = name
        was = list(node.output)
        del node.output[:]
        node.output.extend(results)
        nodes.append(node)
        nodes += [
            helper.make_node("Cast", [r], [n], name=f"{n}.cast", to=TensorProto.FLOAT)
            for n, r in zip(was, results, strict=True)
            if r != n
        ]
    used = {name for node in nodes for name in node.input} | outputs
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    _replace(graph.node, [n for n in nodes if any(name in used for name in n.output)])
    _replace(graph.initializer, [*kept, *constants.values()])
    infos = [v for v in graph.value_info if not (v.name in half and v.name in outputs)]
    for value in infos:
        if value.name in half:
            value.type.tensor_type.elem_type = TensorProto.FLOAT16
    _replace(graph.value_info, infos)


def _replace(field: Any, values: list[Any]) -> None:
    values = list(values)
    del field[:]
    field.extend(values)


def _half_constant(tensor: Any, name: str) -> Any:
    array = numpy_helper.to_array(tensor)
    # Bounds such as the largest float stand for "none": the largest half does as well.
    largest = float(np.abs(array).max(initial=0.0))
    if array.size > 1 and largest > HALF_MAX:
        raise BundleError(
            f"{tensor.name}: holds {largest:g}, too large for float16; export without --fp16"
        )
    clipped = array.clip(-HALF_MAX, HALF_MAX) if np.isfinite(array).all() else array
    return numpy_helper.from_array(clipped.astype(np.float16), name)
