"""Weights of plain torch models become runs: same answers as the model they came from; hostile files get one line."""

import json
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import LOOP, cell_settings
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from test_onnx_gates import OTHERS, cases
from untrained import KINDS as MODELS
from untrained import untrained

import ohlol
from ohlol.cells import CELLS as CELL_SPECS
from ohlol.cli import main
from ohlol.inference.trained_model import TrainedModel
from ohlol.interop import import_run, onnx_gates
from ohlol.utils.errors import InputError

onnx = pytest.importorskip("onnx", reason="onnx is not installed")

from ohlol.interop import onnx_export, onnx_reader, onnx_verify  # noqa: E402 - they need it

KINDS = {"rnn": torch.nn.RNN, "gru": torch.nn.GRU, "lstm": torch.nn.LSTM}


class Theirs(torch.nn.Module):
    """A model as one writes it by hand."""

    def __init__(self, kind: str, V: int = 7, K: int = 4, *, head: bool = True, embedded: bool = True, **more: Any):
        super().__init__()
        torch.manual_seed(6)
        self.emb = torch.nn.Embedding(V, 5) if embedded else None
        self.rnn = KINDS[kind](5, 6, batch_first=True, **more)
        D = 2 if more.get("bidirectional") else 1
        self.fc = torch.nn.Linear(6 * D, K) if head else torch.nn.Identity()
        self.last = False

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y, final = self.rnn(x if self.emb is None else self.emb(x))
        if self.last:
            h = final[0] if isinstance(final, tuple) else final
            y = torch.cat(list(h[-2:] if self.rnn.bidirectional else h[-1:]), dim=1)
        return self.fc(y)


SHAPES = [{}, {"num_layers": 2}, {"bidirectional": True}, {"num_layers": 3, "bidirectional": True}, {"bias": False}]


