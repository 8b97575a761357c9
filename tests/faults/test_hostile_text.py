"""Text that means something to a terminal, to rich or to a table: data are printed literally and read back equal."""

import json
import sys
from pathlib import Path

import pytest

from ohlol import cli
from ohlol.training.fit import fit

SETTINGS = {"hidden_size": 4, "num_layers": 1, "embedding_size": 3, "epochs": 1}


def run_command(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """The exit status, standard output and standard error of a command."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        cli.main([str(argument) for argument in arguments])
    assert isinstance(ended.value.code, int)
    return ended.value.code, *capsys.readouterr()


def train_classifier(folder: Path, labels: list[str]) -> tuple[Path, Path]:
    """A run with these labels and its data file; each label is confused with the others."""
    file = folder / "data.jsonl"
    rows = [{"text": f"name{k % 2}", "kind": label} for k in range(4) for label in labels]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    out = folder / "run"
    fit(file, out=out, task="classify", input="text", target="kind", level="char", dev_fraction=0, **SETTINGS)
    return out, file


def test_labels_are_not_markup(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, file = train_classifier(tmp_path, ["[/b]", "[bold]", ":smile:", "[link=http://a]"])
    with file.open("a", encoding="utf-8") as data:  # other data than those of the training
        data.write(json.dumps({"text": "name0", "kind": "[/b]"}) + "\n")
    status, out, err = run_command(capsys, "evaluate", run, file)
    assert (status, err) == (0, "")
    for label in ("[/b]", "[bold]", ":smile:", "[link=http://a]"):
        assert label in out
    status, out, err = run_command(capsys, "explain", run, "name1")
    assert (status, err) == (0, "")
    assert "[bold]" in out


CLEAR = "\x1b[2J"
"""Clears a terminal."""
TITLE = "\x1b]0;title\x07"
"""Sets the title of a terminal."""


def test_control_characters_in_data_do_not_reach_a_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "dumb")  # no codes of rich
    for stream in (sys.stdout, sys.stderr):
        monkeypatch.setattr(stream, "isatty", lambda: True)
    folder = tmp_path / f"folder{TITLE}"
    folder.mkdir()
    run, file = train_classifier(folder, [f"a{CLEAR}", "b\x9b2J", "c\x7f"])
    figures = folder / "page.html"
    for command in (
        ("predict", run, f"name{TITLE}"),
        ("predict", run, "name1", "--output-format", "tsv"),
        ("predict", run, "name1", "--output-format", "jsonl", "--n-best", 3),
        ("evaluate", run, file),
        ("evaluate", run, file, "--json"),
        ("explain", run, f"na{CLEAR}"),
        ("explain", run, "na", "--step", 1),
        ("explain", run, "na", "--json"),
        ("explain", run, "na", "--html", figures),
        ("plot", run),
        ("train", file, "--input", "text", "--target", "kind", "--epochs", 1, "--out", folder / "other"),
        ("encode", file, "--input", "text", "--target", "kind", "--out", folder / "corpus"),
        ("train", "--pair", CLEAR, TITLE[: len(CLEAR)], "--epochs", 2, "--out", folder / "pairs"),
    ):
        status, out, err = run_command(capsys, *command)
        assert status == 0, (command, err)
        assert not set("\x1b\x9b\x7f\x07") & set(out + err), (command, out, err)


@pytest.mark.parametrize(
    "arguments",
    [
        ("train", f"missing{CLEAR}.tsv"),
        ("train", "--cell", TITLE),
        (f"unknown{CLEAR}",),
        ("predict", f"run{TITLE}", "text"),
        ("train", f"--option{CLEAR}"),
    ],
)
def test_control_characters_in_arguments_are_escaped_in_messages(
    arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, err = run_command(capsys, *arguments)
    assert (status, out) == (2, "")
    assert err.count("\n") == 1
    assert not set("\x1b\x07") & set(err)
    assert "x1b" in err


def test_control_characters_in_an_onnx_graph_are_escaped_in_messages(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    onnx = pytest.importorskip("onnx")
    node = onnx.helper.make_node(f"Op{CLEAR}", ["x"], ["y"], name=TITLE)
    value = onnx.helper.make_tensor_value_info("x", 1, [1])
    lstm = onnx.helper.make_node("LSTM", ["y", TITLE, TITLE], ["z"], name=CLEAR)
    graph = onnx.helper.make_graph([node, lstm], CLEAR, [value], [value])
    onnx.save(onnx.helper.make_model(graph), tmp_path / "g.onnx")
    status, out, err = run_command(capsys, "import", tmp_path / "g.onnx", "--task", "next")
    assert (status, out) == (2, "")
    assert not set("\x1b\x07") & set(err)
