"""Int8 graphs as TensorRT takes them: activations around zero, biases in float.

ONNX Runtime's activations are uint8 with a zero point, so that a range from 0 to 6 uses all 256
steps. TensorRT's integers are int8 and their zero is 0. The calibrated range stays; its larger
side decides the step, which is at most twice as wide. A range also stands for the activation that
quantisation left out (values below 0 became 0, those above 6 became 6), so values are clipped
to it first.
"""

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

LARGEST = 127


def symmetric(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy of an int8 graph whose integers TensorRT takes.

    Parameters
    ----------
    model
        With QuantizeLinear and DequantizeLinear of int8 weights, int32 biases and uint8
        activations, the latter with one scale each.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    added: dict[str, NDArray[Any]] = {}
    nodes: list[Any] = []
    for node in graph.node:
        if node.op_type not in {"QuantizeLinear", "DequantizeLinear"}:
            nodes.append(node)
            continue
        source, scale, zero = (constants.get(name) for name in node.input)
        assert scale is not None and zero is not None
        if zero.dtype == np.int32:
            assert source is not None
            added[node.output[0]] = (source * scale).astype(np.float32)
            continue
        if zero.dtype == np.uint8:
            low, high = -float(zero) * float(scale), (255 - float(zero)) * float(scale)
            step, centre = f"{node.input[1]}.{node.input[2]}.step", "int8.zero"
            added[step] = np.float32(max(-low, high) / LARGEST)  # type: ignore[assignment]
            added[centre] = np.array(0, np.int8)
            if node.op_type == "QuantizeLinear":
                clipped = f"{node.output[0]}.clipped"
                sides = [f"{clipped}.low", f"{clipped}.high"]
                added.update(zip(sides, np.array([low, high], np.float32), strict=True))
                nodes.append(
                    helper.make_node("Clip", [node.input[0], *sides], [clipped], f"{clipped}.clip")
                )
                node.input[0] = clipped
            node.input[1], node.input[2] = step, centre
        nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
    used = {name for node in nodes for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    graph.initializer.extend(numpy_helper.from_array(np.asarray(v), k) for k, v in added.items())
    del graph.value_info[:]  # says uint8 of values that now are int8
    onnx.checker.check_model(result, full_check=True)
    return result
