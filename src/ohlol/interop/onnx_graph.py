"""Build an ONNX graph node by node."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from onnx import helper, numpy_helper

Array = NDArray[Any]


class GraphBuilder:
    """Collects the nodes, initializers, inputs and outputs of a graph; names are unique."""

    def __init__(self, initializers: dict[str, Any] | None = None) -> None:
        self.nodes: list[Any] = []
        self.initializers: dict[str, Any] = {} if initializers is None else initializers
        self.inputs: list[Any] = []
        self.outputs: list[Any] = []

    def make_body(self) -> "GraphBuilder":
        """A builder of the body of a node of this graph, which has its initializers."""
        return GraphBuilder(self.initializers)

    def input(self, name: str, kind: int, shape: Sequence[int | str]) -> str:
        """Add an input and return its name."""
        self.inputs.append(helper.make_tensor_value_info(name, kind, shape))
        return name

    def output(self, name: str, kind: int, shape: Sequence[int | str], source: str) -> None:
        """Make a value an output."""
        self.nodes.append(helper.make_node("Identity", [source], [name], name=f"{name}.out"))
        self.outputs.append(helper.make_tensor_value_info(name, kind, shape))

    def constant(self, name: str, value: Array | torch.Tensor | list[int]) -> str:
        """Add an initializer, unless there is one of this name, and return its name."""
        if name not in self.initializers:
            array = value.numpy() if isinstance(value, torch.Tensor) else np.asarray(value)
            self.initializers[name] = numpy_helper.from_array(np.asarray(array, order="C"), name)
        return name

    def ints(self, *values: int) -> str:
        """Add integers as an initializer (N,) and return its name."""
        return self.constant("ints_" + "_".join(str(v).replace("-", "m") for v in values), list(values))

    def add(self, name: str, op: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        """Add a node and return the name of its output, or the names of its outputs."""
        names = [name] if outputs == 1 else [f"{name}.{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(op, list(inputs), names, name=f"{name}.{op}", **attributes))
        return names[0] if outputs == 1 else names
