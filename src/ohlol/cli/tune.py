"""`ohlol tune`: flags become ranges and settings; knows nothing of how settings are searched."""

import inspect
import shlex
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import typer

from ohlol.cli.frame import Device, app, console
from ohlol.cli.train import parse_embedding_size, train
from ohlol.config import DataSettings, ModelSettings, TrainSettings
from ohlol.utils.errors import InputError

SETTINGS = {field.name for kind in (DataSettings, ModelSettings, TrainSettings) for field in fields(kind)}


def with_settings(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command every option of `ohlol train` that is a setting, and `--dev`, in place of its `**settings`."""
    signature: Any = inspect.signature(command)
    own = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
    theirs = [p for p in inspect.signature(train).parameters.values() if p.name in SETTINGS or p.name == "dev"]
    parameters = [*own, *theirs]
    command.__signature__ = signature.replace(parameters=parameters)  # pyright: ignore[reportFunctionMemberAccess]
    command.__annotations__ = {p.name: p.annotation for p in parameters} | {"return": None}
    return command


@app.command()
@with_settings
def tune(
    files: Annotated[list[str] | None, typer.Argument(help="Data, as train takes them.", metavar="FILE...")] = None,
    *,
    trials: Annotated[int, typer.Option(help="How many there are to be in all.", min=1)] = 20,
    out: Annotated[
        Path | None, typer.Option(help="Directory of the study; by default studies/ and the data's name.")
    ] = None,
    search: Annotated[
        list[str] | None,
        typer.Option(
            help="A setting and its range: lr=1e-4:1e-2:log, hidden_size=32:256:8, cell=gru,lstm, or a name alone; "
            "repeatable. Then nothing else is searched.",
            metavar="NAME[=RANGE]",
        ),
    ] = None,
    pruner: Annotated[str, typer.Option(help="auto|median|hyperband|none: what ends trials that do badly.")] = "auto",
    timeout: Annotated[float | None, typer.Option(help="Seconds after which no further trial begins.", min=0)] = None,
    keep: Annotated[int, typer.Option(help="Runs whose weights are kept, the best ones.", min=1)] = 5,
    storage: Annotated[
        str | None,
        typer.Option(
            help="URL of a database that several machines share; by default a file in --out.",
            envvar="OHLOL_STORAGE",
            show_envvar=True,
        ),
    ] = None,
    study: Annotated[str | None, typer.Option(help="The study's name there; by default that of --out.")] = None,
    device: Device = "auto",
    **settings: Any,
) -> None:
    """Search for the settings that train the best model; given again, it goes on. Train's flags hold for all trials."""
    from ohlol.training.trainer import Interrupted
    from ohlol.tuning import progress_text
    from ohlol.tuning import search as tuning

    if not files:
        raise InputError("no file to train on; give one at least")
    dev = settings.pop("dev")
    settings["embedding_size"] = parse_embedding_size(settings["embedding_size"])
    given = {name: value for name, value in settings.items() if value is not None}
    folder = out or Path("studies") / Path(files[0]).stem
    view = progress_text.Log(console())
    try:
        board = tuning.tune(
            files,
            trials=trials,
            out=folder,
            search=search or (),
            dev=dev,
            storage=storage,
            study=study,
            timeout=timeout,
            pruner=pruner,
            keep=keep,
            device=device,
            view=view,
            **given,
        )
    except Interrupted:
        print("interrupted, and saved: the same command goes on", file=sys.stderr)
        raise typer.Exit(130) from None
    finally:
        view.stop()
    best = board.best
    command = train_command(files, dev, device, given | (best.settings if best is not None else {}))
    progress_text.result_to_text(board, folder, command, console())


def train_command(files: list[str], dev: Path | None, device: str, settings: dict[str, Any]) -> str:
    """The command that trains with some settings."""
    options = {p.name: p for p in typer.main.get_command(app).commands["train"].params}  # pyright: ignore[reportAttributeAccessIssue]
    words = ["ohlol", "train", *files, *(["--dev", str(dev)] if dev is not None else [])]
    words += ["--device", device] if device != "auto" else []
    for name, value in settings.items():
        option = options[name]
        if isinstance(value, bool):
            words += [(option.opts if value else option.secondary_opts)[0]]
        else:
            words += [option.opts[0], "onehot" if name == "embedding_size" and value == 0 else str(value)]
    return shlex.join(words)
