"""The command line: parse, call, print; knows nothing of how anything is done, and imports torch only inside a command.

Exit status: 0 done; 1 a bug (traceback); 2 bad input (one line on stderr); 130 interrupted, after saving.
"""

import json
import os
import shlex
import sys
from collections.abc import Collection, Generator, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.exceptions import TyperException

from ohlol import __version__
from ohlol.errors import InputError
from ohlol.settings import CELLS, FORMATS, LEVELS, OPTIMIZERS, SCHEDULES, TASKS

if TYPE_CHECKING:
    from ohlol.infer import Prediction, TrainedModel

app = typer.Typer(
    help="Recurrent networks you can read, train and ship.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
PAIR_GLUE = "\t"
"""Joins the two values of --pair, as typer has no repeatable option of two; no symbol of a pair can be a tab."""
FILE_SUFFIXES = (".tsv", ".csv", ".jsonl", ".ndjson", ".conll", ".conllu", ".parquet", ".txt")
"""An argument that ends in one of these, and has no space in it, means a file."""


def one_of(names: Iterable[str]) -> str:
    """The choices of an option, for its help."""
    return ", ".join(names)


@app.callback(invoke_without_command=True)
def root(version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False) -> None:
    """Recurrent networks you can read, train and ship."""
    if version:
        print(f"ohlol {__version__}")
        raise typer.Exit


@app.command()
def shapes(
    kind: Annotated[str, typer.Argument(help="rnncell|grucell|lstmcell|rnn|gru|lstm")],
    input_size: Annotated[int, typer.Option(help="I, numbers in a step's input.")] = 4,
    hidden_size: Annotated[int, typer.Option(help="H, units of a layer and direction.")] = 2,
    seq_len: Annotated[int, typer.Option(help="T, time steps.")] = 3,
    batch_size: Annotated[int, typer.Option(help="B, sequences.")] = 1,
    num_layers: Annotated[int, typer.Option(help="L, for a layer.")] = 1,
    bidirectional: Annotated[bool, typer.Option("--bidirectional", help="Both directions, for a layer.")] = False,
    batch_first: Annotated[bool, typer.Option("--batch-first", help="(B, T, I) instead of (T, B, I).")] = False,
    bias: Annotated[bool, typer.Option("--bias/--no-bias", help="With bias_ih and bias_hh.")] = True,
    nonlinearity: Annotated[str, typer.Option(help="tanh|relu, for rnncell and rnn.")] = "tanh",
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """Every shape of a cell or a layer, from really running it."""
    from ohlol import render
    from ohlol import shapes as rooms

    report = rooms.describe(
        kind,
        input_size=input_size,
        hidden_size=hidden_size,
        seq_len=seq_len,
        batch_size=batch_size,
        num_layers=num_layers,
        bidirectional=bidirectional,
        batch_first=batch_first,
        bias=bias,
        nonlinearity=nonlinearity,
    )
    if as_json:
        print(json.dumps(report.to_json(), indent=2))
    else:
        render.shapes_to_text(report, console())


@app.command()
def train(
    files: Annotated[
        list[str] | None, typer.Argument(help="Data; without any, hello -> ohlol.", metavar="[FILE]...")
    ] = None,
    *,
    pair: Annotated[
        list[str] | None,
        typer.Option(help="A pair of your own: --pair hello ohlol; repeatable.", metavar="INPUT TARGET"),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Run directory; by default a new one under runs/.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the run in --out.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    dev: Annotated[
        Path | None, typer.Option(help="File to measure on after each epoch.", rich_help_panel="Data")
    ] = None,
    dev_fraction: Annotated[
        float | None, typer.Option(help="Share of the data measured on without --dev.", rich_help_panel="Data")
    ] = None,
    format: Annotated[
        str | None, typer.Option(help=one_of(FORMATS) + "; told from the file.", rich_help_panel="Data")
    ] = None,
    task: Annotated[
        str | None, typer.Option(help=one_of(TASKS) + "; told from the file.", rich_help_panel="Data")
    ] = None,
    level: Annotated[
        str | None, typer.Option(help=one_of(LEVELS) + ": what a symbol is.", rich_help_panel="Data")
    ] = None,
    input: Annotated[
        str | None,
        typer.Option("--input", "--input-column", help="Column by name or number from 1.", rich_help_panel="Data"),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option("--target", "--target-column", help="Column by name or number from 1.", rich_help_panel="Data"),
    ] = None,
    header: Annotated[
        bool | None,
        typer.Option("--header/--no-header", help="Whether a CSV file names its columns.", rich_help_panel="Data"),
    ] = None,
    cell: Annotated[str | None, typer.Option(help=one_of(CELLS), rich_help_panel="Model")] = None,
    hidden_size: Annotated[
        int | None, typer.Option(help="Units of a layer and direction.", rich_help_panel="Model")
    ] = None,
    layers: Annotated[int | None, typer.Option(help="Layers one upon the other.", rich_help_panel="Model")] = None,
    bidirectional: Annotated[
        bool | None,
        typer.Option("--bidirectional/--one-direction", help="Read from both ends.", rich_help_panel="Model"),
    ] = None,
    embedding: Annotated[
        str | None, typer.Option(help="Size of a symbol's vector, or onehot.", rich_help_panel="Model")
    ] = None,
    spelling: Annotated[
        int | None,
        typer.Option(help="Units of the character RNN beside each word; 0 for none.", rich_help_panel="Model"),
    ] = None,
    bigrams: Annotated[
        int | None,
        typer.Option(help="Size of the vectors of neighbouring characters; 0 for none.", rich_help_panel="Model"),
    ] = None,
    head: Annotated[
        bool | None,
        typer.Option("--head/--no-head", help="A linear layer on the hidden state.", rich_help_panel="Model"),
    ] = None,
    tied: Annotated[
        bool | None, typer.Option("--tied/--untied", help="Share embedding and head (next).", rich_help_panel="Model")
    ] = None,
    dropout: Annotated[
        float | None, typer.Option(help="Between layers and before the head.", rich_help_panel="Model")
    ] = None,
    embedding_dropout: Annotated[
        float | None, typer.Option(help="On the encoder's output.", rich_help_panel="Model")
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(help="Passes over the data at most.", rich_help_panel="Training")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Sequences or streams in a step.", rich_help_panel="Training")
    ] = None,
    bptt: Annotated[
        int | None, typer.Option(help="Steps of truncated BPTT (next, forecast).", rich_help_panel="Training")
    ] = None,
    optimizer: Annotated[str | None, typer.Option(help=one_of(OPTIMIZERS), rich_help_panel="Training")] = None,
    lr: Annotated[float | None, typer.Option(help="Highest learning rate.", rich_help_panel="Training")] = None,
    schedule: Annotated[str | None, typer.Option(help=one_of(SCHEDULES), rich_help_panel="Training")] = None,
    warmup: Annotated[
        int | None, typer.Option(help="Steps over which the rate rises.", rich_help_panel="Training")
    ] = None,
    clip: Annotated[
        float | None, typer.Option(help="Largest gradient norm; 0 for any.", rich_help_panel="Training")
    ] = None,
    weight_decay: Annotated[
        float | None, typer.Option(help="As the optimizer has it.", rich_help_panel="Training")
    ] = None,
    label_smoothing: Annotated[
        float | None, typer.Option(help="Share spread over all labels.", rich_help_panel="Training")
    ] = None,
    class_weights: Annotated[str | None, typer.Option(help="none|balanced", rich_help_panel="Training")] = None,
    loss: Annotated[str | None, typer.Option(help="mean|sum over the steps.", rich_help_panel="Training")] = None,
    unknown: Annotated[
        float | None,
        typer.Option(help="How often rare symbols are read as <unk>; 0: no <unk>.", rich_help_panel="Training"),
    ] = None,
    patience: Annotated[
        int | None, typer.Option(help="Epochs without a better score; 0: no early stop.", rich_help_panel="Training")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of weights, order and dropout.", rich_help_panel="Training")] = None,
    checkpoint_every: Annotated[
        int | None, typer.Option(help="Seconds between saved states.", rich_help_panel="Training")
    ] = None,
) -> None:
    """From a file of sequences to a trained, measured model; without a file, the tutorial's hello -> ohlol."""
    given = dict(locals())
    from ohlol import checkpoint, progress, recipe
    from ohlol.scores import text_of
    from ohlol.train import Interrupted

    settings = {k: given[k] for k in given if k not in ("files", "pair", "out", "overwrite", "resume", "dev")}
    settings["embedding"] = _embedding(embedding)
    pairs = _pairs(pair)
    if pairs and files:
        raise InputError("--pair and FILE exclude each other: give one of them")
    if resume and overwrite:
        raise InputError("--resume and --overwrite exclude each other: go on, or start anew")
    data: Any = pairs or files
    if resume and out is None:
        raise InputError("--resume needs --out: the run directory to go on with")
    stem = Path(files[0]).stem if files else pairs[0][0] if pairs and pairs[0][0].isalnum() else "hello"
    run = out or checkpoint.free_name(stem)
    tutorial = not files and not resume
    shown = [t for _, t in pairs or recipe.HELLO] if tutorial else None
    reporter = progress.reporter(console(), shown)
    try:
        model = recipe.fit(data, dev=dev, out=run, overwrite=overwrite, resume=resume, reporter=reporter, **settings)
    except Interrupted:
        print(f"interrupted, and saved: ohlol train --resume --out {shlex.quote(str(run))}", file=sys.stderr)
        raise typer.Exit(130) from None
    finally:
        if isinstance(reporter, progress.Bar):
            reporter.stop()
    print(f"best weights: {text_of(model.config.scores)}")
    print(f"saved: {run}")
    for text, _ in (pairs or recipe.HELLO) if tutorial else ():
        print(f"{text} -> {''.join(model.predict(text).labels)}")


def _embedding(value: str | None) -> int | None:
    if value is None:
        return None
    if value == "onehot":
        return 0
    if value.isdecimal() and int(value) > 0:
        return int(value)
    raise InputError(f"--embedding is {value!r}; give a size, such as 64, or onehot")


def _pairs(glued: list[str] | None) -> list[tuple[str, str]]:
    pairs: list[tuple[str, str]] = []
    for one in glued or ():
        given, found, wanted = one.partition(PAIR_GLUE)
        if not found:
            raise InputError(f"--pair has {given!r} alone; give an input and a target: --pair hello ohlol")
        pairs.append((given, wanted))
    return pairs


@app.command()
def evaluate(
    run: Annotated[Path, typer.Argument(help="Run directory.")],
    files: Annotated[list[str], typer.Argument(help="Data of the kind the run was trained on.", metavar="FILE...")],
    worst: Annotated[int, typer.Option(help="Rows of the table of commonest mistakes.")] = 10,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """How good a model is on a file, and which labels it takes for which."""
    from ohlol import output
    from ohlol.data import readers
    from ohlol.infer import load
    from ohlol.scores import persistence, text_of

    model = load(run)
    corpus = readers.read(files, model.config.data)
    tally = model.evaluate(corpus)
    pairs = tally.worst_pairs(worst) if tally.confusion is not None else []
    extra: dict[str, Any] = {}
    if model.task == "forecast":
        targets: Any = corpus.targets
        extra["persistence"] = persistence(targets)
    if as_json:
        mistakes = [{"wanted": w, "chosen": c, "times": n, "share": s} for w, c, n, s in pairs]
        print(json.dumps({"scores": tally.scores(), "mistakes": mistakes, **extra}, ensure_ascii=False, indent=2))
        return
    print(text_of(tally.scores()))
    if extra:
        print(f"repeating the last row would give: {text_of(extra['persistence'])}")
    if pairs:
        output.print_mistakes(pairs, console())


@app.command()
def predict(
    run: Annotated[Path, typer.Argument(help="Run directory.")],
    source: Annotated[
        str, typer.Argument(help="A text, a file, or - for standard input.", metavar="[TEXT|FILE|-]")
    ] = "-",
    output_format: Annotated[str, typer.Option(help="plain|tsv|conll|jsonl")] = "plain",
    n_best: Annotated[int, typer.Option(help="Labels a step, with their probabilities.", min=1)] = 1,
    steps: Annotated[int, typer.Option(help="Rows to forecast.", min=1)] = 10,
) -> None:
    """Label a text, a file or standard input; forecast the rows that follow a file's."""
    from ohlol import output
    from ohlol.infer import load

    model = load(run)
    if model.task == "forecast":
        _print_forecast(model, source, steps, output_format)
        return
    write = output.writer(model, output_format)
    unknown: dict[str, None] = {}
    with _until_enough():
        for prediction in _predictions(model, source, n_best):
            print(write(prediction), flush=source == "-")
            unknown.update(dict.fromkeys(prediction.unknown))
        sys.stdout.flush()
    _report(unknown)


def _report(unknown: Collection[str]) -> None:
    if unknown:
        shown = " ".join(map(repr, list(unknown)[:10])) + " ..." * (len(unknown) > 10)
        print(f"not seen in training and read as <unk>: {shown}", file=sys.stderr)


def _predictions(model: "TrainedModel", source: str, n_best: int) -> "Iterator[Prediction]":
    from ohlol.data import readers

    is_file = source == "-" or _means_file(source)
    if not is_file:
        yield model.predict(source, n_best=n_best)
        return
    found: Iterator[Any] = readers.stream(source, model.config.data)
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
) -> None:
    """Continue a text, symbol by symbol, as it is made."""
    from ohlol.data import readers
    from ohlol.infer import load

    model = load(run)
    symbols = model.generate(prompt, length=length, temperature=temperature, top_k=top_k, top_p=top_p, seed=seed)
    words = model.config.data.level == "word"
    with _until_enough():
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
        _report(model.codec.symbols.unknown(readers.symbols_of(prompt, model.config.data)))


def console() -> Any:
    """Standard output as rich sees it."""
    from rich.console import Console

    return Console(highlight=False)


def glue_pairs(arguments: list[str]) -> list[str]:
    """Join the two values of every --pair into one.

    >>> glue_pairs(["train", "--pair", "hello", "ohlol", "--seed", "1"])
    ['train', '--pair', 'hello\\tohlol', '--seed', '1']
    """
    glued: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        glued.append(argument)
        if argument == "--":
            break
        if argument == "--pair":
            values = [value for value in (next(rest, None), next(rest, None)) if value is not None]
            if len(values) == 2 and values[1].startswith("--"):
                glued += values
            elif values:
                glued.append(PAIR_GLUE.join(values))
    return [*glued, *rest]


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with its status."""
    try:
        status = app(glue_pairs(sys.argv[1:] if arguments is None else arguments), standalone_mode=False)
        sys.stdout.flush()
    except InputError as error:
        status = _complain(str(error))
    except TyperException as error:
        status = _complain(error.format_message())
    except BrokenPipeError:
        status = _reader_gone()
    except (KeyboardInterrupt, typer.Abort):
        status = 130
    sys.exit(status if isinstance(status, int) else 0)


def _complain(message: str) -> int:
    if message:  # there is none after the help that an empty command line gets
        print("ohlol: " + " ".join(message.split("\n")), file=sys.stderr)
    return 2


@contextmanager
def _until_enough() -> Generator[None]:
    """Stop in silence when whoever reads our output has enough; typer would call it a failure."""
    try:
        yield
    except BrokenPipeError:
        raise typer.Exit(_reader_gone()) from None


def _reader_gone() -> int:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0