def onnx_file(model: torch.nn.Module, path: Path, example: torch.Tensor) -> Path:
    """As torch's own exporter writes it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(model.eval(), (example,), str(path), dynamo=False)
    return path


def answers(model: TrainedModel, ids: list[int]) -> torch.Tensor:
    """Scores (T, K) or (1, K) of a sequence given as ids."""
    from ohlol.models.inputs import Steps

    with torch.no_grad():
        return model.network(Steps(torch.tensor(ids), torch.ones(len(ids)).long()))[0]


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("form", ["safetensors", "onnx"])
def test_the_same_answers(kind: str, shape: dict[str, Any], form: str, tmp_path: Path) -> None:
    theirs = Theirs(kind, **shape)
    path = tmp_path / f"theirs.{form}"
    if form == "onnx":
        onnx_file(theirs, path, torch.zeros(2, 9, dtype=torch.long))
    else:
        save_file(theirs.state_dict(), path)
    model, found = import_run.read(path, task="label")
    assert found.startswith(f"embedding of 7 symbols, {kind} of ")
    ids = [3, 1, 0, 6, 2, 2]
    with torch.no_grad():
        wanted = theirs(torch.tensor([ids]))[0]
    torch.testing.assert_close(answers(model, ids), wanted, rtol=0, atol=1e-6)
    labels = [str(i) for i in wanted.argmax(dim=1).tolist()]
    assert model.predict([str(i) for i in ids]).labels == labels
    import_run.save(model, tmp_path / "run")
    loaded = ohlol.load(tmp_path / "run")
    assert loaded.identity == model.identity
    assert loaded.predict(" ".join(map(str, ids))).labels == labels
    assert "its weights were imported" in (tmp_path / "run" / "README.md").read_text()
    assert onnx_verify.verify(loaded, onnx_export.graph(loaded)).right


@pytest.mark.parametrize("form", ["safetensors", "onnx"])
@pytest.mark.parametrize("shape", [{}, {"bidirectional": True, "num_layers": 2}], ids=str)
def test_a_classifier(form: str, shape: dict[str, Any], tmp_path: Path) -> None:
    theirs = Theirs("lstm", **shape)
    theirs.last = True
    path = tmp_path / f"theirs.{form}"
    if form == "onnx":
        onnx_file(theirs, path, torch.zeros(2, 9, dtype=torch.long))
    else:
        save_file(theirs.state_dict(), path)
    (tmp_path / "labels.txt").write_text("a\nb\nc\nd\n")
    (tmp_path / "symbols.json").write_text(json.dumps(list("\n helo!")))
    model, _ = import_run.read(path, task="classify", symbols=tmp_path / "symbols.json", labels=tmp_path / "labels.txt")
    ids = [2, 3, 4, 4, 5]
    with torch.no_grad():
        wanted = theirs(torch.tensor([ids]))
    torch.testing.assert_close(answers(model, ids), wanted, rtol=0, atol=1e-6)
    assert model.config.data.level == "char"
    assert model.predict("hello").labels == ["abcd"[int(wanted.argmax())]]


def test_numbers_and_one_hot(tmp_path: Path) -> None:
    theirs = Theirs("gru", K=5, embedded=False)
    path = tmp_path / "theirs.safetensors"
    save_file(theirs.state_dict(), path)
    rows = torch.randn(1, 8, 5)
    with torch.no_grad():
        wanted = theirs(rows)[0]
    model, found = import_run.read(path, task="forecast")
    assert found == "gru of 1 x 6 from 5, a linear head of 5"
    assert model.codec.columns == ("x1", "x2", "x3", "x4", "x5") == model.codec.target_columns
    stream = model.stream()
    found_rows = torch.stack([torch.from_numpy(stream.step(row.tolist()).row) for row in rows[0]])
    torch.testing.assert_close(found_rows.float(), wanted, rtol=0, atol=1e-6)
    one_hot, _ = import_run.read(path, task="next")
    with torch.no_grad():
        wanted = theirs(torch.nn.functional.one_hot(torch.tensor([[4, 0, 1]]), 5).float())[0]
    torch.testing.assert_close(answers(one_hot, [4, 0, 1]), wanted, rtol=0, atol=1e-6)
    assert len(list(one_hot.generate("3", length=4))) == 4
    by_onnx, _ = import_run.read(onnx_file(theirs, tmp_path / "theirs.onnx", rows), task="next")
    assert by_onnx.identity == one_hot.identity


def test_a_cell_and_a_bare_layer(tmp_path: Path) -> None:
    cell = torch.nn.LSTMCell(4, 3)
    save_file(cell.state_dict(), tmp_path / "cell.safetensors")
    model, found = import_run.read(tmp_path / "cell.safetensors", task="label")
    assert found == "lstm of 1 x 3 from 4, no head"
    h, _ = cell(torch.nn.functional.one_hot(torch.tensor([2]), 4).float())
    torch.testing.assert_close(answers(model, [2]), h.detach(), rtol=0, atol=1e-6)
    layer = torch.nn.GRU(4, 3)
    by_onnx, _ = import_run.read(onnx_file(layer, tmp_path / "l.onnx", torch.zeros(5, 1, 4)), task="forecast")
    save_file({f"model.rnn.{n}": t.double() for n, t in layer.state_dict().items()}, tmp_path / "l.safetensors")
    assert import_run.read(tmp_path / "l.safetensors", task="forecast")[0].identity == by_onnx.identity


def test_a_head_without_bias_and_tied(tmp_path: Path) -> None:
    theirs = Theirs("gru")
    theirs.fc = torch.nn.Linear(6, 4, bias=False)
    save_file(theirs.state_dict(), tmp_path / "m.safetensors")
    wanted = theirs(torch.tensor([[1, 2]]))[0].detach()
    for path in (tmp_path / "m.safetensors", onnx_file(theirs, tmp_path / "m.onnx", torch.zeros(1, 9).long())):
        model, _ = import_run.read(path, task="label")
        torch.testing.assert_close(answers(model, [1, 2]), wanted, rtol=0, atol=1e-6)
    same = {"decoder.weight": torch.randn(7, 6), "embed.weight": torch.randn(7, 6)}
    layer = {f"rnn.{n}": t for n, t in torch.nn.GRU(6, 6).state_dict().items()}
    save_file({**same, **layer}, tmp_path / "n.safetensors")
    model, _ = import_run.read(tmp_path / "n.safetensors", task="next")
    assert torch.equal(model.network.head.weight, same["decoder.weight"])


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("cell", ["rnn", "rnn_relu", "gru", "lstm", "lstm in a loop"])
def test_a_graph_of_ours_comes_back_whole(kind: str, cell: str, tmp_path: Path) -> None:
    more: dict[str, Any] = {"char_rnn_size": 3} if kind == "words" else {}
    more |= {"embedding_size": 11, "tie_weights": True} if kind == "next" else {}
    both = kind == "label" and not cell.endswith(LOOP)
    more |= {"bigram_size": 3, "bidirectional": True, "num_layers": 2} if both else {}
    model = untrained(kind, **cell_settings(cell), **more)
    for step in (False,) if both else (False, True):
        path = tmp_path / "m.onnx"
        path.write_bytes(onnx_export.graph(model, step=step))
        again, found = import_run.read(path)
        assert again.identity == model.identity
        assert again.codec == model.codec
        assert found.startswith("a graph of ohlol ")


def test_graphs_of_ours_that_were_changed(tmp_path: Path) -> None:
    graph = onnx_export.graph(untrained("label", cell="lstm"))

    def changed(act: Any) -> Path:
        file = onnx.load_model_from_string(graph)
        act(file, {i.name: i for i in file.graph.initializer}, {p.key: p for p in file.metadata_props})
        (tmp_path / "m.onnx").write_bytes(file.SerializeToString())
        return tmp_path / "m.onnx"

    def bit(file: Any, held: Any, about: Any) -> None:
        held["head.bias"].raw_data = b"\0" * len(held["head.bias"].raw_data)

    def nan(file: Any, held: Any, about: Any) -> None:
        held["head.bias"].raw_data = b"\xff" * len(held["head.bias"].raw_data)

    def gone(file: Any, held: Any, about: Any) -> None:
        file.graph.initializer.remove(held["layers.R0"])

    def huge(file: Any, held: Any, about: Any) -> None:
        settings = json.loads(about["settings"].value)
        settings["model"]["hidden_size"] = 1 << 20
        about["settings"].value = json.dumps(settings)

    def deep(file: Any, held: Any, about: Any) -> None:
        about["vocabulary"].value = "[" * 100000

    def none(file: Any, held: Any, about: Any) -> None:
        file.metadata_props.remove(about["vocabulary"])

    for act, message in (
        (bit, "its weights are not those it was written with"),
        (nan, "head.bias holds values that are not finite"),
        (gone, "'layers.R0' is computed, not stored"),
        (huge, "its metadata ask for"),
        (deep, "its metadata are not those of a graph of ohlol"),
        (none, "its metadata are not those of a graph of ohlol"),
    ):
        with pytest.raises(InputError, match=message):
            import_run.read(changed(act))
    (tmp_path / "q.onnx").write_bytes(onnx_verify.quantized(untrained("label", cell="lstm"), graph))
    with pytest.raises(InputError, match=r"quantized|computed, not stored"):
        import_run.read(tmp_path / "q.onnx")
    (tmp_path / "m.onnx").write_bytes(graph)
    with pytest.raises(InputError, match="says itself what it is: leave out `task`"):
        import_run.read(tmp_path / "m.onnx", task="label")


def state(**changes: Any) -> dict[str, torch.Tensor]:
    held = dict(Theirs("lstm").state_dict())
    for name, value in changes.items():
        name = name.replace("__", ".")
        if value is None:
            del held[name]
        else:
            held[name] = value
    return held


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({}, {}, "weights do not say what they are for: give --task label, next or classify"),
        ({"emb__weight": None}, {}, "one-hot symbols or numbers: .*forecast for rows of 5 numbers"),
        ({}, {"task": "forecast"}, "has an embedding, so it reads symbols"),
        ({}, {"task": "next"}, "7 symbols and 4 scores; --task next gives a score to each symbol"),
        ({}, {"task": "tag"}, "give --task label, next or classify"),
        ({"norm__weight": torch.zeros(6)}, {"task": "label"}, "'norm.weight' is of no embedding, recurrent layer or"),
        ({"fc2__weight": torch.zeros(4, 4), "fc2__bias": torch.zeros(4)}, {"task": "label"}, "one linear head at most"),
        ({"emb2__weight": torch.zeros(7, 5)}, {"task": "label"}, "one embedding and one linear head at most"),
        ({"fc__weight": torch.zeros(4, 9)}, {"task": "label"}, r"linear layer is \(4, 9\); the layers end in 6"),
        ({"fc__bias": torch.zeros(3)}, {"task": "label"}, r"linear layer is \(4, 6\)"),
        ({"emb__weight": torch.zeros(7, 4)}, {"task": "label"}, r"the embedding is \(7, 4\); the first layer reads 5"),
        ({"rnn__weight_hh_l0": None}, {"task": "label"}, "layer 0 has bias_hh, bias_ih, weight_ih only"),
        ({"rnn__bias_hh_l0": None}, {"task": "label"}, "layer 0 has bias_ih, weight_hh, weight_ih only"),
        ({"rnn__weight_hh_l0": torch.zeros(12, 6)}, {"task": "label"}, "not those of one RNN, GRU or LSTM"),
        ({"rnn__weight_hh_l0": torch.zeros(24)}, {"task": "label"}, r"weight_hh of layer 0 is \(24,\)"),
        ({"rnn__bias_hh_l0": torch.zeros(23)}, {"task": "label"}, r"b_hh of layer 0 is \(23,\)"),
        ({"rnn__weight_ih_l2": torch.zeros(24, 6)}, {"task": "label"}, "some are missing"),
        ({"rnn__weight_hr_l0": torch.zeros(2, 6)}, {"task": "label"}, "proj_size, which is not read"),
        ({"b__weight_ih_l0": torch.zeros(24, 6)}, {"task": "label"}, "has 2 recurrent layers of their own, '"),
        ({"emb__weight": torch.full((7, 5), torch.nan)}, {"task": "label"}, "values that are no numbers"),
        ({"emb__weight": torch.zeros(7, 5).int()}, {"task": "label"}, "dtype torch.int32; a float is expected"),
    ],
)
def test_states_that_are_not_read(changes: Any, options: Any, message: str, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    save_file(state(**changes), path)
    with pytest.raises(InputError, match=message) as caught:
        import_run.read(path, **options)
    assert "\n" not in str(caught.value)


def test_names_that_do_not_fit(tmp_path: Path) -> None:
    path, names = tmp_path / "m.safetensors", tmp_path / "names.txt"
    save_file(state(), path)
    for text, message in (
        ("a\nb\n", "`symbols` has 2 names; .* has 7"),
        ("a\na\nb\nc\nd\ne\nf\n", "has a symbol twice"),
        ("a\n<unk>\nb\nc\nd\ne\nf\n", "it must be the first"),
        ("", "holds no names"),
        ("a\n\nb\n", "holds no names"),
    ):
        names.write_text(text)
        with pytest.raises(InputError, match=message):
            import_run.read(path, task="label", symbols=names)
    (tmp_path / "names.json").write_text("[" * 5000)
    with pytest.raises(InputError, match="cannot be read"):
        import_run.read(path, task="label", symbols=tmp_path / "names.json")
    with pytest.raises(InputError, match=r"nowhere.txt: cannot be read"):
        import_run.read(path, task="label", labels=tmp_path / "nowhere.txt")
    for name in ("m.pt", "m"):
        with pytest.raises(InputError, match=r"must end in \.onnx or \.safetensors; a pickle"):
            import_run.read(tmp_path / name, task="label")


def node(op: str, inputs: list[str], outputs: list[str], **attributes: Any) -> Any:
    return onnx.helper.make_node(op, inputs, outputs, **attributes)


def written(path: Path, nodes: list[Any], held: dict[str, Any]) -> Path:
    """A graph from "x" (T, B, 5) to "y", with these constants."""
    value = onnx.helper.make_tensor_value_info
    made = onnx.helper.make_graph(
        nodes, "g", [value("x", 1, ["T", "B", 5])], [value("y", 1, None)],
        [onnx.numpy_helper.from_array(np.asarray(a, np.float32), n) for n, a in held.items()],
    )  # fmt: skip
    path.write_bytes(onnx.helper.make_model(made).SerializeToString())
    return path


WRB = {"W": np.ones((1, 24, 5)), "R": np.ones((1, 24, 6)), "B": np.ones((1, 48)), "P": np.ones((1, 18))}
GRU = {"W": np.ones((1, 18, 5)), "R": np.ones((1, 18, 6)), "H": np.ones((6, 3)), "I": np.ones((3, 3))}
LSTM = node("LSTM", ["x", "W", "R", "B"], ["y"], hidden_size=6)
BEFORE = {"linear_before_reset": 1, "hidden_size": 6}


@pytest.mark.parametrize(
    ("nodes", "held", "message"),
    [
        ([node("LSTM", ["x", "W", "R", "B", "", "", "", "P"], ["y"])], WRB, "has peepholes: a plain layer of torch.nn"),
        ([node("LSTM", ["x", "W", "R"], ["y"], clip=1.0)], WRB, "clips its sums"),
        ([node("LSTM", ["x", "W", "R"], ["y"], input_forget=1)], WRB, "couples input and forget gate"),
        ([node("LSTM", ["x", "W", "R"], ["y"], direction="reverse")], WRB, "runs backwards only"),
        ([node("LSTM", ["x", "W", "R"], ["y"], activations=["Relu", "Tanh", "Tanh"])], WRB, "the activations Relu, T"),
        ([node("GRU", ["x", "W", "R"], ["y"])], GRU, "applies the reset gate before the matrix product"),
        ([node("RNN", ["x", "W", "R"], ["y"], activations=["Relu"])], WRB, "has the activations Relu"),
        ([node("LSTM", ["x", "W"], ["y"])], WRB, "lacks its weights"),
        ([node("LSTM", ["x", "W", "R", "W"], ["y"])], WRB, r"B is \(1, 24, 5\)"),
        ([node("LSTM", ["x", "P", "R"], ["y"])], WRB, r"W is \(1, 18\)"),
        ([node("Relu", ["W"], ["Q"]), node("LSTM", ["x", "Q", "R"], ["y"])], WRB, "'Q' is computed, not stored"),
        ([node("LSTM", ["x", "nowhere", "R"], ["y"])], WRB, "'nowhere' is computed, not stored"),
        ([node("Identity", ["x"], ["y"])], WRB, "has no RNN, GRU or LSTM operator; an exporter may have unrolled it"),
        ([node("QLinearMatMul", ["x"], ["y"])], WRB, "it is quantized"),
        ([node("Relu", ["x"], ["z"]), node("LSTM", ["z", "W", "R"], ["y"])], WRB, "Relu stands before a recurrent"),
        ([node("LSTM", ["y", "W", "R"], ["y"])], WRB, "reads one after it"),
        ([node("Identity", ["b"], ["a"]), node("Identity", ["a"], ["b"]), LSTM], WRB, None),
        ([node("LSTM", ["z", "W", "R"], ["y"])], WRB, "'z' is read and made nowhere"),
        ([node("LSTM", ["x", "W", "R"], ["z"]), node("Relu", ["z"], ["y"])], WRB, "Relu follows the recurrent layers"),
        ([node("LSTM", ["x", "W", "R"], ["z"]), LSTM], WRB, "are no chain, each reading the one before"),
        ([node("GRU", ["x", "W", "R"], ["z"], **BEFORE), node("MatMul", ["z", "H"], ["w"]),
          node("MatMul", ["w", "I"], ["y"])], GRU, "MatMul follows the recurrent layers; only one linear"),
        ([node("GRU", ["x", "W", "R"], ["z"], **BEFORE), node("MatMul", ["z", "H"], ["w"]),
          node("MatMul", ["z", "H"], ["y"])], GRU, "2 linear layers follow"),
        ([node("GRU", ["x", "W", "R"], ["z"], **BEFORE), node("MatMul", ["z", "z"], ["y"])], GRU, "'z' is computed"),
        ([node("GRU", ["x", "W", "R"], ["z"], **BEFORE), node("Gemm", ["z", "H"], ["y"], alpha=0.5)], GRU, "no plain"),
        ([LSTM, node("GRU", ["x", "W", "R"], ["z"])], WRB, "mixes GRU and LSTM"),
    ],
)  # fmt: skip
def test_graphs_that_are_not_read(nodes: Any, held: Any, message: str | None, tmp_path: Path) -> None:
    path = written(tmp_path / "m.onnx", nodes, held)
    if message is None:  # what leads nowhere is left alone
        import_run.read(path, task="label")
        return
    with pytest.raises(InputError, match=message) as caught:
        import_run.read(path, task="label")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.name)
def test_node_tests_that_are_plain_layers_are_read(case: Any, tmp_path: Path) -> None:
    """With their weights stored in the graph; in none of them is the reset gate where torch has it."""
    file = onnx.ModelProto()
    file.CopyFrom(case.model)
    (layer,) = file.graph.node
    given = dict(zip([i.name for i in file.graph.input], case.data_sets[0][0], strict=True))
    stored = {name: given[name] for name in [*layer.input[1:4], *layer.input[7:]] if name}
    for name, value in stored.items():
        file.graph.initializer.append(onnx.numpy_helper.from_array(value, name))
        file.graph.input.remove(next(i for i in file.graph.input if i.name == name))
    (tmp_path / "m.onnx").write_bytes(file.SerializeToString())
    told = {a.name: onnx.helper.get_attribute_value(a) for a in layer.attribute}
    if case.name in OTHERS or layer.op_type == "GRU" or told.get("direction") == b"reverse":
        with pytest.raises(InputError, match=r"reset gate before|peepholes|backwards only"):
            import_run.read(tmp_path / "m.onnx", task="label")
        return
    found = onnx_reader.plain(onnx_reader.Graph(tmp_path / "m.onnx"))
    wanted = onnx_gates.from_onnx(CELL_SPECS[found.kind], *(torch.from_numpy(stored[n]) for n in ("W", "R")), None)
    assert torch.equal(found.layers[0][0].W_hh, wanted[0].W_hh)
    assert found.directions == (2 if told.get("direction") == b"bidirectional" else 1)
    import_run.read(tmp_path / "m.onnx", task="classify")


def test_a_deep_graph(tmp_path: Path) -> None:
    chain = [node("Identity", [f"v{i}" if i else "x"], [f"v{i + 1}"]) for i in range(5000)]
    path = written(tmp_path / "m.onnx", [*chain, node("LSTM", ["v5000", "W", "R"], ["y"])], WRB)
    with pytest.raises(InputError, match="nested too deeply"):
        import_run.read(path, task="label")


def test_weights_in_another_file(tmp_path: Path) -> None:
    """Read where they lie beside the graph; nothing outside its directory is."""
    theirs = Theirs("lstm")
    path = onnx_file(theirs, tmp_path / "m.onnx", torch.zeros(1, 9).long())
    inside, _ = import_run.read(path, task="label")
    onnx.save(onnx.load(path), tmp_path / "m.onnx", save_as_external_data=True, location="m.data", size_threshold=0)
    assert (tmp_path / "m.data").stat().st_size > 500
    assert import_run.read(path, task="label")[0].identity == inside.identity
    (tmp_path / "secret").write_bytes(b"\0" * 4096)
    folder = tmp_path / "folder"
    folder.mkdir()
    os.symlink(tmp_path / "secret", folder / "link")
    for location in ("../secret", str(tmp_path / "secret"), "link", "nowhere"):
        file = onnx.load(path, load_external_data=False)
        for tensor in file.graph.initializer:
            for entry in tensor.external_data:
                if entry.key == "location":
                    entry.value = location
        (folder / "m.onnx").write_bytes(file.SerializeToString())
        with pytest.raises(InputError, match="cannot be read"):
            import_run.read(folder / "m.onnx", task="label")


GOOD = onnx_export.graph(untrained("label", cell="gru", hidden_size=3, embedding_size=2))


@given(st.data())
def test_damaged_graphs_get_one_line(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Bytes of chance, a graph cut off, or with some of its bytes turned."""
    how = data.draw(st.sampled_from(["bytes", "cut", "turned"]))
    if how == "bytes":
        raw = data.draw(st.binary(max_size=300))
    elif how == "cut":
        raw = GOOD[: data.draw(st.integers(0, len(GOOD) - 1))]
    else:
        spoiled = bytearray(GOOD)
        for at in data.draw(st.lists(st.integers(0, len(GOOD) - 1), min_size=1, max_size=4)):
            spoiled[at] = data.draw(st.integers(0, 255))
        raw = bytes(spoiled)
    path = tmp_path_factory.getbasetemp() / "damaged.onnx"
    path.write_bytes(raw)
    said = ""
    try:
        model, _ = import_run.read(path)
    except InputError as error:
        said = str(error)
    assert "\n" not in said
    if said:
        assert said.startswith(str(path))
    else:
        assert model.identity == untrained("label", cell="gru", hidden_size=3, embedding_size=2).identity


