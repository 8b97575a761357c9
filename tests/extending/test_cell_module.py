"""A cell of the user that is imported by name: every task, command and use of a model, and no import on loading."""

import itertools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cell_modules import MODULE, forgotten, write_module
from helpers import (
    SALES,
    SALES_NEXT,
    TINY,
    Recorder,
    bytes_of,
    lengths_file,
    names_file,
    sales_file,
    sine_file,
    text_file,
    upper_pairs,
)

import ohlol
from ohlol.cells import CELLS, import_cell
from ohlol.checkpoint import run_directory
from ohlol.cli import main
from ohlol.config import ModelSettings
from ohlol.data import sequences
from ohlol.inference.trained_model import TrainedModel
from ohlol.models.inputs import PackedInputs, Sizes
from ohlol.models.sequence_model import SequenceModel
from ohlol.training.trainer import Interrupted
from ohlol.utils.errors import InputError

pytestmark = pytest.mark.slow  # make test-all

PEEPHOLE = "mycells:Peephole"
NAMES = ["Peephole", "Widths", "OneTuple", "Four", "InLoop"]
TASKS: dict[str, tuple[Any, str, dict[str, Any]]] = {
    "label": (upper_pairs, "data.tsv", {"num_layers": 2, "bidirectional": True, "dropout": 0.1, "bigram_size": 0}),
    "next": (text_file, "data.txt", {"bptt": 7}),
    "classify": (names_file, "data.csv", {"input": "name", "target": "kind", "num_layers": 2, "bidirectional": True}),
    "regress": (lengths_file, "data.csv", {"input": "name", "target": "size", "task": "regress"}),
    "next_row": (sine_file, "data.csv", {"bptt": 9, "task": "next_row"}),
    "forecast": (sales_file, "data.csv", {**SALES, "bptt": 9}),
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    write_module(tmp_path)
    monkeypatch.chdir(tmp_path)
    with forgotten():
        yield tmp_path


def run_command(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    return int(ended.value.code or 0)


def train(task: str, cell: str, folder: Path, **more: Any) -> TrainedModel:
    write, name, settings = TASKS[task]
    return ohlol.fit(write(folder / name), cell=f"mycells:{cell}", seed=1, **{**TINY, **settings, **more})


# Models


@pytest.mark.parametrize(
    ("task", "cell"),
    [
        *itertools.product(TASKS, ("Peephole", "InLoop")),  # in the kernels, and in a loop
        *itertools.product(("label", "next", "classify"), ("Widths", "OneTuple", "Four")),  # states of other forms
    ],
)
def test_every_task(folder: Path, task: str, cell: str) -> None:
    """Training, evaluation and inference; a loaded run gives the results of the model that was trained."""
    model = train(task, cell, folder, out=folder / "run")
    loaded = ohlol.load(folder / "run")
    assert loaded.identity == model.identity
    data = folder / TASKS[task][1]
    metrics = model.evaluate(data).metrics()
    assert loaded.evaluate(data).metrics() == metrics
    assert np.isfinite(list(metrics.values())).all()
    if task == "next":
        one, two = ("".join(m.generate("the", length=30, seed=4)) for m in (model, loaded))
        assert len(one) == 30
        assert one == two
    elif task == "regress":
        texts = ["bado", "na", "lomena"]
        numbers = [p.number for p in model.predict_many(texts)]
        assert numbers == pytest.approx([loaded.predict(text).number for text in texts], rel=1e-4)
    elif task == "next_row":
        rows = sequences.read(data, model.config.data, with_targets=False)
        assert np.isfinite(model.next_rows(rows, 4)).all()
    elif task == "forecast":
        (folder / "next.csv").write_text(SALES_NEXT)
        made, again = (m.forecast(data, 6, future=folder / "next.csv") for m in (model, loaded))
        assert np.isfinite(made[0].quantiles).all()
        np.testing.assert_array_equal(made[0].quantiles, again[0].quantiles)
    else:
        texts = ["abcd", "ab", "edcba"] if task == "label" else ["bado", "na", "lomena"]
        together = list(model.predict_many(texts, n_best=2))
        for text, prediction in zip(texts, together, strict=True):
            alone = loaded.predict(text, n_best=2)
            assert alone.labels == prediction.labels
            assert alone.probability == pytest.approx(prediction.probability, abs=1e-5)


@pytest.mark.parametrize("cell", NAMES)
def test_the_last_output_of_each_sequence_is_classified(cell: str) -> None:
    """In a batch of any lengths, both directions: as for each sequence alone, by the cell in a loop."""
    import_cell(f"mycells:{cell}")
    settings = ModelSettings(cell=f"mycells:{cell}", hidden_size=6, embedding_size=4, bidirectional=True)
    torch.manual_seed(1)
    model = SequenceModel(settings, Sizes(5, 3, per_sequence=True)).eval()
    batch_sizes = torch.tensor([4, 3, 3, 1])
    ids = torch.randint(5, (11,))
    logits, _ = model(PackedInputs(ids, batch_sizes))
    starts = [0, 4, 7, 10]
    vectors = model.encoder.embedding(ids)
    for b, length in enumerate([4, 3, 3, 1]):
        rows = [vectors[starts[t] + b : starts[t] + b + 1] for t in range(length)]
        outputs = [_last_output(model, 0, rows), _last_output(model, 1, rows[::-1])]
        expected = model.head(torch.cat(outputs, dim=1))[0]
        torch.testing.assert_close(logits[b], expected, atol=1e-5, rtol=1e-5)


def _last_output(model: SequenceModel, k: int, rows: list[torch.Tensor]) -> torch.Tensor:
    interface = model.layers.interface
    states = tuple(torch.zeros(1, size) for size in model.state_sizes)
    output = torch.empty(0)
    for row in rows:
        output, states = interface.unpack(model.layers.cells[k](row, interface.pack(states)))
    return output


@pytest.mark.parametrize("cell", NAMES)
def test_same_seed_same_weights(folder: Path, cell: str) -> None:
    one, two = (train("label", cell, folder, epochs=2) for _ in range(2))
    assert one.identity == two.identity


@pytest.mark.parametrize("cell", NAMES)
def test_tied_weights_have_the_width_of_the_output(folder: Path, cell: str) -> None:
    import_cell(f"mycells:{cell}")
    settings = ModelSettings(cell=f"mycells:{cell}", hidden_size=6, embedding_size=0, tie_weights=True)
    with pytest.raises(InputError, match=f"`embedding_size` must be {7 if cell == 'Widths' else 6} "):
        SequenceModel(settings, Sizes(5, 5))


# Streams


@pytest.mark.parametrize("cell", NAMES)
def test_streams_and_saved_states(folder: Path, cell: str) -> None:
    model = train("next", cell, folder, num_layers=2, out=folder / "run")
    text = "the cat sat on"
    stream = model.stream()
    expected = [output.logits for output in stream.read(text)]
    stepped = model.stream()
    for symbol, logits in zip(text[:6], expected, strict=False):
        torch.testing.assert_close(stepped.step(symbol).logits, logits, atol=1e-5, rtol=1e-5)
    state = stepped.state()
    with forgotten():
        restored = ohlol.load(folder / "run", cell=f"mycells:{cell}").stream()
        restored.restore(state)
        assert restored.steps == 6
        for symbol, logits in zip(text[6:], expected[6:], strict=True):
            torch.testing.assert_close(restored.step(symbol).logits, logits, atol=1e-5, rtol=1e-5)
    import_cell(f"mycells:{cell}")
    many = model.streams(3)
    keys = list(many)
    outputs = many.step(dict.fromkeys(keys, "t"))
    torch.testing.assert_close(outputs[keys[2]].logits, expected[0], atol=1e-5, rtol=1e-5)


def test_a_saved_state_may_hold_any_finite_number(folder: Path) -> None:
    """The states of a cell are not bounded unless its description says so."""
    model = train("next", "Widths", folder)
    batch = model.streams(1)
    for kept in batch._state:
        kept += 1e6
    key = batch.join(batch.state(0))
    assert float(batch._state[0][batch._slots[key]].min()) == 1e6
    for kept in batch._state:
        kept *= torch.inf
    with pytest.raises(InputError, match="holds values that are not finite"):
        batch.join(batch.state(0))


# Resuming


@pytest.mark.parametrize("cell", ["Widths", "InLoop"])
def test_resuming_ends_with_the_same_bytes(folder: Path, cell: str) -> None:
    def stop(recorder: Recorder, step: int) -> None:
        if step == 7 and recorder.trainer is not None:
            recorder.trainer.stop()

    whole, stopped = folder / "whole", folder / "stopped"
    train("next", cell, folder, out=whole, checkpoint_every="1")
    with pytest.raises(Interrupted):
        train("next", cell, folder, out=stopped, checkpoint_every="1", callbacks=[Recorder(stop)])
    with forgotten():
        with pytest.raises(InputError, match=f"stopped: the cell mycells:{cell} is code outside of ohlol"):
            ohlol.fit(out=stopped, resume=True)
        assert MODULE not in sys.modules
        with pytest.raises(InputError, match=f"was started with `cell` mycells:{cell}, not gru"):
            ohlol.fit(out=stopped, resume=True, cell="gru")
        assert MODULE not in sys.modules
    with forgotten():
        ohlol.fit(out=stopped, resume=True, cell=f"mycells:{cell}")
    one, two = bytes_of(whole), bytes_of(stopped)
    for name in ("model.safetensors", "metrics.jsonl"):
        assert one[name] == two[name]


# The command line


def test_every_command_needs_the_cell_by_name(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = str(text_file(folder / "data.txt"))
    flags = ["--hidden-size", "6", "--num-layers", "1", "--embedding-size", "5", "--epochs", "1", "--batch-size", "4"]
    assert run_command("train", text, "--cell", PEEPHOLE, "--out", "run", *flags) == 0
    assert f"--cell {PEEPHOLE}" in (folder / "run/README.md").read_text()
    commands = [["evaluate", "run", text], ["generate", "run", "--length", "5"], ["train", "--resume", "--out", "run"]]
    for command in commands:
        with forgotten():
            capsys.readouterr()
            assert run_command(*command) == 2
            error = capsys.readouterr().err
            assert error == (
                f"ohlol: run: the cell {PEEPHOLE} is code outside of ohlol, and reading a run imports none by itself: "
                f"give --cell {PEEPHOLE}\n"
            )
            assert MODULE not in sys.modules
            assert run_command(*command, "--cell", "mycells:Four") == 2
            error = capsys.readouterr().err
            assert error.count("\n") == 1
            assert PEEPHOLE in error
            assert "mycells:Four" in error
        with forgotten():
            assert run_command(*command, "--cell", PEEPHOLE) == 0
    with forgotten():
        assert run_command("plot", "run") == 0  # curves need no model
        assert run_command("encode", text, "--vocab", "run", "--out", "corpus") == 0
        assert MODULE not in sys.modules


def test_the_commands_that_inspect_a_run(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("onnxruntime")
    ohlol.fit([("hello", "ohlol")], cell=PEEPHOLE, seed=1, out=folder / "run")
    commands = [["predict", "run", "hello"], ["explain", "run", "hello"], ["prove", "run"], ["export", "run", "m.onnx"]]
    for command in commands:
        with forgotten():
            capsys.readouterr()
            assert run_command(*command) == 2
            assert f"give --cell {PEEPHOLE}" in capsys.readouterr().err
            assert MODULE not in sys.modules
            assert run_command(*command, "--cell", PEEPHOLE) == 0


@pytest.mark.parametrize("name", ["os:system", "a.b", "x:", ":y", "json:loads", "../x:y", "x\n:y", "x\x1b:y"])
def test_hostile_names_are_one_line(folder: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    assert run_command("train", "--cell", name, "--out", "run") == 2
    error = capsys.readouterr().err
    assert error.startswith("ohlol: --cell ")
    assert error.count("\n") == 1
    assert error[:-1].isprintable()
    assert not (folder / "run").exists()


def test_a_name_in_a_run_is_never_imported(folder: Path) -> None:
    """Not even if a damaged or hostile configuration names a module that exists."""
    ohlol.fit([("hello", "ohlol")], seed=1, out=folder / "run")
    (folder / "observed.py").write_text("open('imported', 'w').close()\n")
    config = run_directory.read_config(folder / "run").to_json()
    for name in ("observed:Cell", "os:system", "../x:y", "x\n:y", "observed"):
        from ohlol.utils.files import write_json

        write_json(folder / "run/config.json", {**config, "model": {**config["model"], "cell": name}})
        with pytest.raises(InputError) as error:
            ohlol.load(folder / "run")
        assert str(error.value).isprintable()
        with pytest.raises(InputError):
            ohlol.fit(out=folder / "run", resume=True)
    assert not (folder / "imported").exists()
    assert "observed" not in sys.modules


# Other uses


def test_a_class_is_given_by_its_name() -> None:
    with pytest.raises(InputError, match=r"it must be .*; a cell may also be named as package\.module:Class"):
        ohlol.fit([("hello", "ohlol")], cell=torch.nn.GRUCell)


def test_tune(folder: Path) -> None:
    pytest.importorskip("optuna")
    data = upper_pairs(folder / "data.tsv")
    settings: dict[str, Any] = {"hidden_size": 6, "embedding_size": 5, "epochs": 1, "batch_size": 4}
    search = [f"cell=gru,{PEEPHOLE}", "lr=1e-3:1e-2:log"]
    summary = ohlol.tune(data, trials=3, out=folder / "study", search=search, **settings)
    assert {trial.state for trial in summary.trials} <= {"complete", "pruned"}
    assert "cell=gru,mycells:Peephole" in summary.space.values()
    with forgotten():
        assert run_command("plot", "study") == 0
        assert MODULE not in sys.modules
        summary = ohlol.tune(data, trials=4, out=folder / "study", search=search, **settings)
        assert len(summary.trials) == 4
    with forgotten():
        ohlol.tune(data, trials=1, out=folder / "fixed", search=["lr"], cell=PEEPHOLE, **settings)
        assert ohlol.load(folder / "fixed/best").config.model.cell == PEEPHOLE
    with pytest.raises(InputError, match="`search` cell=gru,x:: `cell` is 'x:'"):
        ohlol.tune(data, trials=1, out=folder / "other", search=["cell=gru,x:"])


def test_serve(folder: Path) -> None:
    pytest.importorskip("fastapi")
    from ohlol.serve import run
    from ohlol.serve.schemas import Train

    ohlol.fit([("hello", "ohlol")], cell=PEEPHOLE, seed=1, out=folder / "run")
    with forgotten():
        with pytest.raises(InputError, match=f"give `cell={PEEPHOLE}`"):
            run.serve(["run"], port=0)
        with pytest.raises(InputError, match=f"`cell` mycells:Four is the cell of none of these runs: {PEEPHOLE}"):
            run.serve(["run"], port=0, cells=[PEEPHOLE, "mycells:Four"])
        with pytest.raises(ValueError, match="cell"):
            Train(cell=PEEPHOLE)  # registered now, but not for the page
    assert PEEPHOLE not in CELLS


def test_a_server_answers(folder: Path) -> None:
    pytest.importorskip("fastapi")
    from serving import ServerProcess

    ohlol.fit([("hello", "ohlol")], cell=PEEPHOLE, seed=1, out=folder / "run")
    with ServerProcess(["run"], ["--cell", PEEPHOLE]) as server, server.client() as client:
        assert client.get("/v1/models").json()[0]["cell"] == PEEPHOLE
        answer = client.post("/v1/models/run/predict", json={"inputs": "hello"})
        assert len(answer.json()["predictions"][0]["labels"]) == 5
        refused = client.post("/v1/train", json={"cell": PEEPHOLE, "pairs": [{"input": "a", "target": "b"}]})
        assert refused.status_code == 422


def test_two_processes_train_one_run(folder: Path) -> None:
    from launch import run, train

    data = upper_pairs(folder / "data.tsv")
    flags = ["--cell", "mycells:Widths", "--hidden-size", "6", "--embedding-size", "5", "--epochs", "1", "--seed", "1"]
    run(train(2, str(data), "--out", "run", *flags), folder)
    assert ohlol.load(folder / "run", cell="mycells:Widths").config.model.cell == "mycells:Widths"
