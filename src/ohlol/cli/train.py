"""`ohlol train`: train a model on files or pairs."""

import shlex
import sys
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from ohlol.cli.app import (
    DATA,
    MODEL,
    MODELS,
    TRAINING,
    DateOrder,
    Decimal,
    Device,
    Encoding,
    Format,
    Header,
    Horizon,
    Input,
    Known,
    LabelSeparator,
    Layout,
    Level,
    Missing,
    Observed,
    Season,
    Series,
    Sheet,
    Static,
    Target,
    Task,
    Thousands,
    Time,
    app,
    console,
    continue_without_output,
    one_of,
)
from ohlol.cli.flags import name_flags
from ohlol.config import LR_SCHEDULES, OPTIMIZERS, POOLINGS, PRECISIONS, VECTORS_TRAINING, WEIGHT_AVERAGING
from ohlol.utils.digits import parse_digits
from ohlol.utils.errors import InputError
from ohlol.utils.terminal import print_data, print_message
from ohlol.utils.translation import translate

PAIR_SEPARATOR = "\t"
"""Joins the two values of `--pair`: typer has no repeatable option of two values, and no symbol of a pair is a tab."""
NOT_SETTINGS = ("files", "pair", "out", "overwrite", "resume", "device", "start_from", "dev")
"""Parameters of the command that are not settings of a run."""