def spoil(file: Any, random: np.random.Generator) -> None:
    """Change something at a random place of a graph that is well formed as a protobuf."""
    graph = file.graph
    nodes, held = graph.node, graph.initializer
    names = [o for n in nodes for o in n.output] + [t.name for t in held] + ["", "x"]
    ops = ["LSTM", "GRU", "RNN", "MatMul", "Gemm", "Add", "Concat", "Gather", "Constant", "Identity", "Softmax", "Odd"]
    n, t = nodes[random.integers(len(nodes))], held[random.integers(len(held))]
    act = random.integers(9)
    if act == 0 and n.input:
        n.input[random.integers(len(n.input))] = names[random.integers(len(names))]
    elif act == 1:
        del n.input[random.integers(len(n.input) + 1) :]
    elif act == 2:
        del n.output[random.integers(len(n.output) + 1) :]
    elif act == 3:
        n.op_type = ops[random.integers(len(ops))]
    elif act == 4 and t.dims:
        t.dims[random.integers(len(t.dims))] = [0, -1, 1, 2, 5, 1 << 40, (1 << 63) - 1][random.integers(7)]
    elif act == 5:
        t.data_type = int(random.integers(24))
    elif act == 6:
        a = n.attribute[random.integers(len(n.attribute))] if n.attribute else n.attribute.add(name="direction")
        a.type = int(random.integers(12))
    elif act == 7:
        t.raw_data = t.raw_data[: random.integers(len(t.raw_data) + 1)]
    elif act == 8 and len(nodes) > 1:
        del nodes[random.integers(len(nodes))]


