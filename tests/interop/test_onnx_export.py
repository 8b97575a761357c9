"""Exported graphs: onnxruntime gives what ours gives for every cell, task, direction and depth; wrong ones are seen."""

import itertools
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import TINY, names_file, sine_file, text_file, upper_pairs
from parity.tolerances import RELATIVE
from untrained import KINDS, untrained

import ohlol
from ohlol.cli import main
from ohlol.data import sequences
from ohlol.evaluation.evaluate import evaluate
from ohlol.utils.errors import InputError

onnx = pytest.importorskip("onnx", reason="onnx is not installed")
ort = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

from ohlol.interop import onnx_export, onnx_verify  # noqa: E402 - they need both


def every() -> list[Any]:
    """Every task, cell, direction and some depths, the rarer encoders spread among them."""
    found = []
    for kind, cell, layers, both in itertools.product(KINDS, ("rnn", "gru", "lstm"), (1, 2, 3), (False, True)):
        more: dict[str, Any] = {"char_rnn_size": 4} if kind == "words" and layers < 3 else {}
        more |= {"bigram_size": 3} if kind == "label" and both else {}
        more |= {"embedding_size": 0} if kind in ("label", "classify") and layers == 1 and not both else {}
        more |= {"embedding_size": 11, "tie_weights": True} if kind == "next" and layers == 3 and not both else {}
        found.append(pytest.param(kind, {"cell": cell, "num_layers": layers, "bidirectional": both, **more}))
    found += [pytest.param(kind, {"cell": cell, "loop": True}) for kind in KINDS for cell in ("rnn", "gru", "lstm")]
    return [*found, pytest.param("classify", {"cell": "gru", "head": "identity", "hidden_size": 2})]


@pytest.mark.parametrize(("kind", "settings"), every())
def test_onnxruntime_gives_the_same(kind: str, settings: dict[str, Any]) -> None:
    model = untrained(kind, **settings)
    graph = onnx_export.graph(model)
    found = onnx_verify.verify(model, graph)
    assert found.right, found
    assert RELATIVE[torch.float32] == onnx_verify.TOLERANCE
    assert found.compared >= 10
    file = onnx.load_model_from_string(graph)
    ops = [node.op_type for node in file.graph.node]
    name = settings["cell"].upper()
    assert ops.count(name) == settings.get("num_layers", 1) + (bool(settings.get("char_rnn_size")) and name == "LSTM")
    assert not {"Loop", "Scan", "If"} & set(ops)
    if settings.get("bidirectional"):
        with pytest.raises(InputError, match=r"no single step: `step` needs one .* `bidirectional=False`"):
            onnx_export.graph(model, step=True)
    else:
        assert onnx_verify.verify(model, onnx_export.graph(model, step=True)).right


def axes(value: Any) -> list[Any]:
    return [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]


def test_the_signature() -> None:
    model = untrained("label", cell="lstm", num_layers=2)
    file = onnx.load_model_from_string(onnx_export.graph(model))
    assert {i.name: axes(i) for i in file.graph.input} == {
        "ids": ["batch", "time"],
        "lengths": ["batch"],
        "h_0": [2, "batch", 11],
        "c_0": [2, "batch", 11],
    }
    assert {o.name: axes(o) for o in file.graph.output} == {
        "logits": ["batch", "time", 8],
        "h_n": [2, "batch", 11],
        "c_n": [2, "batch", 11],
    }
    assert [(o.domain, o.version) for o in file.opset_import] == [("", 17)]
    step = onnx.load_model_from_string(onnx_export.graph(model, step=True))
    assert [i.name for i in step.graph.input] == ["ids", "h_0", "c_0"]
    assert axes(step.graph.output[0]) == ["batch", 8]
    assert onnx_export.graph(model) == onnx_export.graph(
        untrained("label", cell="lstm", num_layers=2)
    )  # no clock, no chance


def told(graph: bytes) -> dict[str, str]:
    return {p.key: p.value for p in onnx.load_model_from_string(graph).metadata_props}


