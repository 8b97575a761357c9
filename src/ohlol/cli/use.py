"""The commands that put a trained model to work: `ohlol evaluate`, `predict` and `generate`."""

import json
import sys
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ohlol.cli.frame import Device, app, console, until_enough
from ohlol.utils.errors import InputError

if TYPE_CHECKING:
    from ohlol.inference.prediction import Prediction
    from ohlol.inference.trained_model import TrainedModel

FILE_SUFFIXES = (".tsv", ".csv", ".jsonl", ".ndjson", ".conll", ".conllu", ".parquet", ".txt")
"""An argument that ends in one of these, and has no space in it, means a file."""


@app.command()
def evaluate(
    run: Annotated[Path, typer.Argument(help="Run directory.")],
    files: Annotated[
        list[str], typer.Argument(help="Data of the kind the run was trained on, or a corpus.", metavar="FILE...")
    ],
    confusions: Annotated[int, typer.Option(help="Rows in the table of the most frequent confusions.")] = 10,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
    device: Device = "cpu",
) -> None:
    """How good a model is on a file, and which labels it takes for which."""
    from ohlol.data import sequences
    from ohlol.data.corpus.store import is_corpus
    from ohlol.display.confusions_text import print_confusions
    from ohlol.evaluation.baselines import evaluate_persistence
    from ohlol.inference.trained_model import load
    from ohlol.tasks.metrics import ConfusionMetrics, format_metrics

    model = load(run, device)
    corpus = None if is_corpus(files[0]) else sequences.read(files, model.config.data)
    accumulator = model.evaluate(files if corpus is None else corpus)
    pairs = accumulator.confusions(confusions) if isinstance(accumulator, ConfusionMetrics) else []
    extra: dict[str, Any] = {}
    if model.targets.numeric and corpus is not None:
        targets: Any = corpus.targets
        extra["persistence"] = evaluate_persistence(targets)
    if as_json:
        mistakes = [{"wanted": w, "chosen": c, "times": n, "share": s} for w, c, n, s in pairs]
        report = {"metrics": accumulator.metrics(), "mistakes": mistakes, **extra}
        print(json.dumps(report, ensure_ascii=False, indent=2))
        return
    print(format_metrics(accumulator.metrics()))
    if extra:
        print(f"repeating the last row would give: {format_metrics(extra['persistence'])}")
    if pairs:
        print_confusions(pairs, console())


@app.command()
def predict(
    run: Annotated[Path, typer.Argument(help="Run directory.")],
    source: Annotated[
        str, typer.Argument(help="A text, a file, - for standard input, or a corpus.", metavar="[TEXT|FILE|-|CORPUS]")
    ] = "-",
    output_format: Annotated[str, typer.Option(help="plain|tsv|conll|jsonl")] = "plain",
    n_best: Annotated[int, typer.Option(help="Labels a step, with their probabilities.", min=1)] = 1,
    steps: Annotated[int, typer.Option(help="Rows to forecast.", min=1)] = 10,
    out: Annotated[Path | None, typer.Option(help="Directory for the predictions of an encoded corpus.")] = None,
    device: Device = "cpu",
) -> None:
    """Label a text, a file, standard input or an encoded corpus; forecast the rows that follow a file's."""
    from ohlol.data.corpus.store import is_corpus
    from ohlol.inference.output import make_writer
    from ohlol.inference.trained_model import load

    model = load(run, device)
    if is_corpus(source) or out is not None:
        _predict_corpus(model, source, out, output_format, n_best)
        return
    if model.targets.numeric:
        _print_forecast(model, source, steps, output_format)
        return
    write = make_writer(model, output_format)
    unknown: dict[str, None] = {}
    with until_enough():
        for prediction in _predictions(model, source, n_best):
            print(write(prediction), flush=source == "-")
            unknown.update(dict.fromkeys(prediction.unknown))
        sys.stdout.flush()
    _report(unknown)


