"""`ohlol train`: flags become settings; knows nothing of what they mean."""

import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from ohlol.cli.frame import Device, Format, Header, Input, Level, Target, Task, app, console, one_of
from ohlol.config import CELLS, LR_SCHEDULES, OPTIMIZERS, PRECISIONS
from ohlol.utils.errors import InputError
from ohlol.utils.torchrun import read_launch

PAIR_GLUE = "\t"
"""Joins the two values of --pair, as typer has no repeatable option of two; no symbol of a pair can be a tab."""


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
    device: Device = "auto",
    dev: Annotated[
        Path | None, typer.Option(help="File to measure on after each epoch.", rich_help_panel="Data")
    ] = None,
    dev_fraction: Annotated[
        float | None, typer.Option(help="Share of the data measured on without --dev.", rich_help_panel="Data")
    ] = None,
    format: Format = None,
    task: Task = None,
    level: Level = None,
    input: Input = None,
    target: Target = None,
    header: Header = None,
    cell: Annotated[str | None, typer.Option(help=one_of(CELLS), rich_help_panel="Model")] = None,
    hidden_size: Annotated[
        int | None, typer.Option(help="Units of a layer and direction.", rich_help_panel="Model")
    ] = None,
    num_layers: Annotated[int | None, typer.Option(help="Stacked recurrent layers.", rich_help_panel="Model")] = None,
    bidirectional: Annotated[
        bool | None,
        typer.Option("--bidirectional/--unidirectional", help="Read from both ends.", rich_help_panel="Model"),
    ] = None,
    embedding_size: Annotated[
        str | None, typer.Option(help="Size of a symbol's vector, or onehot.", rich_help_panel="Model")
    ] = None,
    char_rnn_size: Annotated[
        int | None,
        typer.Option(help="Units of the character RNN beside each word; 0 for none.", rich_help_panel="Model"),
    ] = None,
    bigram_size: Annotated[
        int | None,
        typer.Option(help="Size of the vectors of neighbouring characters; 0 for none.", rich_help_panel="Model"),
    ] = None,
    head: Annotated[
        str | None,
        typer.Option(help="From hidden state to answers: softmax, identity, regression.", rich_help_panel="Model"),
    ] = None,
    tie_weights: Annotated[
        bool | None,
        typer.Option(
            "--tie-weights/--no-tie-weights", help="Share embedding and head (next).", rich_help_panel="Model"
        ),
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
    lr_schedule: Annotated[str | None, typer.Option(help=one_of(LR_SCHEDULES), rich_help_panel="Training")] = None,
    warmup_steps: Annotated[
        int | None, typer.Option(help="Steps over which the rate rises.", rich_help_panel="Training")
    ] = None,
    max_grad_norm: Annotated[
        float | None, typer.Option(help="Largest gradient norm; 0 for any.", rich_help_panel="Training")
    ] = None,
    weight_decay: Annotated[
        float | None, typer.Option(help="As the optimizer has it.", rich_help_panel="Training")
    ] = None,
    label_smoothing: Annotated[
        float | None, typer.Option(help="Share spread over all labels.", rich_help_panel="Training")
    ] = None,
    class_weights: Annotated[str | None, typer.Option(help="none|balanced", rich_help_panel="Training")] = None,
    loss_reduction: Annotated[
        str | None, typer.Option(help="mean|sum over the steps.", rich_help_panel="Training")
    ] = None,
    unk_probability: Annotated[
        float | None,
        typer.Option(
            help="Probability that a symbol seen once is read as <unk>; 0: no <unk>.", rich_help_panel="Training"
        ),
    ] = None,
    patience: Annotated[
        int | None, typer.Option(help="Epochs without a better score; 0: no early stop.", rich_help_panel="Training")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of weights, order and dropout.", rich_help_panel="Training")] = None,
    checkpoint_every: Annotated[
        str | None,
        typer.Option(help="Between saved states: seconds (300s) or steps (200).", rich_help_panel="Training"),
    ] = None,
    on_nan: Annotated[
        str | None, typer.Option(help="stop|skip where a loss is no number.", rich_help_panel="Training")
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(help=f"{one_of(PRECISIONS)}: of the products; the weights are fp32.", rich_help_panel="Training"),
    ] = None,
    deterministic: Annotated[
        bool | None,
        typer.Option(
            "--deterministic", help="Deterministic algorithms; says what they cover.", rich_help_panel="Training"
        ),
    ] = None,
    snapshots: Annotated[
        bool | None,
        typer.Option("--snapshots", help="Keep each epoch's weights; explain shows them.", rich_help_panel="Training"),
    ] = None,
) -> None:
    """From a file of sequences to a trained, measured model; without a file, the tutorial's hello -> ohlol."""
    given = dict(locals())
    from ohlol import ops
    from ohlol.checkpoint import run_directory
    from ohlol.data import loading
    from ohlol.display import progress
    from ohlol.training import fit
    from ohlol.training.trainer import Interrupted
    from ohlol.utils import devices, environment

    settings = {k: given[k] for k in given if k not in ("files", "pair", "out", "overwrite", "resume", "device", "dev")}
    settings["embedding_size"] = parse_embedding_size(embedding_size)
    pairs = _pairs(pair)
    if pairs and files:
        raise InputError("--pair and FILE exclude each other: give one of them")
    if resume and overwrite:
        raise InputError("--resume and --overwrite exclude each other: go on, or start anew")
    data: Any = pairs or files
    if resume and out is None:
        raise InputError("--resume needs --out: the run directory to go on with")
    launch = read_launch()
    if launch.world_size > 1 and out is None:
        raise InputError("several processes write one run: give --out")
    stem = Path(files[0]).stem if files else pairs[0][0] if pairs and pairs[0][0].isalnum() else "hello"
    run = out or run_directory.choose_free_name(stem)
    tutorial = not files and not resume
    shown = [t for _, t in pairs or loading.HELLO] if tutorial else None
    progress_callback = progress.progress_callback(console(), shown)
    if deterministic and launch.is_main:
        where = devices.select_device(device)
        said = environment.describe_reproducibility(
            kernels=ops.implementation(where, precision or "fp32"), device=where, precision=precision or "fp32"
        )
        print(f"deterministic: {said}", file=sys.stderr)
    try:
        model = fit.fit(
            data,
            dev=dev,
            out=run,
            overwrite=overwrite,
            resume=resume,
            callbacks=[progress_callback],
            device=device,
            **settings,
        )
    except Interrupted:
        if not launch.is_main:
            raise typer.Exit(130) from None
        print(f"interrupted, and saved: ohlol train --resume --out {shlex.quote(str(run))}", file=sys.stderr)
        raise typer.Exit(130) from None
    finally:
        if isinstance(progress_callback, progress.Bar):
            progress_callback.stop()
    if not launch.is_main:
        return
    print(f"saved: {run}")
    for text, _ in (pairs or loading.HELLO) if tutorial else ():
        print(f"{text} -> {''.join(model.predict(text).labels)}")


def parse_embedding_size(value: str | None) -> int | None:
    """What --embedding-size means; raises InputError."""
    if value is None:
        return None
    if value == "onehot":
        return 0
    if value.isdecimal() and int(value) > 0:
        return int(value)
    raise InputError(f"--embedding-size is {value!r}; give a size, such as 64, or onehot")


def _pairs(glued: list[str] | None) -> list[tuple[str, str]]:
    pairs: list[tuple[str, str]] = []
    for one in glued or ():
        given, found, wanted = one.partition(PAIR_GLUE)
        if not found:
            raise InputError(f"--pair has {given!r} alone; give an input and a target: --pair hello ohlol")
        pairs.append((given, wanted))
    return pairs


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