def test_metadata_hold_what_a_stranger_needs() -> None:
    model = untrained("label")
    about = told(onnx_export.graph(model))
    assert (about["task"], about["opset"], about["graph"]) == ("label", "17", "sequence")
    assert json.loads(about["symbols"]) == ["<unk>", *"abcdefgé"]
    assert json.loads(about["labels"]) == list("abcdefgé")
    assert about["identity"] == model.identity
    assert told(onnx_export.graph(model, step=True))["graph"] == "step"
    forecast = told(onnx_export.graph(untrained("forecast")))
    assert json.loads(forecast["symbols"]) == ["height", "slope", "day"]
    assert json.loads(forecast["labels"]) == ["height", "slope"]


def strangers(graph: bytes, texts: list[list[str]]) -> list[list[str]]:
    """The labels of some texts by nothing but the file and onnxruntime, padded with what must not matter."""
    session, about = ort.InferenceSession(graph), told(graph)
    vocabulary = json.loads(about["vocabulary"])
    T, noise = max(map(len, texts)), np.random.default_rng(0)

    def ids(symbols: list[str], wanted: list[str]) -> list[int]:
        return [symbols.index(s) if s in symbols else 0 for s in wanted]

    def filled(rows: list[Any], shape: tuple[int, ...], most: int) -> Any:
        out = noise.integers(0, most, (len(texts), T, *shape))
        for b, row in enumerate(rows):
            for t, value in enumerate(row):
                out[b, t] = value
        return out

    symbols, names = json.loads(about["symbols"]), {i.name for i in session.get_inputs()}
    feed: dict[str, Any] = {"ids": filled([ids(symbols, t) for t in texts], (), len(symbols))}
    feed["lengths"] = np.array([len(t) for t in texts])
    if "characters" in names:
        chars, C = vocabulary["chars"]["symbols"], max(len(w) for t in texts for w in t)
        spelled = [[ids(chars, list(w)) for w in t] for t in texts]
        feed["letters"] = filled([[len(w) for w in t] for t in texts], (), 3)
        rows = [[w + list(noise.integers(0, len(chars), C - len(w))) for w in t] for t in spelled]
        feed["characters"] = filled(rows, (C,), len(chars))
    if "pairs" in names:
        known = vocabulary["bigrams"]["symbols"]
        both = [[*zip(["\n", *t], t, strict=False), (t[-1], "\n")] for t in texts]
        found = [ids(known, [a + b for a, b in pairs]) for pairs in both]
        feed["pairs"] = filled([list(itertools.pairwise(f)) for f in found], (2,), len(known))
    for state in ("h_0", "c_0"):
        if state in names:
            shape = next(i.shape for i in session.get_inputs() if i.name == state)
            feed[state] = np.zeros((shape[0], len(texts), shape[2]), np.float32)
    scores, labels = session.run(["logits"], feed)[0], json.loads(about["labels"])
    if scores.ndim == 2:
        return [[labels[i]] for i in scores.argmax(axis=1)]
    return [[labels[i] for i in row[: len(t)].argmax(axis=1)] for row, t in zip(scores, texts, strict=True)]


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("label", {}),
        ("label", {"bidirectional": True, "bigram_size": 6}),
        ("words", {"char_rnn_size": 5, "bidirectional": True}),
        ("classify", {"cell": "gru", "bidirectional": True, "num_layers": 2}),
    ],
)
def test_a_stranger_gets_our_answers(kind: str, settings: dict[str, Any]) -> None:
    model = untrained(kind, seed=4, **settings)
    if kind == "words":
        texts = [["the", "cat", "unheard"], ["mat"], ["on", "a", "mat", "xyz", "sat"]]
    else:
        texts = [list("abcé"), list("z"), list("gfedzcba")]
    wanted = [prediction.labels for prediction in model.predict_many(texts)]
    assert strangers(onnx_export.graph(model), texts) == wanted


