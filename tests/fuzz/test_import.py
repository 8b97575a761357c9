"""Damaged graphs, weights and data files: they are imported or read, or refused in one line."""

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from faults.damaged_files import FORMATS, damage
from fuzz.commands import check_end, run_command
from fuzz.examples import fuzz
from fuzz.test_run_directory import replace_header
from fuzz.workspace import Workspace
from helpers import TINY_FLAGS
from hypothesis import example, given
from hypothesis import strategies as st

onnx = pytest.importorskip("onnx", reason="onnx is not installed")

pytestmark = pytest.mark.slow

OPERATORS = ("LSTM", "GRU", "RNN", "Identity", "Transpose", "Gemm", "MatMul", "Loop", "Relu", "Gather", "\x1b[2J", "")
TEXTS = ("", "x", "[/b]", "\x1b]0;title\x07", "n" * 5000, "../../../etc/passwd", "/dev/zero", "pairs.tsv", "forward")
NUMBERS = (0, 1, -1, 2, 7, 1 << 20, 1 << 31, -(1 << 63), (1 << 63) - 1)


def change_graph(model: Any, chance: random.Random) -> None:
    """Change one part of a graph: a node, an attribute, a constant, an input, a name or the metadata."""
    graph = model.graph
    names = [name for node in graph.node for name in (*node.input, *node.output)] + [c.name for c in graph.initializer]
    match chance.randrange(9):
        case 0:
            chance.choice(graph.node).op_type = chance.choice(OPERATORS)
        case 1:
            node = chance.choice(graph.node)
            names_of_node = chance.choice([node.input, node.output])
            if names_of_node:
                names_of_node[chance.randrange(len(names_of_node))] = chance.choice([*names, *TEXTS])
        case 2:
            node = chance.choice(graph.node)
            if node.attribute:
                set_attribute(chance.choice(node.attribute), chance)
        case 3:
            set_constant(chance.choice(graph.initializer), chance)
        case 4:
            value = chance.choice([*graph.input, *graph.output])
            dimensions = value.type.tensor_type.shape.dim
            if dimensions and chance.random() < 0.5:
                chance.choice(dimensions).dim_value = chance.choice(NUMBERS)
            else:
                value.name = chance.choice(TEXTS)
        case 5:
            if model.metadata_props:
                entry = chance.choice(model.metadata_props)
                entry.value = chance.choice([*TEXTS, "null", "[1]", '["\\ud800"]', "[" * 5000, json.dumps(["a"] * 3)])
        case 6:
            nodes = list(graph.node)
            chance.shuffle(nodes)
            del graph.node[:]
            graph.node.extend(nodes)
        case 7:
            graph.node.append(chance.choice(graph.node))
        case _:
            model.opset_import[0].version = chance.choice(NUMBERS)


def set_attribute(attribute: Any, chance: random.Random) -> None:
    """Give an attribute another value, of its type or of another one."""
    kinds = onnx.AttributeProto
    attribute.type = chance.choice([attribute.type, kinds.INT, kinds.STRING, kinds.INTS, kinds.FLOAT, kinds.GRAPH])
    attribute.i = chance.choice(NUMBERS)
    attribute.f = chance.choice((0.0, float("nan"), 1e38))
    attribute.s = chance.choice(TEXTS).encode()
    attribute.ints.extend(chance.choices(NUMBERS, k=chance.randrange(3)))
    attribute.strings.extend(text.encode() for text in chance.choices(TEXTS, k=chance.randrange(3)))


def set_constant(constant: Any, chance: random.Random) -> None:
    """Give a constant another shape, type or place, or cut off its data."""
    match chance.randrange(4):
        case 0:
            constant.dims[:] = chance.choices(NUMBERS, k=chance.randrange(4))
        case 1:
            constant.data_type = chance.choice([0, 1, 6, 7, 8, 10, 11, 16, 99])
        case 2:
            constant.raw_data = constant.raw_data[: chance.randrange(len(constant.raw_data) + 1)]
        case _:
            constant.data_location = onnx.TensorProto.EXTERNAL
            for key in ("location", "offset", "length"):
                entry = constant.external_data.add()
                entry.key, entry.value = key, chance.choice([*TEXTS, *map(str, NUMBERS)])


