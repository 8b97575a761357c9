"""Random command lines: whatever the arguments are, a command works, or refuses them in one line and changes no run."""

from typing import Any

import pytest
import typer
from fuzz.commands import SECONDS, SERVING, check_end, run_command
from fuzz.examples import fuzz
from fuzz.workspace import MODELS, RUNS, Workspace
from hypothesis import example, given
from hypothesis import strategies as st

from ohlol.cells import CELLS
from ohlol.cli import app
from ohlol.data.readers.base import READERS
from ohlol.models.heads import HEADS
from ohlol.tasks import TASKS

pytestmark = pytest.mark.slow

COMMANDS: dict[str, Any] = typer.main.get_command(app).commands  # pyright: ignore
INVALID = (
    "",
    " ",
    "-",
    "--",
    "-1",
    "\x1b[2J\x1b]0;title\x07",
    "[/b]",
    "[bold]x[/bold]",
    ":smile:",
    "\udcff\udc80",  # bytes that are not UTF-8
    "\u202e\u200b",
    "a\r\nb\tc",
    "x" * 300,
    "y" * 100_000,
    "NaN",
    "inf",
    "-inf",
    "1e999",
    "0x10",
    "１",
    "1_0",
    "9" * 20,
    "9" * 5000,
    "{}%s$(x)`x`",
    "../..",
    "/",
    "~",
    "http://localhost:1/x",
)
"""Values that few options accept."""
NUMBERS = ("0", "1", "2", "3", "0.5", "1e-3", "1000000000", "1e9", "-2", "0.0", "1.0")
FILES = (
    "pairs.tsv", "pairs.jsonl", "spans.conll", "tags.conllu", "words.txt", "text.txt", "names.csv", "names.jsonl",
    "sine.csv", "names.parquet", "sizes.feather", "anything", "corpus", *MODELS, "symbols.txt",
)  # fmt: skip
ODD_FILES = (
    "empty", "loop", "device", "pipe", ".", "label", "corpus", "missing", "missing/file", "/dev/null", "/dev/full",
    "/dev/zero", "/proc/self/mem", "not utf-8 \udcff.txt", "x" * 251 + ".txt", "label/config.json", "text.txt/x",
)  # fmt: skip
OUTPUTS = (
    "new", "new/deeper", "new.onnx", "new.html", "new.png", "label", "next", "label/new", "label/config.json",
    "text.txt", "n" * 250, "n" * 300, "new \udcff", "new\x1b[2J", "/dev/full", "/dev/null", "loop", "empty/new",
)  # fmt: skip
VALUES: dict[str, tuple[str, ...]] = {
    "run": tuple(RUNS),
    "runs": tuple(RUNS),
    "files": FILES,
    "source": (*FILES, "abc", "the cat"),
    "text": (*FILES, "abc", "the cat"),
    "file": (*MODELS, "new.onnx"),
    "dev": FILES,
    "data": FILES,
    "vocab": tuple(f"{run}/vocab.json" for run in RUNS),
    "symbols": ("symbols.txt",),
    "labels": ("symbols.txt",),
    "api_key": ("symbols.txt",),
    "out": OUTPUTS,
    "html": OUTPUTS,
    "png": OUTPUTS,
    "kind": ("rnncell", "grucell", "lstmcell", "rnn", "gru", "lstm"),
    "cell": tuple(CELLS),
    "head": tuple(HEADS),
    "task": tuple(TASKS),
    "format": tuple(READERS),
    "level": ("char", "word"),
    "input": ("name", "input", "1", "3,2"),
    "target": ("kind", "target", "2", "size,kind"),
    "pair": ("hello ohlol", "a b", "ab cd"),
    "device": ("cpu", "auto", "cuda", "cuda:99", "meta"),
    "search": ("lr=1e-4:1e-2:log", "hidden-size=2:4", "cell=rnn,gru", "hidden-size=4:2", "epochs=1:2:step=1"),
    "storage": ("sqlite:///new.db", "sqlite:////missing/x.db", "postgresql://user:secret@localhost:1/x", "x"),
    "optimizer": ("adam", "adamw", "sgd", "rmsprop"),
    "lr_schedule": ("constant", "plateau", "onecycle", "cosine"),
    "checkpoint_every": ("1", "1s", "0.5s"),
    "class_weights": ("none", "balanced"),
    "loss_reduction": ("mean", "sum"),
    "on_nan": ("stop", "skip"),
    "precision": ("float32", "bfloat16", "float16"),
    "pruner": ("auto", "none", "median", "hyperband"),
    "output_format": ("text", "tsv", "jsonl", "csv"),
    "quantize": ("int8", "dynamic"),
    "lang": ("en", "zh"),
    "dtype": ("float32", "float64"),
    "host": ("127.0.0.1", "localhost", "::1", "256.1.1.1"),
    "sizes": ("5,1,4,4", "1,1,1,1"),
    "prompt": ("the", "abc"),
    "embedding_size": ("onehot", "0", "3"),
}
"""Values that an option or argument of this name may accept; of the others, numbers."""
FIRST: dict[str, list[str]] = {
    "train": ["--hidden-size", "4", "--epochs", "1", "--num-layers", "1", "--embedding-size", "3"],
    "tune": ["--hidden-size", "4", "--epochs", "1", "--num-layers", "1", "--embedding-size", "3", "--trials", "1"],
    "bench": ["--seconds", "0.001", "--sizes", "5,1,4,4"],
    "serve": ["--port", "0"],
}
"""Options that keep a command small; a later one of the same name replaces them."""

