"""Imported runs: the same output as the model the weights come from, from either file format."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import LOOP
from safetensors.torch import save_file
from untrained import KINDS, untrained

import ohlol
from interop.torch_models import LAYERS, TorchModel, export_onnx, logits_of
from ohlol.cli import main
from ohlol.interop import import_run
from ohlol.utils.errors import InputError

onnx = pytest.importorskip("onnx", reason="onnx is not installed")

from ohlol.interop import onnx_export, onnx_verify  # noqa: E402 - they need onnx

SHAPES = [{}, {"num_layers": 2}, {"bidirectional": True}, {"num_layers": 3, "bidirectional": True}, {"bias": False}]


@pytest.mark.parametrize("cell", list(LAYERS))
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("form", ["safetensors", "onnx"])
def test_an_imported_model_has_the_same_output(cell: str, shape: dict[str, Any], form: str, tmp_path: Path) -> None:
    module = TorchModel(cell, **shape)
    path = tmp_path / f"model.{form}"
    if form == "onnx":
        export_onnx(module, path, torch.zeros(2, 9, dtype=torch.long))
    else:
        save_file(module.state_dict(), path)
    model, description = import_run.import_model(path, task="label")
    assert description.startswith(f"embedding of 7 symbols, {cell} of ")
    ids = [3, 1, 0, 6, 2, 2]
    with torch.no_grad():
        expected = module(torch.tensor([ids]))[0]
    torch.testing.assert_close(logits_of(model, ids), expected, rtol=0, atol=1e-6)
    labels = [str(i) for i in expected.argmax(dim=1).tolist()]
    assert model.predict([str(i) for i in ids]).labels == labels
    import_run.save_run(model, tmp_path / "run")
    loaded = ohlol.load(tmp_path / "run")
    assert loaded.identity == model.identity
    assert loaded.predict(" ".join(map(str, ids))).labels == labels
    assert "its weights were imported" in (tmp_path / "run" / "README.md").read_text()
    assert onnx_verify.verify(loaded, onnx_export.build_graph(loaded)).passed


@pytest.mark.parametrize("form", ["safetensors", "onnx"])
@pytest.mark.parametrize("shape", [{}, {"bidirectional": True, "num_layers": 2}], ids=str)
def test_an_imported_classifier_predicts_the_same(form: str, shape: dict[str, Any], tmp_path: Path) -> None:
    module = TorchModel("lstm", **shape)
    module.last_step = True
    path = tmp_path / f"model.{form}"
    if form == "onnx":
        export_onnx(module, path, torch.zeros(2, 9, dtype=torch.long))
    else:
        save_file(module.state_dict(), path)
    (tmp_path / "labels.txt").write_text("a\nb\nc\nd\n")
    (tmp_path / "symbols.json").write_text(json.dumps(list("\n helo!")))
    names = {"symbols": tmp_path / "symbols.json", "labels": tmp_path / "labels.txt"}
    model, _ = import_run.import_model(path, task="classify", **names)
    ids = [2, 3, 4, 4, 5]
    with torch.no_grad():
        expected = module(torch.tensor([ids]))
    torch.testing.assert_close(logits_of(model, ids), expected, rtol=0, atol=1e-6)
    assert model.config.data.level == "char"
    assert model.predict("hello").labels == ["abcd"[int(expected.argmax())]]


def test_layers_without_embedding_are_imported(tmp_path: Path) -> None:
    module = TorchModel("gru", K=5, embedded=False)
    path = tmp_path / "model.safetensors"
    save_file(module.state_dict(), path)
    rows = torch.randn(1, 8, 5)
    with torch.no_grad():
        expected = module(rows)[0]
    model, description = import_run.import_model(path, task="next_row")
    assert description == "gru of 1 x 6 from 5, a linear head of 5"
    assert model.codec.columns == ("x1", "x2", "x3", "x4", "x5") == model.codec.target_columns
    stream = model.stream()
    rows_read = torch.stack([torch.from_numpy(stream.step(row.tolist()).row) for row in rows[0]])
    torch.testing.assert_close(rows_read.float(), expected, rtol=0, atol=1e-6)
    one_hot, _ = import_run.import_model(path, task="next")
    with torch.no_grad():
        expected = module(torch.nn.functional.one_hot(torch.tensor([[4, 0, 1]]), 5).float())[0]
    torch.testing.assert_close(logits_of(one_hot, [4, 0, 1]), expected, rtol=0, atol=1e-6)
    assert len(list(one_hot.generate("3", length=4))) == 4
    by_onnx, _ = import_run.import_model(export_onnx(module, tmp_path / "model.onnx", rows), task="next")
    assert by_onnx.identity == one_hot.identity


def test_a_cell_and_a_bare_layer_are_imported(tmp_path: Path) -> None:
    cell = torch.nn.LSTMCell(4, 3)
    save_file(cell.state_dict(), tmp_path / "cell.safetensors")
    model, description = import_run.import_model(tmp_path / "cell.safetensors", task="label")
    assert description == "lstm of 1 x 3 from 4, no head"
    h, _ = cell(torch.nn.functional.one_hot(torch.tensor([2]), 4).float())
    torch.testing.assert_close(logits_of(model, [2]), h.detach(), rtol=0, atol=1e-6)
    layer = torch.nn.GRU(4, 3)
    by_onnx, _ = import_run.import_model(export_onnx(layer, tmp_path / "l.onnx", torch.zeros(5, 1, 4)), task="next_row")
    save_file({f"model.rnn.{n}": t.double() for n, t in layer.state_dict().items()}, tmp_path / "l.safetensors")
    assert import_run.import_model(tmp_path / "l.safetensors", task="next_row")[0].identity == by_onnx.identity


def test_heads_without_bias_and_with_untied_weights_are_imported(tmp_path: Path) -> None:
    module = TorchModel("gru")
    module.fc = torch.nn.Linear(6, 4, bias=False)
    save_file(module.state_dict(), tmp_path / "m.safetensors")
    expected = module(torch.tensor([[1, 2]]))[0].detach()
    for path in (tmp_path / "m.safetensors", export_onnx(module, tmp_path / "m.onnx", torch.zeros(1, 9).long())):
        model, _ = import_run.import_model(path, task="label")
        torch.testing.assert_close(logits_of(model, [1, 2]), expected, rtol=0, atol=1e-6)
    same = {"decoder.weight": torch.randn(7, 6), "embed.weight": torch.randn(7, 6)}
    layer = {f"rnn.{n}": t for n, t in torch.nn.GRU(6, 6).state_dict().items()}
    save_file({**same, **layer}, tmp_path / "n.safetensors")
    model, _ = import_run.import_model(tmp_path / "n.safetensors", task="next")
    assert torch.equal(model.network.head.weight, same["decoder.weight"])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cell", ["rnn", "rnn_relu", "gru", "lstm", "lstm" + LOOP])
def test_an_exported_graph_is_imported_with_its_identity(kind: str, cell: str, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"char_rnn_size": 3} if kind == "words" else {}
    settings |= {"embedding_size": 11, "tie_weights": True} if kind == "next" else {}
    both = kind == "label" and not cell.endswith(LOOP)
    settings |= {"bigram_size": 3, "bidirectional": True, "num_layers": 2} if both else {}
    model = untrained(kind, cell=cell, **settings)
    for step in (False,) if both else (False, True):
        path = tmp_path / "m.onnx"
        path.write_bytes(onnx_export.build_graph(model, step=step))
        imported, description = import_run.import_model(path)
        assert imported.identity == model.identity
        assert imported.codec == model.codec
        assert description.startswith("a graph of ohlol ")


def test_changed_graphs_are_refused(tmp_path: Path) -> None:
    graph = onnx_export.build_graph(untrained("label", cell="lstm"))

    def change(action: Any) -> Path:
        file = onnx.load_model_from_string(graph)
        action(file, {i.name: i for i in file.graph.initializer}, {p.key: p for p in file.metadata_props})
        (tmp_path / "m.onnx").write_bytes(file.SerializeToString())
        return tmp_path / "m.onnx"

    def set_zero(file: Any, constants: Any, metadata: Any) -> None:
        constants["head.bias"].raw_data = b"\0" * len(constants["head.bias"].raw_data)

    def set_nan(file: Any, constants: Any, metadata: Any) -> None:
        constants["head.bias"].raw_data = b"\xff" * len(constants["head.bias"].raw_data)

    def remove_weight(file: Any, constants: Any, metadata: Any) -> None:
        file.graph.initializer.remove(constants["layers.R0"])

    def enlarge(file: Any, constants: Any, metadata: Any) -> None:
        settings = json.loads(metadata["settings"].value)
        settings["model"]["hidden_size"] = 1 << 20
        metadata["settings"].value = json.dumps(settings)

    def nest(file: Any, constants: Any, metadata: Any) -> None:
        metadata["vocabulary"].value = "[" * 100000

    def remove_vocabulary(file: Any, constants: Any, metadata: Any) -> None:
        file.metadata_props.remove(metadata["vocabulary"])

    for action, message in (
        (set_zero, "its weights differ from those it was exported with"),
        (set_nan, "head.bias holds values that are not finite"),
        (remove_weight, "'layers.R0' is computed, not stored"),
        (enlarge, "its metadata require"),
        (nest, "its metadata are not those of a graph of ohlol"),
        (remove_vocabulary, "its metadata are not those of a graph of ohlol"),
    ):
        with pytest.raises(InputError, match=message):
            import_run.import_model(change(action))
    (tmp_path / "q.onnx").write_bytes(onnx_verify.quantize(untrained("label", cell="lstm"), graph))
    with pytest.raises(InputError, match=r"quantized|computed, not stored"):
        import_run.import_model(tmp_path / "q.onnx")
    (tmp_path / "m.onnx").write_bytes(graph)
    with pytest.raises(InputError, match="was exported by ohlol: leave out `task`"):
        import_run.import_model(tmp_path / "m.onnx", task="label")


def test_invalid_names_are_refused(tmp_path: Path) -> None:
    path, names = tmp_path / "m.safetensors", tmp_path / "names.txt"
    save_file(TorchModel("lstm").state_dict(), path)
    for text, message in (
        ("a\nb\n", "`symbols` has 2 names; .* has 7"),
        ("a\na\nb\nc\nd\ne\nf\n", "has a symbol twice"),
        ("a\n<unk>\nb\nc\nd\ne\nf\n", "it must be the first"),
        ("", "holds no names"),
        ("a\n\nb\n", "holds no names"),
    ):
        names.write_text(text)
        with pytest.raises(InputError, match=message):
            import_run.import_model(path, task="label", symbols=names)
    (tmp_path / "names.json").write_text("[" * 5000)
    with pytest.raises(InputError, match="cannot be read"):
        import_run.import_model(path, task="label", symbols=tmp_path / "names.json")
    with pytest.raises(InputError, match=r"nowhere.txt: cannot be read"):
        import_run.import_model(path, task="label", labels=tmp_path / "nowhere.txt")
    for name in ("m.pt", "m"):
        with pytest.raises(InputError, match=r"must end in \.onnx or \.safetensors; reading a pickle"):
            import_run.import_model(tmp_path / name, task="label")


def test_names_with_a_lone_surrogate_are_refused(tmp_path: Path) -> None:
    names = tmp_path / "names.json"
    names.write_text('["a", "b\\ud800"]', encoding="utf-8")
    with pytest.raises(InputError, match=r"names\.json: cannot be read: 'b.*half a surrogate pair"):
        import_run.read_names(names)


def run_command(*arguments: object) -> int:
    with pytest.raises(SystemExit) as end:
        main([str(a) for a in arguments])
    return int(end.value.code or 0)


def test_an_imported_run_works_with_the_commands(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    save_file(TorchModel("gru").state_dict(), tmp_path / "module.v2.safetensors")
    assert run_command("import", "module.v2.safetensors", "--task", "label") == 0
    message = capsys.readouterr().out
    assert message == "read: embedding of 7 symbols, gru of 1 x 6 from 5, a linear head of 4\nsaved: runs/module-1\n"
    assert run_command("predict", "runs/module-1", "3 1 2") == 0
    assert len(capsys.readouterr().out.split()) == 3
    for command in (("explain", "runs/module-1", "3 1 2"), ("prove", "runs/module-1")):
        assert run_command(*command) == 0
    assert run_command("export", "runs/module-1", "again.onnx") == 0
    assert run_command("import", "again.onnx", "--out", "runs/again") == 0
    assert ohlol.load("runs/again").identity == ohlol.load("runs/module-1").identity
    capsys.readouterr()
    assert run_command("import", "again.onnx", "--out", "runs/again") == 2
    assert capsys.readouterr().err == "ohlol: runs/again exists: give --overwrite to replace it, or another --out\n"
    assert run_command("import", "again.onnx", "--out", "runs/again", "--overwrite") == 0
    (tmp_path / "data.tsv").write_text("3 1\t2 2\n")
    for data in ([], ["data.tsv"]):
        assert run_command("train", *data, "--resume", "--out", "runs/again") == 2
        error = capsys.readouterr().err
        assert error.startswith(
            "ohlol: runs/again was imported (`ohlol import`) and has no state of an optimizer to resume"
        )
        assert error.count("\n") == 1
    assert run_command("import", "nowhere.onnx") == 2
    assert capsys.readouterr().err.count("\n") == 1