def change_file(path: Path, how: Sequence[str], chance: random.Random) -> None:
    """Damage the bytes of a file, or change its content so that it can still be parsed."""
    if "content" in how and path.suffix == ".onnx":
        model = onnx.load_model(path, load_external_data=False)
        for word in how:
            if word == "content":
                change_graph(model, chance)
        path.write_bytes(model.SerializeToString())
    elif "content" in how:
        replace_header(path, chance)
    if "bytes" in how:
        path.write_bytes(damage(path.read_bytes(), chance))


ways = st.lists(st.sampled_from(("content", "content", "content", "bytes")), min_size=1, max_size=3)
NAMES = ("--symbols", "symbols.txt", "--labels", "labels.txt")
OPTIONS: dict[str, tuple[tuple[str, ...], ...]] = {
    "model.onnx": ((), (), ("--task", "label")),
    "torch.onnx": (("--task", "label"), ("--task", "label", *NAMES), ("--task", "classify", *NAMES), ()),
    "weights.safetensors": (
        ("--task", "label"),
        ("--task", "label", *NAMES),
        ("--task", "next"),
        ("--task", "next_row"),
    ),
}
"""The files that are damaged, and options with which most of them are imported if they are whole."""
ODD_NAMES = (("--symbols", "model.onnx"), ("--labels", "/dev/zero"), ("--symbols", "device"), ("--labels", "pipe"))
cases = st.sampled_from([(file, flags) for file, choices in OPTIONS.items() for flags in choices])
odd_names = st.integers(0, 9).flatmap(lambda chance: st.just(()) if chance else st.sampled_from(ODD_NAMES))


@fuzz(40)
@given(case=cases, how=ways, names=odd_names, seed=st.integers(0, 10**6))
def test_a_damaged_model(
    workspace: Workspace, case: tuple[str, tuple[str, ...]], how: list[str], names: tuple[str, ...], seed: int
) -> None:
    workspace.restore()
    file, flags = case
    change_file(workspace.folder / file, how, random.Random(seed))
    ended = run_command(workspace.folder, workspace.results, ("import", file, "--out", "new", *flags, *names))
    check_end(ended)
    assert not ended.interrupted
    assert workspace.changed() <= {file}
    assert (workspace.folder / "new").exists() == (ended.status == 0)
    if ended.status == 0:
        for command in (("predict", "new", "ab"), ("explain", "new", "ab"), ("export", "new", "new.onnx")):
            check_end(run_command(workspace.folder, workspace.results, command))


@fuzz(40)
@given(kind=st.sampled_from(sorted(FORMATS)), seed=st.integers(0, 10**6), command=st.sampled_from(("train", "encode")),
       chosen=st.booleans())  # fmt: skip
@example("classes", 0, "train", True)
def test_a_damaged_data_file(workspace: Workspace, kind: str, seed: int, command: str, chosen: bool) -> None:
    workspace.restore()
    _, name, how = FORMATS[kind]
    path = workspace.folder / name
    path.write_bytes(damage(path.read_bytes(), random.Random(seed)))
    flags = [word for key in ("format", "task", "level", "input", "target") if (value := getattr(how, key))
             for word in (f"--{key}", value)]  # fmt: skip
    more = (*(flags if chosen else ()), *(TINY_FLAGS if command == "train" else ()))
    ended = run_command(workspace.folder, workspace.results, (command, name, "--out", "new", *more))
    check_end(ended)
    assert not ended.interrupted
    assert workspace.changed() <= {name}
    if ended.status == 0 and command == "train":
        check_end(run_command(workspace.folder, workspace.results, ("evaluate", "new", name)))