def test_spoiled_graphs_get_one_line(tmp_path: Path) -> None:
    random, refused, path = np.random.default_rng(0), 0, tmp_path / "m.onnx"
    plain = onnx_file(Theirs("lstm", num_layers=2), path, torch.zeros(1, 9).long()).read_bytes()
    for turn in range(int(os.environ.get("OHLOL_MUTATIONS", "200"))):
        file = onnx.load_model_from_string(plain if turn % 2 else GOOD)
        for _ in range(random.integers(1, 5)):
            spoil(file, random)
        path.write_bytes(file.SerializeToString())
        said = ""
        try:
            import_run.read(path, task="label" if turn % 2 else None)
        except InputError as error:
            said = str(error)
            refused += 1
        assert not said or (said.startswith(str(path)) and "\n" not in said)
    assert refused > turn / 4


def test_tensors_that_lie_about_their_size(tmp_path: Path) -> None:
    path = written(tmp_path / "m.onnx", [LSTM], WRB)
    for dims in ([1, 24, 1 << 40], [1 << 62, 4, 4], [-1, 24, 5], [0]):
        file = onnx.load(path)
        file.graph.initializer[0].dims[:] = dims
        path.write_bytes(file.SerializeToString())
        with pytest.raises(InputError, match=r"cannot be read|W is|negative"):
            import_run.read(path, task="label")
    file = onnx.load(written(tmp_path / "m.onnx", [LSTM], WRB))
    file.graph.initializer[0].data_type = onnx.TensorProto.STRING
    path.write_bytes(file.SerializeToString())
    with pytest.raises(InputError, match="holds no floats"):
        import_run.read(path, task="label")


