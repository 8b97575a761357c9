"""Sequences of unequal lengths in one batch: padded, packed, and run with and without packing.

Nothing comes from a table: letters are looked up through the tensors that `pack_padded_sequence` returns, and every
number is that of a layer that was run.

Shapes: B sequences, T steps of the longest, S steps of all, I input size, H hidden size, L layers, D directions.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from ohlol import cells
from ohlol.cells import CellSpec
from ohlol.explain.claims import Equality, Mistake, TensorShape, attempt, compare, largest_difference
from ohlol.utils.errors import InputError
from ohlol.utils.rendering import to_html
from ohlol.utils.translation import translate

MAX_SEQUENCES, MAX_LENGTH = 7, 16
"""The largest batch and the longest sequence, so that a picture fits on a terminal."""
PADDING = "."
"""What stands for a step of padding in a picture."""
MAX_SHOWN = 2
"""Numbers of a state that are reported."""

Picture = tuple[tuple[str, ...], ...]
"""A tensor without its features: rows of names such as "b3", the third step of sequence b, or `PADDING`."""


@dataclass(frozen=True)
class PackedStep:
    """One time step of the loop over a packed batch.

    It reads `data[first:last]`; `steps` are the names of these rows, `alive` the sequences whose state it computes, and
    `ended` those whose last step it is.
    """

    t: int
    first: int
    last: int
    steps: tuple[str, ...]
    alive: tuple[str, ...]
    ended: tuple[str, ...]


@dataclass(frozen=True)
class End:
    """The step where the top layer's state of a sequence is complete in one direction, which h_n then has."""

    step: str
    direction: str
    equality: Equality


@dataclass(frozen=True)
class FinalState:
    """The state of the top layer that h_n has for a sequence in one direction, with and without packing.

    `output_difference` is the largest difference of the output at the sequence's own steps in this direction.
    """

    sequence: str
    length: int
    direction: str
    packed: tuple[float, ...]
    unpacked: tuple[float, ...]
    difference: float
    output_difference: float


