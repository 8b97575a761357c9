"""Every benchmark runs with `--quick` and prints its table."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import text_file

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SHARED = {"timing.py", "plays_text.py"}
"""A module that the benchmarks import, and a script that prepares data."""
RUNS: dict[str, list[str]] = {
    "cells_table.py": [
        r"\| cell \| hidden units",
        r"(\|---){5}\|",
        *(rf"\| `{cell}` \| \d+ \| [\d,]+ \| [\d.]+ % \| [\d.]+ % \|" for cell in ("lstm", "mgu", "indrnn")),
    ],
    "forecast_deepar.py": [
        r"4 series, \d+ rows an epoch, 1 epochs, 48 steps, \d+ threads",
        r"\| model \| weighted quantile loss",
        r"(\|---){5}\|",
        r"\| ohlol, gru 1 x 64 \| 0\.0\d+ \| [\d.]+ \| [\d.]+ % \| [\d.]+ \|",
        r"\| seasonal naive \| 0\.0\d+ \| [\d.]+ \| [\d.]+ % \|",
        r"\| DeepAR of gluonts [\d.]+, lstm 2 x 40 \| [\d.]+ \| [\d.]+ \| [\d.]+ % \| [\d.]+ \|"
        r"|gluonts is not installed: DeepAR is not measured",
        r"ohlol: [\d.]+ of the weighted quantile loss of |",
    ],
    "forecast_series.py series": [
        r"\| series \| steps \| seasonal naive",
        r"(\|---){7}\|",
        r"\| simulated \| 6 \| [\d.]+ \| [\d.]+ \| [\d.]+ \| [\d.]+ \| [\d.]+ \|",
        r"worse than the seasonal naive: \d of 1; within 1.25 of ETS: \d of 1; geometric mean",
    ],
    "generate_speed.py": [
        r"generate, LSTM 2 x 16: ohlol [\d,]+ characters/s, torch [\d,]+ characters/s, [\d.]+x",
        r"one step, LSTM 16: ohlol [\d.]+ us, torch.nn.LSTMCell [\d.]+ us, [\d.]+x",
    ],
    "compile_speed.py": [
        rf"{kind}, 4x2x8, {line}"
        for kind in ("tagger", "user")
        for line in (
            r"first call: wall [\d.]+ s, processor [\d.]+ s and [\d.]+ s in children",
            *(
                rf"{step}: eager [\d.]+ ms, compiled [\d.]+ ms, [\d.]+ times as long \(wall [\d.]+\)"
                for step in ("training", "forward")
            ),
        )
    ],
    "crf_speed.py": [
        r"4x2x3, training: ohlol \d+ us, equations \d+ us \([\d.]+x\)",
        r"4x2x3, decoding: ohlol \d+ us, equations \d+ us \([\d.]+x\)",
    ],
    "recurrent_speed.py": [
        r"MGU(Cell)?, 4x2x8: loop [\d.]+ ms, (TorchScript [\d.]+ ms, )?ohlol [\d.]+ ms, [\d.]+x; recorded in",
        r"4x2x8: geometric mean [\d.]+x of 1, least [\d.]+x",
        *(
            rf"4x2x8: {plain} [\d.]+ ms, {layer} [\d.]+ ms, [\d.]+ times as long"
            for plain, layer in (("PlainLSTM", "LSTM"), ("PlainGRU", "GRU"), ("MinGRU", "GRU"))
        ),
    ],
    "saving_cost.py data.txt": [r"training: ", "states: ", "best weights: ", "metrics: ", "together: "],
    "scale.py memory place": [r"\| data \| MB", r"(\|---){12}\|", r"\| text \| 0\.1 \|.*\|"],
    "scale.py processes place": [
        r"\| model \| processes",
        r"(\|---){5}\|",
        r"\| LSTM of 8 \| 1 \| [\d,]+ \| [\d,]+ \| 1\.00 \|",
        r"\| LSTM of 8 \| 2 \| [\d,]+ \| [\d,]+ \| [\d.]+ \|",
    ],
    "serve_speed.py batches": [
        "lstm 1 x 16, both directions",
        r"  one by one: [\d,]+ requests/s",
        r"  in batches: [\d,]+ requests/s",
        r"one by one [\d,.]+, in batches [\d,.]+ requests/s: ",
        r"one by one [\d.]+, in batches [\d.]+ ms of processor a request: ",
    ],
    "serve_speed.py load": ["lstm 1 x 16", "4 sessions, a symbol a message: ", "4 clients, a text of 4 to 8 symbols"],
    "shared_cores.py": [
        rf"{program}: 1 thread [\d.]+ ms, default [\d.]+ ms, [\d.]+x" for program in ("RNN", "predict", "serve")
    ],
    "stream_speed.py": [
        "lstm 2 x 16, 65 symbols, 1 threads, .*; same logits, same text",
        " +ohlol +onnxruntime +torch.nn",
        r"one step, us( +[\d,.]+){3}   [\d.]+x, [\d.]+x",
        r"one step of 4 sequences, us( +[\d,.]+){3}   [\d.]+x, [\d.]+x",
        r"generate, characters/s( +[\d,.]+){3}   [\d.]+x, [\d.]+x",
    ],
    f"tagging_speed.py {BENCHMARKS.parent / 'examples' / 'tags.conllu'}": [
        r"ohlol [\d,]+ words/s   torch.nn [\d,]+   [\d.]+x, of processor time [\d.]+x"
    ],
    "text_windows.py data.txt": [
        r"the whole text: [\d.]+ nats, [\d.]+ bits per character",
        r"4 windows of 16: [\d.]+ nats, [\d.]+ bits per character",
    ],
    "train_speed.py data.txt": [
        rf" *{cell}  ohlol +[\d,]+ characters/s   torch.nn +[\d,]+   [\d.]+x" for cell in ("lstm", "gru", "rnn")
    ],
}
"""The arguments of each run, and the beginnings of the lines that it prints."""
REQUIRES = {
    "serve_speed.py": ("fastapi", "websockets"),
    "shared_cores.py": ("fastapi", "websockets"),
    "stream_speed.py": ("onnx", "onnxruntime"),
}
"""Optional packages that a benchmark needs."""


@pytest.mark.slow
@pytest.mark.parametrize("arguments", RUNS)
def test_a_benchmark_prints_its_table(arguments: str, tmp_path: Path) -> None:
    script, *rest = arguments.split()
    for package in REQUIRES.get(script, ()):
        pytest.importorskip(package)
    text_file(tmp_path / "data.txt", 20_000)
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / script), *rest, "--quick"],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == len(RUNS[arguments]), done.stdout
    for line, pattern in zip(lines, RUNS[arguments], strict=True):
        assert re.match(pattern, line), line


def test_every_benchmark_is_run() -> None:
    scripts = {path.name for path in BENCHMARKS.glob("*.py")}
    assert scripts - SHARED == {arguments.split()[0] for arguments in RUNS}


PLAY = """<?xml version="1.0" encoding="UTF-8"?>
<TEI xmlns="http://www.tei-c.org/ns/1.0"><teiHeader><title>{title}</title><creationYear>{year}</creationYear></teiHeader>
<text><sp who="A1-first_lord"><speaker><w>Lord.</w></speaker>
<l><w reg="'t">T</w><w join="left">is</w> <w reg="prepared">prepar'd</w><pc>,</pc> <w>friend</w></l>
<p><w reg="We">VVe</w> <w>go</w> <pc>(</pc><w>now</w><pc>)</pc><pc>.</pc> <w>{words}</w></p></sp></text></TEI>
"""


def test_plays_are_written_in_the_form_of_tiny_shakespeare(tmp_path: Path) -> None:
    measured = "so shines a good deed in a naughty world and how far that little candle throws his beams"
    tiny = tmp_path / "tiny.txt"
    tiny.write_text("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz',.:()\n" * 100 + measured)
    words = "abcd " * 7_000
    for name, title, year, rest in (
        ("read", "A Play", 1600, words),
        ("late", "A Play", 1640, words),
        ("adapted", "A Play after Shakespear", 1600, words),
        ("short", "A Play", 1600, "abcd"),
        ("overlapping", "A Play", 1600, f"{words} {measured}"),
    ):
        (tmp_path / f"{name}.xml").write_text(PLAY.format(title=title, year=year, words=rest))
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / "plays_text.py"), str(tmp_path), str(tiny), str(tmp_path / "plays.txt")],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("1 plays, ")
    text = (tmp_path / "plays.txt").read_text()
    assert text.startswith("FIRST LORD:\n'Tis prepar'd, friend\nWe go (now). abcd abcd")
    assert max(map(len, text.splitlines())) <= 72