@app.command(rich_help_panel=MODELS)
def train(
    files: Annotated[
        list[str] | None,
        typer.Argument(help="Data files; without one, the model learns hello -> ohlol.", metavar="[FILE]..."),
    ] = None,
    *,
    pair: Annotated[
        list[str] | None,
        typer.Option(help="Train on a pair, such as --pair hello ohlol; repeatable.", metavar="INPUT TARGET"),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Run directory; by default a new one in runs/.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the run in --out.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Resume the run in --out.")] = False,
    device: Device = "auto",
    start_from: Annotated[
        Path | None,
        typer.Option("--from", help="Run whose weights the model starts from.", metavar="RUN", show_default=False),
    ] = None,
    dev: Annotated[
        Path | None, typer.Option(help="File to evaluate on after each epoch.", rich_help_panel=DATA)
    ] = None,
    dev_fraction: Annotated[
        float | None, typer.Option(help="Share of the data to evaluate on without --dev.", rich_help_panel=DATA)
    ] = None,
    format: Format = None,
    task: Task = None,
    level: Level = None,
    input: Input = None,
    target: Target = None,
    header: Header = None,
    decimal: Decimal = None,
    thousands: Thousands = None,
    date_order: DateOrder = None,
    missing: Missing = None,
    label_separator: LabelSeparator = None,
    sheet: Sheet = None,
    reversed: Annotated[
        bool | None,
        typer.Option("--reversed", help="Read a text from its end to its beginning (task next).", rich_help_panel=DATA),
    ] = None,
    encoding: Encoding = None,
    time: Time = None,
    series: Series = None,
    known: Known = None,
    observed: Observed = None,
    static: Static = None,
    layout: Layout = None,
    season: Season = None,
    horizon: Horizon = None,
    cell: Annotated[
        str | None,
        typer.Option(
            help="Recurrent cell: rnn, rnn_relu, gru, lstm, peephole_lstm, coupled_lstm, layernorm_lstm, "
            "mogrifier_lstm, reset_gru, mgu, ugrnn, indrnn, slstm, mingru, minlstm, sru or rglru; or "
            "package.module:Class to import.",
            rich_help_panel=MODEL,
        ),
    ] = None,
    loop: Annotated[
        bool | None,
        typer.Option("--loop/--no-loop", help="Run the cell one step at a time in a loop.", rich_help_panel=MODEL),
    ] = None,
    hidden_size: Annotated[
        int | None, typer.Option(help="Hidden units per layer and direction.", rich_help_panel=MODEL)
    ] = None,
    num_layers: Annotated[int | None, typer.Option(help="Stacked recurrent layers.", rich_help_panel=MODEL)] = None,
    bidirectional: Annotated[
        bool | None,
        typer.Option("--bidirectional/--unidirectional", help="Read in both directions.", rich_help_panel=MODEL),
    ] = None,
    embedding_size: Annotated[
        str | None,
        typer.Option(
            help="Size of the symbol embedding, or onehot; with --vectors, onehot leaves it out.", rich_help_panel=MODEL
        ),
    ] = None,
    vectors: Annotated[
        str | None,
        typer.Option(
            help="Pretrained word vectors: word2vec, GloVe, fastText .vec or safetensors.",
            metavar="FILE",
            rich_help_panel=MODEL,
        ),
    ] = None,
    vectors_training: Annotated[
        str | None,
        typer.Option(
            help=f"Word vectors: {one_of(VECTORS_TRAINING)} (tuned in the second half of the epochs).",
            rich_help_panel=MODEL,
        ),
    ] = None,
    vectors_limit: Annotated[
        int | None,
        typer.Option(
            help="Words of the file that the run keeps for prediction, in addition to those of the data.",
            rich_help_panel=MODEL,
        ),
    ] = None,
    char_rnn_size: Annotated[
        int | None,
        typer.Option(help="Hidden units of the character RNN over each word; 0: none.", rich_help_panel=MODEL),
    ] = None,
    char_lm: Annotated[
        str | None,
        typer.Option(
            help="Language models over characters whose states at each word are read, forward and --reversed.",
            metavar="RUN[,RUN]",
            rich_help_panel=MODEL,
        ),
    ] = None,
    bigram_size: Annotated[
        int | None,
        typer.Option(help="Size of the embedding of character bigrams; 0: none.", rich_help_panel=MODEL),
    ] = None,
    pooling: Annotated[
        str | None,
        typer.Option(
            help=f"Steps that predict for a whole sequence: {one_of(POOLINGS)} (classify, multilabel, regress).",
            rich_help_panel=MODEL,
        ),
    ] = None,
    head: Annotated[
        str | None,
        typer.Option(
            help="Head: softmax, crf, sigmoid, identity, regression, absolute, quantile, normal, student_t or "
            "negative_binomial.",
            rich_help_panel=MODEL,
        ),
    ] = None,
    tie_weights: Annotated[
        bool | None,
        typer.Option(
            "--tie-weights/--no-tie-weights", help="Share the weights of embedding and head.", rich_help_panel=MODEL
        ),
    ] = None,
    dropout: Annotated[
        float | None, typer.Option(help="Dropout between layers and before the head.", rich_help_panel=MODEL)
    ] = None,
    embedding_dropout: Annotated[
        float | None, typer.Option(help="Dropout on the embeddings.", rich_help_panel=MODEL)
    ] = None,
    locked_dropout: Annotated[
        bool | None,
        typer.Option(
            "--locked-dropout/--no-locked-dropout",
            help="Variational dropout: one mask for all steps of a sequence.",
            rich_help_panel=MODEL,
        ),
    ] = None,
    word_dropout: Annotated[
        float | None, typer.Option(help="Dropout of whole symbols from the embedding.", rich_help_panel=MODEL)
    ] = None,
    weight_dropout: Annotated[
        float | None, typer.Option(help="Dropout of recurrent weights (DropConnect).", rich_help_panel=MODEL)
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Largest number of epochs.", rich_help_panel=TRAINING)] = None,
    minutes: Annotated[
        float | None,
        typer.Option(
            help="Minutes to train, 0: no limit; trains as many epochs as fit into the time, in which the learning "
            "rate falls.",
            rich_help_panel=TRAINING,
        ),
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Sequences, or parallel streams, per step.", rich_help_panel=TRAINING)
    ] = None,
    bptt: Annotated[
        int | None,
        typer.Option(help="Time steps of truncated BPTT (tasks next, forecast, next_row).", rich_help_panel=TRAINING),
    ] = None,
    optimizer: Annotated[
        str | None, typer.Option(help=f"Optimizer: {one_of(OPTIMIZERS)}.", rich_help_panel=TRAINING)
    ] = None,
    lr: Annotated[float | None, typer.Option(help="Highest learning rate.", rich_help_panel=TRAINING)] = None,
    lr_schedule: Annotated[
        str | None, typer.Option(help=f"Learning rate schedule: {one_of(LR_SCHEDULES)}.", rich_help_panel=TRAINING)
    ] = None,
    warmup_steps: Annotated[
        int | None, typer.Option(help="Steps over which the learning rate rises.", rich_help_panel=TRAINING)
    ] = None,
    max_grad_norm: Annotated[
        float | None, typer.Option(help="Clip gradients to this norm; 0: never.", rich_help_panel=TRAINING)
    ] = None,
    weight_decay: Annotated[
        float | None, typer.Option(help="Weight decay of the optimizer.", rich_help_panel=TRAINING)
    ] = None,
    label_smoothing: Annotated[
        float | None, typer.Option(help="Label smoothing of the cross-entropy.", rich_help_panel=TRAINING)
    ] = None,
    activation_regularization: Annotated[
        float | None,
        typer.Option(help="AR: penalty on the square of what the head reads; 0: none.", rich_help_panel=TRAINING),
    ] = None,
    temporal_activation_regularization: Annotated[
        float | None,
        typer.Option(
            help="TAR: penalty on the change of the output from step to step; 0: none.", rich_help_panel=TRAINING
        ),
    ] = None,
    class_weights: Annotated[
        str | None, typer.Option(help="Weights of the labels: none or balanced.", rich_help_panel=TRAINING)
    ] = None,
    loss_reduction: Annotated[
        str | None, typer.Option(help="Over the time steps: mean or sum.", rich_help_panel=TRAINING)
    ] = None,
    weight_averaging: Annotated[
        str | None,
        typer.Option(
            help=f"Mean of the weights that is evaluated and kept: {one_of(WEIGHT_AVERAGING)}.",
            rich_help_panel=TRAINING,
        ),
    ] = None,
    ema_decay: Annotated[
        float | None,
        typer.Option(help="Decay of the exponential moving average of the weights.", rich_help_panel=TRAINING),
    ] = None,
    unk_probability: Annotated[
        float | None,
        typer.Option(
            help="Probability that a symbol seen once is read as <unk>; 0: no <unk>.", rich_help_panel=TRAINING
        ),
    ] = None,
    patience: Annotated[
        int | None,
        typer.Option(help="Stop after this many epochs without improvement; 0: never.", rich_help_panel=TRAINING),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Seed of weights, data order and dropout.", rich_help_panel=TRAINING)
    ] = None,
    checkpoint_every: Annotated[
        str | None,
        typer.Option(help="Save the state after this many seconds (300s) or steps (200).", rich_help_panel=TRAINING),
    ] = None,
    on_nan: Annotated[
        str | None, typer.Option(help="When a loss is NaN: stop, or skip the step.", rich_help_panel=TRAINING)
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(help=f"Precision: {one_of(PRECISIONS)}; the weights stay in fp32.", rich_help_panel=TRAINING),
    ] = None,
    deterministic: Annotated[
        bool | None,
        typer.Option(
            "--deterministic", help="Deterministic algorithms; prints what that covers.", rich_help_panel=TRAINING
        ),
    ] = None,
    snapshots: Annotated[
        bool | None,
        typer.Option("--snapshots", help="Keep the weights of every epoch, for explain.", rich_help_panel=TRAINING),
    ] = None,
    freeze: Annotated[
        str | None,
        typer.Option(
            help="With --from: parts that are not trained: encoder, layer1, ..., layers, head; or how many of them.",
            metavar="PARTS",
            rich_help_panel=TRAINING,
        ),
    ] = None,
    layer_lr_factor: Annotated[
        float | None,
        typer.Option(
            help="With --from: learning rate of each part divided by that of the part above it.",
            rich_help_panel=TRAINING,
        ),
    ] = None,
    unfreeze_epochs: Annotated[
        int | None,
        typer.Option(
            help="With --from: epochs after which one more part is trained, from the head downward; 0: all at once.",
            rich_help_panel=TRAINING,
        ),
    ] = None,
) -> None:
    """Train a model on a file of sequences and evaluate it; without a file, the tutorial's hello -> ohlol."""
    parameters = dict(locals())
    from ohlol.cells.imported import is_import_path
    from ohlol.checkpoint import run_directory
    from ohlol.data.opening import without_compression
    from ohlol.data.source import HELLO
    from ohlol.display import progress
    from ohlol.training.fit import fit
    from ohlol.training.trainer import Interrupted
    from ohlol.utils.torchrun import read_launch

    settings = {name: value for name, value in parameters.items() if name not in NOT_SETTINGS}
    settings["embedding_size"] = parse_embedding_size(embedding_size)
    pairs = _split_pairs(pair)
    if pairs and files:
        raise InputError("`pair` and FILE exclude each other; give one of them")
    if resume and overwrite:
        raise InputError("`resume` and `overwrite` exclude each other; give one of them")
    launch = read_launch()
    if launch.world_size > 1 and out is None:
        raise InputError("`out` is required with several processes")
    stem = without_compression(files[0]).stem if files else pairs[0][0] if pairs and pairs[0][0].isalnum() else "hello"
    run = out if out is not None or resume else run_directory.choose_free_name(stem)
    is_tutorial = not files and not resume
    targets = [target for _, target in pairs or HELLO] if is_tutorial else None
    callback = progress.make_progress_callback(console(), targets, partial(name_flags, app=app, command="train"))
    try:
        with continue_without_output():
            model = fit(
                pairs or files,
                dev=dev,
                out=run,
                overwrite=overwrite,
                resume=resume,
                callbacks=[callback, *([progress.Determinism()] if deterministic and launch.is_main else [])],
                device=device,
                start_from=start_from,
                **settings,
            )
    except Interrupted:
        if launch.is_main:
            again = "ohlol train --resume" + (f" --cell {cell}" if cell is not None and is_import_path(cell) else "")
            print_message(
                translate("interrupted, and saved: {again} --out {run}", again=again, run=shlex.quote(str(run))),
                sys.stderr,
            )
        raise typer.Exit(130) from None
    finally:
        if isinstance(callback, progress.Bar):
            callback.stop()
    if not launch.is_main:
        return
    print_message(translate("saved: {path}", path=run))
    for text, _ in (pairs or HELLO) if is_tutorial else ():
        print_data(f"{text} -> {''.join(model.predict(text).labels)}")


def parse_embedding_size(value: str | None) -> int | None:
    """The value of `--embedding-size` as the setting has it: 0 for one-hot vectors.

    Raises:
        InputError: it is neither a size nor "onehot".
    """
    if value is None:
        return None
    if value == "onehot":
        return 0
    size = parse_digits(value)
    if size:
        return size
    raise InputError("`embedding_size` is {value!r}; give a size, such as 64, or onehot", value=value)


def _split_pairs(joined: list[str] | None) -> list[tuple[str, str]]:
    pairs: list[tuple[str, str]] = []
    for text in joined or ():
        source, separator, target = text.partition(PAIR_SEPARATOR)
        if not separator:
            raise InputError(
                "`pair` has only {source!r}; give an input and a target: --pair hello ohlol", source=source
            )
        pairs.append((source, target))
    return pairs


def join_pairs(arguments: list[str]) -> list[str]:
    """Join the two values of each `--pair` into one.

    >>> join_pairs(["train", "--pair", "hello", "ohlol", "--seed", "1"])
    ['train', '--pair', 'hello\\tohlol', '--seed', '1']
    """
    joined: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        joined.append(argument)
        if argument == "--":
            break
        if argument == "--pair":
            values = [value for value in (next(rest, None), next(rest, None)) if value is not None]
            if len(values) == 2 and values[1].startswith("--"):
                joined += values
            elif values:
                joined.append(PAIR_SEPARATOR.join(values))
    return [*joined, *rest]