ENDLESS = {"serve", "--epochs", "--length", "--seconds", "--trials"}
"""A command or options with which a command may take long; it is interrupted."""


def values(name: str) -> st.SearchStrategy[str]:
    """Mostly values that an option can have, since a command refuses the first one that is wrong."""
    valid = st.sampled_from(VALUES.get(name, NUMBERS))
    odd = st.one_of(st.sampled_from(INVALID), st.sampled_from(NUMBERS), st.sampled_from(ODD_FILES))
    return st.integers(0, 5).flatmap(lambda chance: odd if chance == 0 else valid)


@st.composite
def command_lines(draw: st.DrawFn) -> tuple[str, ...]:
    command = draw(st.sampled_from(list(COMMANDS)))
    words = [command, *FIRST.get(command, [])]
    parameters = COMMANDS[command].params
    options = [p for p in parameters if p.param_type_name != "argument"]
    for option in draw(st.lists(st.sampled_from(options), max_size=4)):
        words.append(draw(st.sampled_from([*option.opts, *option.secondary_opts])))
        if not option.is_flag:
            words += draw(values(option.name)).split(" ") if option.name == "pair" else [draw(values(option.name))]
    for argument in (p for p in parameters if p.param_type_name == "argument"):
        count = 1 if argument.nargs == 1 else draw(st.sampled_from([1, 1, 1, 0, 2]))
        words += [draw(values(argument.name)) for _ in range(count)]
    return tuple(words)


@fuzz(40)
@given(arguments=command_lines(), stdin=st.sampled_from([b"", b"abc\n", b"\xff\xfe", b"a\r\n" * 50]),
       file_size=st.sampled_from([None, None, None, 4000, 6000, 20000]))  # fmt: skip
@example(("serve", "label", "--port", "0", "--api-key", "/dev/zero"), b"", None)
@example(("encode", "device", "--out", "new"), b"", None)
@example(("tune", "text.txt", "--search", "hidden-size=1:99999999999999999999"), b"", None)
@example(("train", "not utf-8 \udcff.txt", "--epochs", "1", "--hidden-size", "4"), b"", None)
@example(("train", "text.txt", "--out", "n" * 300), b"", None)
@example(("explain", "label", "abc", "--html", "label/config.json"), b"", None)
@example(("export", "label", "label/model.safetensors"), b"", None)
@example(("predict", "label", "a\r\nb"), b"", None)
@example(("train", "names.csv", "--target", "[/b]"), b"", None)
@example(("train", "pairs.tsv", "--resume", "--out", "label"), b"", 5000)
def test_a_command_line(workspace: Workspace, arguments: tuple[str, ...], stdin: bytes, file_size: int | None) -> None:
    workspace.restore()
    seconds = SERVING if "serve" in arguments else SECONDS
    ended = run_command(
        workspace.folder, workspace.results, arguments, stdin=stdin, file_size=file_size, seconds=seconds
    )
    check_end(ended)
    assert not ended.interrupted or set(arguments) & ENDLESS, arguments
    changed = workspace.changed()
    replaces = "--overwrite" in arguments or "--resume" in arguments
    if ended.status == 2 and not replaces:
        assert not changed, (arguments, changed)
    in_runs = {name for name in changed if name.split("/")[0] in RUNS}
    assert not in_runs or replaces, (arguments, in_runs)
    for run in {name.split("/")[0] for name in in_runs}:
        after = run_command(workspace.folder, workspace.results, ("predict", run, "abc", "--steps", "1"))
        check_end(after)
