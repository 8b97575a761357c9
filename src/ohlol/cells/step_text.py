"""A step graph as text, so that an operator can have it as an argument and an exported program can hold it.

The text is a JSON object of what the vector machine computes; what torch computes for all steps is not in it.
"""

import json
from typing import Any

from ohlol.cells.step_lowering import Leaf, StepGraph
from ohlol.cells.step_trace import StepTrace
from ohlol.cells.step_values import Builder, Value, reachable


def write_step(graph: StepGraph) -> str:
    """The text of a step graph.

    The fields are `values`, each [operation, operands, width, attributes] with operands by their position; `inputs`,
    `vectors` and `matrices`, each leaf [width, rows, transposed]; `states`, their widths; `out` and `next_states`, the
    pieces of the output and of each state by their position.
    """
    pieces = [*graph.out, *(piece for state in graph.next_states for piece in state)]
    values = sorted(reachable(pieces), key=lambda value: value.order)
    position = {value: k for k, value in enumerate(values)}

    def positions(values: tuple[Value, ...]) -> list[int]:
        return [position[value] for value in values]

    text: dict[str, Any] = {
        "values": [[v.op, positions(v.args), v.width, v.attributes] for v in values],
        "states": graph.state_widths,
        "out": positions(graph.out),
        "next_states": [positions(state) for state in graph.next_states],
    }
    for name in ("inputs", "vectors", "matrices"):
        leaves: list[Leaf] = getattr(graph, name)
        text[name] = [[leaf.width, leaf.rows, leaf.transposed] for leaf in leaves]
    return json.dumps(text, separators=(",", ":"))


def read_step(text: str) -> StepGraph:
    """The step graph of a text, without a trace and the operations of torch.

    Raises:
        ValueError: the text is not one of `write_step`.
    """
    try:
        fields = json.loads(text)
        builder = Builder()
        values: list[Value] = []
        for op, args, width, attributes in fields["values"]:
            values.append(builder.make(op, [values[k] for k in args], width, tuple(attributes)))

        def pieces(positions: list[int]) -> tuple[Value, ...]:
            return tuple(values[k] for k in positions)

        inputs, vectors, matrices = (
            [Leaf(0, *leaf) for leaf in fields[name]] for name in ("inputs", "vectors", "matrices")
        )
        return StepGraph(
            trace=StepTrace((), len(fields["states"]), [], {}, {}, {}, None),
            builder=builder,
            weight_operations=[],
            input_operations=[],
            inputs=inputs,
            vectors=vectors,
            matrices=matrices,
            state_widths=tuple(fields["states"]),
            out=pieces(fields["out"]),
            next_states=tuple(pieces(state) for state in fields["next_states"]),
            out_value=0,
        )
    except (KeyError, IndexError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(f"this is not the text of a step: {error!r}") from None