def spoil(graph: bytes, how: str) -> bytes:
    file = onnx.load_model_from_string(graph)
    held = {i.name: i for i in file.graph.initializer}
    for node in file.graph.node:
        if how == "reset before the product" and node.op_type == "GRU":
            node.attribute.remove(next(a for a in node.attribute if a.name == "linear_before_reset"))
        if how == "lengths not passed on" and node.op_type in ("LSTM", "GRU"):
            node.input[4] = ""
        if how == "state not passed in" and node.op_type in ("LSTM", "GRU"):
            node.input[5] = ""
    value = {"gates in torch's order": "layers.W0", "one number off": "layers.R0"}.get(how)
    if value:
        array = onnx.numpy_helper.to_array(held[value]).copy()
        if value == "layers.W0":
            array = array[:, np.r_[0:11, 22:33, 33:44, 11:22] if len(array[0]) == 44 else np.r_[11:22, 0:11, 22:33]]
        else:
            array[0, 3, 2] += 1e-3
        held[value].CopyFrom(onnx.numpy_helper.from_array(array, value))
    return file.SerializeToString()


WRONG = ["gates in torch's order", "one number off", "lengths not passed on", "state not passed in"]


@pytest.mark.parametrize(
    ("cell", "how"), [*itertools.product(("lstm", "gru"), WRONG), ("gru", "reset before the product")]
)
def test_a_wrong_graph_is_seen(cell: str, how: str) -> None:
    model = untrained("next", cell=cell)
    graph = onnx_export.graph(model)
    assert onnx_verify.verify(model, graph).right
    found = onnx_verify.verify(model, spoil(graph, how))
    assert not found.right
    assert found.largest > 3 * onnx_verify.TOLERANCE


def test_numbers_that_are_none_are_seen() -> None:
    model = untrained("next", cell="gru")
    graph = onnx_export.graph(model)
    with torch.no_grad():
        model.network.head.bias[2] = torch.nan
    assert not onnx_verify.verify(model, graph).right


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("export")


@pytest.mark.parametrize("kind", ["label", "next", "classify", "forecast"])
def test_scores_of_the_graph_are_those_of_the_model(kind: str, folder: Path) -> None:
    maker = {"label": upper_pairs, "next": text_file, "classify": names_file, "forecast": sine_file}[kind]
    path = maker(folder / f"{kind}.{'tsv' if kind == 'label' else 'txt' if kind == 'next' else 'csv'}")
    columns = {"input": "name", "target": "kind"} if kind == "classify" else {}
    model = ohlol.fit(path, **TINY, **columns)
    data = model.codec.encode(sequences.read(path, model.config.data))
    wrapped: Any = onnx_verify.Runtime(model, onnx_export.graph(model))
    assert evaluate(wrapped, model.codec, data).metrics() == pytest.approx(
        evaluate(model.network, model.codec, data).metrics(), rel=1e-4, abs=1e-6
    )


@pytest.mark.parametrize("kind", ["next", "words", "forecast"])
def test_quantized(kind: str) -> None:
    model = untrained(kind, cell="lstm", hidden_size=64, **({"char_rnn_size": 8} if kind == "words" else {}))
    graph = onnx_export.graph(model)
    small = onnx_verify.quantized(model, graph)
    assert len(small) < 0.6 * len(graph)
    assert "DynamicQuantizeLSTM" in {node.op_type for node in onnx.load_model_from_string(small).graph.node}
    off = onnx_verify.verify(model, small)
    assert onnx_verify.TOLERANCE < off.largest < 0.05
    assert onnx_verify.agreement(model, graph) == 1
    assert onnx_verify.agreement(model, small) > 0.9
    before, after = onnx_verify.compared(model, [graph, small], None)
    assert (before.size, after.size) == (len(graph), len(small))
    assert min(before.speed, after.speed) > 0
    assert told(graph).items() <= told(small).items()


def ran(*arguments: object) -> int:
    with pytest.raises(SystemExit) as end:
        main([str(a) for a in arguments])
    return int(end.value.code or 0)


@pytest.fixture(scope="module")
def runs(folder: Path) -> Path:
    """Runs named by their cell, of a task with one direction."""
    for cell in ("gru", "lstm"):
        ohlol.fit(upper_pairs(folder / "pairs.tsv"), out=folder / cell, cell=cell, bidirectional=False, **TINY)
    ohlol.fit(upper_pairs(folder / "pairs.tsv"), out=folder / "both", dev=folder / "pairs.tsv", **TINY)
    return folder