def _predict_corpus(model: "TrainedModel", source: str, out: Path | None, output_format: str, n_best: int) -> None:
    from ohlol.data.corpus.store import is_corpus
    from ohlol.inference.batch_predict import predict_corpus

    if out is None:
        raise InputError(f"{source} is an encoded corpus: give --out, a directory for the predictions of its shards")
    if not is_corpus(source):
        raise InputError(f"--out is for the predictions of an encoded corpus, and {source} is none: ohlol encode")
    total = predict_corpus(model, Path(source), out, output_format=output_format, n_best=n_best)
    if total is not None:
        print(f"{total:,} sequences\nsaved: {out}")


def _report(unknown: Collection[str]) -> None:
    if unknown:
        shown = " ".join(map(repr, list(unknown)[:10])) + " ..." * (len(unknown) > 10)
        print(f"not seen in training and read as <unk>: {shown}", file=sys.stderr)


def _predictions(model: "TrainedModel", source: str, n_best: int) -> "Iterator[Prediction]":
    from ohlol.data import sequences

    is_file = source == "-" or _means_file(source)
    if not is_file:
        yield model.predict(source, n_best=n_best)
        return
    found: Iterator[Any] = sequences.stream(source, model.config.data)
    sequences = (sequence for sequence, _ in found)
    if source == "-":  # each line is answered at once
        for sequence in sequences:
            yield model.predict(sequence, n_best=n_best)
        return
    yield from model.predict_many(sequences, n_best=n_best)


def _means_file(source: str) -> bool:
    named = source.lower().endswith(FILE_SUFFIXES) and not any(c.isspace() for c in source)
    try:
        return named or Path(source).is_file()
    except (OSError, ValueError):  # too long, or with a NUL: a text
        return False


def _print_forecast(model: "TrainedModel", source: str, steps: int, output_format: str) -> None:
    rows = model.forecast(source, steps)
    names = model.codec.target_columns
    if output_format == "jsonl":
        for row in rows.tolist():
            print(json.dumps(dict(zip(names, row, strict=True)), ensure_ascii=False))
        return
    if output_format not in ("plain", "tsv"):
        raise InputError(f"--output-format {output_format} does not fit a forecast; give tsv or jsonl")
    print("\t".join(names))
    for row in rows.tolist():
        print("\t".join(f"{value:.6g}" for value in row))


@app.command()
def generate(
    run: Annotated[Path, typer.Argument(help="Run directory of a model of task next.")],
    prompt: Annotated[str, typer.Option(help="What comes before.")] = "",
    length: Annotated[int, typer.Option(help="Symbols to make.")] = 500,
    temperature: Annotated[float, typer.Option(help="0 takes the likeliest; 1 draws as learned.")] = 0.8,
    top_k: Annotated[int, typer.Option(help="Among the k likeliest only; 0: all.")] = 0,
    top_p: Annotated[float, typer.Option(help="Among the likeliest that together have this probability.")] = 1.0,
    seed: Annotated[int | None, typer.Option(help="Makes the text repeatable.")] = None,
    device: Device = "cpu",
) -> None:
    """Continue a text, symbol by symbol, as it is made."""
    from ohlol.data import sequences
    from ohlol.inference.trained_model import load

    model = load(run, device)
    symbols = model.generate(prompt, length=length, temperature=temperature, top_k=top_k, top_p=top_p, seed=seed)
    words = model.config.data.level == "word"
    with until_enough():
        sys.stdout.write(prompt)
        before = prompt[-1:] or "\n"
        for symbol in symbols:
            glue = " " if words and before != "\n" and symbol != "\n" else ""
            sys.stdout.write(glue + symbol)
            sys.stdout.flush()
            before = symbol
        if before != "\n":
            sys.stdout.write("\n")
        sys.stdout.flush()
    if prompt and model.codec.symbols is not None:
        _report(model.codec.symbols.unknown(sequences.symbols_of(prompt, model.config.data)))
