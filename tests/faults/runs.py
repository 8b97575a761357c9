"""Small runs of every task for the fault tests, in processes that can be killed."""

import multiprocessing
import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from helpers import SALES, TINY, conll_file, names_file, sales_file, sine_file, text_file, upper_pairs

RUNS: dict[str, tuple[Callable[[Path], Path], str, dict[str, Any]]] = {
    "label-gru": (upper_pairs, "data.tsv", {"cell": "gru", "dropout": 0.3, "num_layers": 2, "bidirectional": True}),
    "label-rnn": (
        upper_pairs,
        "data.tsv",
        {"cell": "rnn", "optimizer": "rmsprop", "patience": 2, "epochs": 6, "snapshots": True},
    ),
    "label-lstm-loop": (
        upper_pairs,
        "data.tsv",
        {"cell": "lstm", "loop": True, "lr_schedule": "plateau", "optimizer": "sgd"},
    ),
    "label-crf": (conll_file, "data.conll", {"cell": "gru", "dropout": 0.2, "snapshots": True}),
    "next-lstm": (text_file, "data.txt", {"cell": "lstm", "bptt": 7, "dropout": 0.1}),
    "next-gru-loop": (
        text_file,
        "data.txt",
        {"cell": "gru", "loop": True, "bptt": 9, "tie_weights": True, "embedding_size": 6},
    ),
    "classify-lstm": (
        names_file,
        "data.csv",
        {"input": "name", "target": "kind", "dropout": 0.2, "bidirectional": True},
    ),
    "next_row-gru": (
        sine_file,
        "data.csv",
        {"task": "next_row", "cell": "gru", "bptt": 9, "lr_schedule": "onecycle", "batch_size": 5},
    ),
    "next_row-rnn": (
        sine_file,
        "data.csv",
        {"task": "next_row", "cell": "rnn", "bptt": 16, "max_grad_norm": 0.0, "optimizer": "adamw"},
    ),
    "forecast-gru": (sales_file, "data.csv", {**SALES, "cell": "gru", "bptt": 9, "dropout": 0.2}),
}
"""Task and cell -> data and settings."""
KEPT = ("model.safetensors", "metrics.jsonl", "config.json", "vocab.json", "README.md", "resume/last.safetensors")
"""Files that must have the same bytes."""
EVERY = ("1", "3", "300s")
"""Between saved states: every step, so that most kills fall into a save; some steps; the default."""

PATIENCE = 120
"""Time limit of a process in seconds."""

context = multiprocessing.get_context("forkserver")  # imports torch once, and forks a process in milliseconds
# torch imports _dynamo with the first optimizer, which takes longer than a whole run: most kills would fall there
context.set_forkserver_preload(["ohlol.training.fit", "ohlol.cli", "torch._dynamo"])


def settings_of(kind: str, every: str) -> dict[str, Any]:
    return {**TINY, "checkpoint_every": every, **RUNS[kind][2]}


def train(folder: str, kind: str, every: str, how: str) -> None:
    """Train in `folder`/run: "start", "overwrite" or "resume". Runs in a process of its own."""
    import torch

    import ohlol

    torch.set_num_threads(1)
    os.chdir(folder)
    if how == "resume":
        ohlol.fit(out="run", resume=True)
    else:
        ohlol.fit(RUNS[kind][1], out="run", overwrite=how == "overwrite", **settings_of(kind, every))


def command_line(arguments: tuple[str, ...], folder: str, code: str) -> None:
    """Run some code and then the command line in `folder`, with its output in the files `stdout` and `stderr` there."""
    import torch

    from ohlol.cli import main

    torch.set_num_threads(1)  # as in the tests' own process, so that the bytes are equal
    os.chdir(folder)
    for handle, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), handle)
    exec(code, {})
    main(list(arguments))


def run_command(*arguments: str, cwd: Path, code: str = "") -> tuple[int, str]:
    """The status and standard error of the command line in a process of its own, `code` run before it."""
    process = context.Process(target=command_line, args=(arguments, str(cwd), code))
    process.start()
    process.join(PATIENCE)
    if process.exitcode is None:
        process.kill()
        raise AssertionError(f"{arguments} did not end")
    return process.exitcode, (cwd / "stderr").read_text(encoding="utf-8")


@dataclass
class Kills:
    """The result of killing and restarting a run until it was complete."""

    kills: int = 0
    restarts: int = 0
    """Kills that came before the first state was saved, after which the run was started anew."""
    differing: tuple[str, ...] = ()


def resume_mode(run: Path) -> str:
    """The mode of `train` with which a user continues after a kill, from the files of the run."""
    if not run.exists():
        return "start"
    states = [(run / "resume" / f"{name}.safetensors").exists() for name in ("last", "before")]
    return "resume" if (run / "config.json").exists() and any(states) else "overwrite"


def train_uninterrupted(folder: Path, kind: str, every: str) -> float:
    """Train without a kill and return the seconds it took."""
    folder.mkdir(parents=True)
    RUNS[kind][0](folder / RUNS[kind][1])
    process = context.Process(target=train, args=(str(folder), kind, every, "start"))
    began = time.monotonic()
    process.start()
    process.join()
    assert process.exitcode == 0, f"{kind} failed with {process.exitcode}"
    return time.monotonic() - began


def train_with_kills(folder: Path, kind: str, every: str, times: int, seconds: float, chance: random.Random) -> Kills:
    """Kill a run at `times` random moments, continue after each, and compare it with the run in `folder`/whole."""
    place = folder / "killed"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    RUNS[kind][0](place / RUNS[kind][1])
    found = Kills()
    while True:
        how = resume_mode(place / "run")
        found.restarts += how == "overwrite"
        process = context.Process(target=train, args=(str(place), kind, every, how))
        process.start()
        process.join(chance.uniform(0, seconds) if found.kills < times else None)
        if process.exitcode is None:
            assert process.pid is not None
            os.kill(process.pid, signal.SIGKILL)
            process.join()
            found.kills += 1
            continue
        assert process.exitcode == 0, f"{kind}: {how} after {found.kills} kills ended with {process.exitcode}"
        if found.kills >= times:
            break
        shutil.rmtree(place / "run")  # it ended before the next kill: start another
    one, two = place / "run", folder / "whole" / "run"
    names = (*KEPT, *(str(path.relative_to(two)) for path in two.glob("snapshots/*")))
    found.differing = tuple(name for name in names if (one / name).read_bytes() != (two / name).read_bytes())
    return found