@dataclass(frozen=True)
class PackedShapes:
    """What packing makes of a batch, and what a layer computes with it and without it."""

    kind: str
    module: str
    sizes: dict[str, int]
    uses_batch_first: bool
    lengths: tuple[int, ...]
    names: tuple[str, ...]
    tensors: tuple[TensorShape, ...]
    padded: Picture
    data: tuple[str, ...]
    batch_sizes: tuple[int, ...]
    sorted_indices: tuple[int, ...] | None
    unsorted_indices: tuple[int, ...] | None
    steps: tuple[PackedStep, ...]
    loop: tuple[Equality, ...]
    ends: tuple[End, ...]
    finals: tuple[FinalState, ...]
    wrong_batch_first: Mistake | None
    wrong_order: Mistake | None

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON data: dicts, lists, strings, numbers, booleans and null."""
        return json.loads(json.dumps(asdict(self)))

    def _repr_html_(self) -> str:
        return to_html(self)


def check_lengths(lengths: Sequence[int]) -> None:
    """Check that a picture of these lengths is possible.

    Raises:
        InputError: no length, too many or too long ones, or one below 1.
    """
    if not 1 <= len(lengths) <= MAX_SEQUENCES:
        raise InputError(
            "`lengths` has {count} lengths; the pictures show 1 to {max_sequences} sequences",
            count=len(lengths),
            max_sequences=MAX_SEQUENCES,
        )
    for length in lengths:
        if not 1 <= length <= MAX_LENGTH:
            raise InputError(
                "`lengths` has {length}; a length is 1 to {max_length}, so that the pictures fit",
                length=length,
                max_length=MAX_LENGTH,
            )


def describe_packing(kind: str, spec: CellSpec, layer: torch.nn.RNNBase, lengths: Sequence[int]) -> PackedShapes:
    """Pack random sequences and run a layer over them, in the current random state.

    Args:
        kind: the name of the layer's kind, for the report.
        spec: the cell of the layer.
        layer: a layer in float64 without dropout.
        lengths: as in `check_lengths`.
    """
    B, T, batch_first = len(lengths), max(lengths), layer.batch_first
    D = 2 if layer.bidirectional else 1
    names = tuple(chr(ord("a") + b) for b in range(B))
    is_sorted = list(lengths) == sorted(lengths, reverse=True)
    sequences = [torch.randn(length, layer.input_size, dtype=torch.float64) for length in lengths]
    x = torch.nn.utils.rnn.pad_sequence(sequences, batch_first=batch_first)

    def pack(tensor: Tensor, **options: Any) -> PackedSequence:
        options = {"batch_first": batch_first, "enforce_sorted": is_sorted, **options}
        return pack_padded_sequence(tensor, torch.tensor(lengths), **options)

    packed = pack(x)
    output, state = layer(packed)
    padded_output, _ = pad_packed_sequence(output, batch_first=batch_first)
    unpacked_output, unpacked_state = layer(x)
    h_n, unpacked_h_n = (cast("Tensor", s if isinstance(s, Tensor) else s[0]) for s in (state, unpacked_state))
    by_loop, by_loop_h_n = _run_loop(spec, layer, packed)

    marks = torch.full((T, B), -1)
    for b, length in enumerate(lengths):
        marks[:length, b] = torch.arange(length) * B + b
    marks = marks.T if batch_first else marks
    data = tuple(_name(int(mark), names) for mark in pack(marks).data)
    order = range(B) if packed.sorted_indices is None else packed.sorted_indices.tolist()
    outer = "(B, T" if batch_first else "(T, B"
    tensors = (
        TensorShape("input", tuple(x.shape), f"{outer}, I)"),
        TensorShape("packed.data", tuple(packed.data.shape), "(S, I)"),
        TensorShape("packed.batch_sizes", tuple(packed.batch_sizes.shape), "(T,)"),
        TensorShape("output.data", tuple(output.data.shape), "(S, D*H)"),
        TensorShape("pad_packed_sequence(output)[0]", tuple(padded_output.shape), f"{outer}, D*H)"),
        TensorShape("h_n", tuple(h_n.shape), "(L*D, B, H)"),
    )
    loop = (
        compare(
            translate("output.data == the loop"), output.data, by_loop, translate("layer by layer, by the equations")
        ),
        compare(
            translate("h_n == the states after the loop"),
            h_n,
            by_loop_h_n[:, _inverse(order)],
            translate("in the order of the input"),
        ),
    )
    taken = "(T, B, I)" if batch_first else "(B, T, I)"
    wrong_batch_first = attempt(
        f"pack_padded_sequence(x, lengths, batch_first={not batch_first})",
        lambda: pack(x, batch_first=not batch_first).data,
        translate(
            "x is {outer}, I), and batch_first={value} takes {taken}", outer=outer, value=not batch_first, taken=taken
        ),
    )
    wrong_order = attempt(
        f"pack_padded_sequence(x, {list(lengths)})",
        lambda: pack(x, enforce_sorted=True).data,
        translate("pass enforce_sorted=False, or sort the sequences by length"),
    )
    return PackedShapes(
        kind=kind,
        module=type(layer).__name__,
        sizes={"B": B, "T": T, "I": layer.input_size, "H": layer.hidden_size, "L": layer.num_layers, "D": D}
        | {"S": sum(lengths)},
        uses_batch_first=batch_first,
        lengths=tuple(lengths),
        names=names,
        tensors=tensors,
        padded=tuple(tuple(_name(mark, names) for mark in row) for row in marks.tolist()),
        data=data,
        batch_sizes=tuple(packed.batch_sizes.tolist()),
        sorted_indices=_indices(packed.sorted_indices),
        unsorted_indices=_indices(packed.unsorted_indices),
        steps=_steps(data, packed.batch_sizes.tolist(), [names[b] for b in order]),
        loop=loop,
        ends=tuple(_ends(padded_output, h_n, lengths, names, batch_first=batch_first, D=D)),
        finals=_finals(lengths, names, (h_n, unpacked_h_n), (padded_output, unpacked_output), layer),
        wrong_batch_first=None if B == T == 1 else wrong_batch_first,
        wrong_order=None if is_sorted else wrong_order,
    )


def _name(mark: int, names: Sequence[str]) -> str:
    """The name of a step by its place, T x B, or `PADDING` for -1."""
    return PADDING if mark < 0 else f"{names[mark % len(names)]}{mark // len(names) + 1}"


def _indices(indices: Tensor | None) -> tuple[int, ...] | None:
    return None if indices is None else tuple(indices.tolist())


def _inverse(order: Sequence[int]) -> list[int]:
    return sorted(range(len(order)), key=lambda k: order[k])


def _steps(data: Sequence[str], batch_sizes: Sequence[int], order: Sequence[str]) -> tuple[PackedStep, ...]:
    steps: list[PackedStep] = []
    first = 0
    for t, (size, following) in enumerate(zip(batch_sizes, [*batch_sizes[1:], 0], strict=True)):
        last = first + size
        alive, ended = tuple(order[:size]), tuple(order[following:size])
        steps.append(PackedStep(t, first, last, tuple(data[first:last]), alive, ended))
        first = last
    return tuple(steps)


def _run_loop(spec: CellSpec, layer: torch.nn.RNNBase, packed: PackedSequence) -> tuple[Tensor, Tensor]:
    """Compute output.data (S, D*H) and h_n (L*D, B, H), sorted by length, by the equations of the cell alone."""
    assert spec.step is not None
    x, batch_sizes, h_n = packed.data, packed.batch_sizes.tolist(), list[Tensor]()
    B = batch_sizes[0]
    rows = x.split(batch_sizes)
    for k in range(layer.num_layers):
        outputs: list[Tensor] = []
        for suffix in (f"_l{k}", f"_l{k}_reverse")[: 2 if layer.bidirectional else 1]:
            weights = cells.Weights.of(layer, suffix)
            state = tuple(x.new_zeros(B, layer.hidden_size) for _ in spec.states)
            times = range(len(batch_sizes))
            h: dict[int, Tensor] = {}
            for t in reversed(times) if suffix.endswith("_reverse") else times:
                n = batch_sizes[t]  # only the first n sequences have a step t; the states of the others stay
                new = spec.step(rows[t], state=tuple(s[:n] for s in state), weights=weights)
                state = tuple(torch.cat([s_new, s[n:]]) for s_new, s in zip(new, state, strict=True))
                h[t] = new[0]
            outputs.append(torch.cat([h[t] for t in times]))
            h_n.append(state[0])
        rows = torch.cat(outputs, dim=1).split(batch_sizes)
    return torch.cat(rows), torch.stack(h_n)


def _ends(
    output: Tensor, h_n: Tensor, lengths: Sequence[int], names: Sequence[str], *, batch_first: bool, D: int
) -> list[End]:
    """Compare h_n of the top layer with the padded output, a sequence and a direction at a time."""
    H, ends = h_n.shape[-1], list[End]()
    for b, length in enumerate(lengths):
        places = [(length - 1, "forward", "" if D == 1 else f", :{H}"), (0, "backward", f", {H}:")]
        for d, (t, direction, features) in enumerate(places[:D]):
            index = f"{b}, {t}" if batch_first else f"{t}, {b}"
            at = (output[b, t] if batch_first else output[t, b])[d * H : (d + 1) * H]
            step = _name(t * len(names) + b, names)
            claim = f"output[{index}{features}] == h_n[{d - D}, {b}]"
            ends.append(
                End(
                    step,
                    direction,
                    compare(
                        claim,
                        at,
                        h_n[d - D, b],
                        translate(
                            "forward ends at {step}" if direction == "forward" else "backward ends at {step}", step=step
                        ),
                    ),
                )
            )
    return ends


def _finals(
    lengths: Sequence[int],
    names: Sequence[str],
    h_n: tuple[Tensor, Tensor],
    outputs: tuple[Tensor, Tensor],
    layer: torch.nn.RNNBase,
) -> tuple[FinalState, ...]:
    H, finals = layer.hidden_size, list[FinalState]()
    directions = ("forward", "backward")[: 2 if layer.bidirectional else 1]
    packed, unpacked = (output if layer.batch_first else output.transpose(0, 1) for output in outputs)
    for b, length in enumerate(lengths):
        for d, direction in enumerate(directions):
            with_packing, without = (state[d - len(directions), b] for state in h_n)
            part = slice(d * H, (d + 1) * H)
            own = (output[b, :length, part] for output in (packed, unpacked))
            finals.append(
                FinalState(
                    sequence=names[b],
                    length=length,
                    direction=direction,
                    packed=tuple(with_packing[:MAX_SHOWN].tolist()),
                    unpacked=tuple(without[:MAX_SHOWN].tolist()),
                    difference=largest_difference(with_packing, without),
                    output_difference=largest_difference(*own),
                )
            )
    return tuple(finals)