def test_command(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ran("export", runs / "gru", tmp_path / "m.onnx", "--step") == 0
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 10
    assert all(len(line) <= 80 or str(tmp_path) in line for line in said)
    assert said[0].startswith(f"{tmp_path / 'm.onnx'}: ")
    assert said[0].endswith(" bytes, opset 17")
    assert said[1].strip() == "reads ids (batch, time) int64, lengths (batch) int64, h_0 (1, batch, 6) float"
    assert "gives the same" in said[3]
    assert said[4].endswith("allowed 1e-05")
    assert said[6].strip() == "reads ids (batch) int64, h_0 (1, batch, 6) float"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.onnx", "m.step.onnx"]
    model = ohlol.load(runs / "gru")
    assert (tmp_path / "m.onnx").read_bytes() == onnx_export.graph(model)
    assert (tmp_path / "m.step.onnx").read_bytes() == onnx_export.graph(model, step=True)


def test_command_quantizes_and_scores(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ran("export", runs / "both", tmp_path / "m.onnx", "--quantize", "int8") == 0
    said = capsys.readouterr().out.splitlines()
    assert said[-1].strip() == f"scored on {runs / 'pairs.tsv'}"
    sizes = [line.split()[:3] for line in (said[-5], said[-3])]
    assert [s[0] for s in sizes] == ["float32", "int8"]
    assert int(sizes[1][1].replace(",", "")) == (tmp_path / "m.onnx").stat().st_size
    assert all("symbols/s" in line for line in (said[-5], said[-3]))
    assert all(line.strip().startswith("accuracy") for line in (said[-4], said[-2]))
    assert ran("export", runs / "lstm", tmp_path / "m.onnx", "--quantize", "int8") == 0
    assert "no data to score on (--data FILE)" in capsys.readouterr().out
    assert ran("export", runs / "lstm", tmp_path / "m.onnx", "--quantize", "int8", "--data", runs / "pairs.tsv") == 0
    assert "scored on" in capsys.readouterr().out


def test_nothing_is_written_where_the_runtime_differs(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = onnx_export.graph
    monkeypatch.setattr(onnx_export, "graph", lambda model, step=False: spoil(real(model, step=step), "one number off"))
    assert ran("export", runs / "lstm", tmp_path / "m.onnx", "--step") == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "and ohlol differ by " in error
    assert error.endswith("allowed is 1e-05: nothing was written\n")
    assert not list(tmp_path.iterdir())
    assert ran("export", runs / "lstm", tmp_path / "m.onnx", "--no-verify") == 0
    assert "gives the same" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gru", "m.onnx", "--quantize", "int8"], "has an 8-bit LSTM (DynamicQuantizeLSTM) and none of the GRU"),
        (["gru", "m.onnx", "--quantize", "int4"], "--quantize is 'int4'; it must be int8"),
        (["gru", "m.onnx", "--data", "x.tsv"], "--data is what --quantize int8 is scored on"),
        (["gru", "nowhere/m.onnx"], "its directory does not exist"),
        (["gru", "."], "is a directory"),
        (["both", "m.onnx", "--step"], "reads a sequence from both its ends, so it has no single step"),
        (["absent", "m.onnx"], "there is no such run directory"),
    ],
)
def test_mistakes_get_one_line(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert ran("export", runs / arguments[0], tmp_path / arguments[1], *arguments[2:]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert message in error
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("missing", "room"), [("onnx", "export"), ("onnxruntime", "runtime")])
def test_without_the_packages(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], missing: str, room: str
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, missing, None)
        patch.delitem(sys.modules, f"ohlol.{room}")
        patch.delattr(ohlol, room)
        assert ran("export", runs / "gru", tmp_path / "m.onnx") == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "pip install 'ohlol[onnx]'" in error


def test_what_is_too_large_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_export, "LARGEST", 1000)
    with pytest.raises(InputError, match="more than 1000 bytes"):
        onnx_export.graph(untrained("label"))
