"""Text that means something to a terminal, to rich or to a table: data are printed literally and read back equal."""

import json
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
    status, out, err = run_command(capsys, "evaluate", run, file)
    assert (status, err) == (0, "")
    for label in ("[/b]", "[bold]", ":smile:", "[link=http://a]"):
        assert label in out
    status, out, err = run_command(capsys, "explain", run, "name1")
    assert (status, err) == (0, "")
    assert "[bold]" in out
