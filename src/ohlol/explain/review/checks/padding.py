"""Checks of sequences of different lengths: padding that is read, lengths that are not sorted."""

import ast
import re
from typing import Any

from ohlol.explain.review.check import Places, check
from ohlol.explain.review.checks.axes import with_argument
from ohlol.explain.review.names import argument, dotted
from ohlol.explain.review.program import Program
from ohlol.explain.review.values import Value

LENGTHS = re.compile(r"len|mask|valid", re.IGNORECASE)
FOLLOWS_LENGTHS = (
    "pack_padded_sequence",
    "pack_sequence",
    "gather",
    "masked_fill",
    "masked_select",
    "where",
    "take_along_dim",
)


@check(
    "padding-not-packed",
    "The batch is padded, and the layer reads the padding as if it were part of the sequences: the final state of a "
    "short one is that after its padding.",
)
def padding_not_packed(program: Program) -> Places:
    """A padded batch whose final state is used, in a program that neither packs nor masks."""
    if not (_pads(program) and not program.mentions(*FOLLOWS_LENGTHS)):
        return
    for call in program.calls:
        layer = program.value(call.func)
        x = program.value(call.args[0]) if call.args else None
        if layer is None or not layer.is_recurrent or (x is not None and x.units & {0, 1}):
            continue  # a single step or a single sequence has no padding
        final = [n for n in program.nodes if _is_final_state(program, n, call)]
        if final and not any(_by_length(program, layer, n) for n in ast.walk(program.function_around(call))):
            name = ast.unparse(call.args[0]) if call.args else "x"
            first = ", batch_first=True" if layer.batch_first else ""
            packed = f"pack_padded_sequence({name}, lengths{first}, enforce_sorted=False)"
            yield call, program.replace(call.args[0], packed) if call.args else packed


def _pads(program: Program) -> bool:
    """Whether sequences are padded: by pad_sequence, a padding index, or zeros added up to a longest length."""
    if program.mentions("pad_sequence", "pad_sequences"):
        return True
    return any(
        isinstance(node, ast.BinOp)
        and isinstance(node.op, ast.Mult)
        and isinstance(node.left, ast.List)
        and len(node.left.elts) == 1
        and isinstance(node.right, ast.BinOp)
        and isinstance(node.right.op, ast.Sub)
        and "len(" in ast.unparse(node.right.right)
        for node in program.nodes
    )


def _is_final_state(program: Program, node: ast.AST, call: ast.Call) -> bool:
    value = program.value(node)
    if value is None or value.origin is not call or not isinstance(getattr(node, "ctx", None), ast.Load):
        return False
    parent = program.parents[node]
    if isinstance(node, ast.Subscript):
        return value.name == "last"
    return value.name == "h_n" and not (isinstance(parent, ast.Tuple | ast.Return))


def _by_length(program: Program, layer: Value, node: ast.AST) -> bool:
    """Whether an index of what a layer returned, or a product, depends on lengths or on a mask."""
    if isinstance(node, ast.Subscript):
        value = program.value(node.value)
        return (
            value is not None
            and value.layer == layer
            and any(LENGTHS.search(dotted(part)) for part in ast.walk(node.slice))
        )
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        return any("mask" in dotted(part).lower() for part in ast.walk(node))
    return False


@check(
    "unsorted-lengths",
    "pack_padded_sequence expects the longest sequence first and raises an error otherwise. With "
    "`enforce_sorted=False` it sorts, and restores the order of the results.",
)
def unsorted_lengths(program: Program) -> Places:
    """Packing without `enforce_sorted=False` in a program that sorts nothing, unless its data come from elsewhere."""
    if program.mentions("sort", "sorted", "argsort", "topk"):
        return
    if any(word.arg is not None and word.arg.startswith("sort") for call in program.calls for word in call.keywords):
        return  # a data loader that sorts
    if not program.has_data:
        return
    for call in program.calls_of("pack_padded_sequence", "pack_sequence"):
        is_padded = program.callee(call).endswith("padded_sequence")
        given = argument(call, 3 if is_padded else 1, "enforce_sorted")
        if given is None and any(word.arg is None for word in call.keywords):
            continue
        if is_padded and _are_descending(program, argument(call, 1, "lengths")):
            continue
        if given is None or (isinstance(given, ast.Constant) and given.value is True):
            if given is None:
                instead = with_argument(call, "enforce_sorted=False")
            else:
                instead = ast.unparse(call).replace("enforce_sorted=True", "enforce_sorted=False")
            yield call, program.replace(call, instead)


def _are_descending(program: Program, lengths: ast.expr | None) -> bool:
    """Whether lengths are written in the program, the longest first."""
    value = program.value(lengths)
    made = value.origin if value is not None else None
    if isinstance(made, ast.Call) and program.callee(made) in ("torch.tensor", "torch.LongTensor") and made.args:
        value = program.value(made.args[0])
    parts = value.parts if value is not None and value.kind == "tuple" else ()
    numbers: list[Any] = [part.constant if part is not None else None for part in parts]
    return bool(numbers) and all(type(n) is int for n in numbers) and numbers == sorted(numbers, reverse=True)


@check(
    "pack-batch-first",
    "The layer has `batch_first=True` and the packing does not: it reads the batch of x as time.",
)
def pack_batch_first(program: Program) -> Places:
    """Packing without batch_first for a layer with it."""
    firsts = {v.batch_first for v in map(program.value, program.nodes) if v is not None and v.is_recurrent}
    if firsts != {True}:
        return
    for call in program.calls_of("pack_padded_sequence"):
        x = program.value(call.args[0]) if call.args else None
        is_moved = x is not None and x.axes is not None and x.axes[0] == "T"
        if (
            argument(call, 2, "batch_first") is None
            and not is_moved
            and not program.mentions("transpose", "permute", "t")
        ):
            padding = list(program.calls_of("pad_sequence"))
            if all(argument(pad, 1, "batch_first") is not None for pad in padding):
                yield call, program.replace(call, with_argument(call, "batch_first=True"))