def ran(*arguments: object) -> int:
    with pytest.raises(SystemExit) as end:
        main([str(a) for a in arguments])
    return int(end.value.code or 0)


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save_file(Theirs("gru").state_dict(), tmp_path / "theirs.v2.safetensors")
    assert ran("import", "theirs.v2.safetensors", "--task", "label") == 0
    said = capsys.readouterr().out
    assert said == "read: embedding of 7 symbols, gru of 1 x 6 from 5, a linear head of 4\nsaved: runs/theirs-1\n"
    assert ran("predict", "runs/theirs-1", "3 1 2") == 0
    assert len(capsys.readouterr().out.split()) == 3
    for command in (("explain", "runs/theirs-1", "3 1 2"), ("prove", "runs/theirs-1")):
        assert ran(*command) == 0
    assert ran("export", "runs/theirs-1", "again.onnx") == 0
    assert ran("import", "again.onnx", "--out", "runs/again") == 0
    assert ohlol.load("runs/again").identity == ohlol.load("runs/theirs-1").identity
    capsys.readouterr()
    assert ran("import", "again.onnx", "--out", "runs/again") == 2
    assert capsys.readouterr().err == "ohlol: runs/again exists: give --overwrite to replace it, or another --out\n"
    assert ran("import", "again.onnx", "--out", "runs/again", "--overwrite") == 0
    (tmp_path / "data.tsv").write_text("3 1\t2 2\n")
    for data in ([], ["data.tsv"]):
        assert ran("train", *data, "--resume", "--out", "runs/again") == 2
        error = capsys.readouterr().err
        assert error.startswith("ohlol: runs/again was never trained here: its weights came by `ohlol import`")
        assert "there is nothing to resume; every other command takes it as it is" in error
        assert error.count("\n") == 1
    assert ran("import", "nowhere.onnx") == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert onnx_reader.LARGEST == 1 << 31
