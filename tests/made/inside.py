"""A graph of a bundle with inner values as outputs, found by the weights beside them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Arrays = dict[str, NDArray[Any]]


class Inside:
    """A graph to look into, with its weights as the bundle has them.

    Parameters
    ----------
    path
        An ONNX file of a bundle.
    """

    def __init__(self, path: Path) -> None:
        self.model = onnx.load(path)

    def users(self, name: str) -> list[Any]:
        """Return the nodes that take a value or a weight, in order."""
        found = [node for node in self.model.graph.node if name in node.input]
        assert found, f"nothing uses {name}"
        return found

    def maker(self, name: str) -> Any:
        """Return the node that makes a value."""
        (found,) = (node for node in self.model.graph.node if name in node.output)
        return found

    def addends(self, name: str) -> dict[str, str]:
        """Return the two values of a sum, by the kind of node that makes each."""
        node = self.maker(name)
        assert node.op_type == "Add"
        return {self.maker(one).op_type: one for one in node.input}

    def silence(self, weight: str) -> None:
        """Set a weight to zeros."""
        (stored,) = (
            one for one in self.model.graph.initializer if one.name in {weight, f"{weight}.float16"}
        )
        zeros = np.zeros_like(numpy_helper.to_array(stored))
        stored.CopyFrom(numpy_helper.from_array(zeros, stored.name))

    def run(self, inputs: Arrays, values: Mapping[str, str]) -> Arrays:
        """Return inner values of one run, by the names given to them."""
        model = onnx.ModelProto()
        model.CopyFrom(self.model)
        own = {output.name for output in model.graph.output}
        for name in sorted(set(values.values()) - own):
            model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), providers=["CPUExecutionProvider"]
        )
        answers = session.run(list(values.values()), inputs)
        return dict(zip(values, answers, strict=True))
