"""Graphs changed in ways that a verification must detect."""

import numpy as np
import onnx


def read_metadata(graph: bytes) -> dict[str, str]:
    """The metadata of a graph."""
    return {p.key: p.value for p in onnx.load_model_from_string(graph).metadata_props}


def damage(graph: bytes, error: str) -> bytes:
    """A graph with an error."""
    file = onnx.load_model_from_string(graph)
    constants = {i.name: i for i in file.graph.initializer}
    for node in file.graph.node:
        if error == "reset before the product" and node.op_type == "GRU":
            node.attribute.remove(next(a for a in node.attribute if a.name == "linear_before_reset"))
        if error == "lengths not passed on" and node.op_type in ("LSTM", "GRU"):
            node.input[4] = ""
        if error == "state not passed in" and node.op_type in ("LSTM", "GRU"):
            node.input[5] = ""
    value = {"gates in torch's order": "layers.W0", "one number off": "layers.R0"}.get(error)
    if value:
        array = onnx.numpy_helper.to_array(constants[value]).copy()
        if value == "layers.W0":
            array = array[:, np.r_[0:11, 22:33, 33:44, 11:22] if len(array[0]) == 44 else np.r_[11:22, 0:11, 22:33]]
        else:
            array[0, 3, 2] += 1e-3
        constants[value].CopyFrom(onnx.numpy_helper.from_array(array, value))
    return file.SerializeToString()


ERRORS = ["gates in torch's order", "one number off", "lengths not passed on", "state not passed in"]
"""Errors for every cell."""
