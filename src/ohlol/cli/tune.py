"""`ohlol tune`: search for the settings that train the best model."""

import inspect
import shlex
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import typer

from ohlol.cli.app import MODELS, Device, app, console, continue_without_output
from ohlol.cli.flags import flags_of
from ohlol.cli.train import parse_embedding_size, train
from ohlol.config import FINE_TUNING, DataSettings, ModelSettings, TrainSettings
from ohlol.utils.errors import InputError
from ohlol.utils.translation import translate

SETTINGS = {f.name for kind in (DataSettings, ModelSettings, TrainSettings) for f in fields(kind)} - {*FINE_TUNING}
"""Every setting of a run that does not start from another one."""


def add_settings(command: Callable[..., None]) -> Callable[..., None]:
    """Replace the `**settings` of a command by the options of `ohlol train` that are settings, and `--dev`."""
    signature: Any = inspect.signature(command)
    own = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
    added = [p for p in inspect.signature(train).parameters.values() if p.name in SETTINGS or p.name == "dev"]
    parameters = [*own, *added]
    command.__signature__ = signature.replace(parameters=parameters)  # pyright: ignore[reportFunctionMemberAccess]
    command.__annotations__ = {p.name: p.annotation for p in parameters} | {"return": None}
    return command


@app.command(rich_help_panel=MODELS)
@add_settings
def tune(
    files: Annotated[list[str] | None, typer.Argument(help="Data files, as for train.", metavar="FILE...")] = None,
    *,
    trials: Annotated[int, typer.Option(help="Number of trials in all.", min=1)] = 20,
    out: Annotated[
        Path | None, typer.Option(help="Directory of the study; by default studies/ and the name of the data.")
    ] = None,
    search: Annotated[
        list[str] | None,
        typer.Option(
            help="A setting and its range, such as lr=1e-4:1e-2:log, hidden_size=32:256:8 or cell=gru,lstm, or a "
            "name alone; repeatable. Only these settings are searched.",
            metavar="NAME[=RANGE]",
        ),
    ] = None,
    pruner: Annotated[str, typer.Option(help="What stops bad trials early: auto, median, hyperband or none.")] = "auto",
    timeout: Annotated[
        float | None, typer.Option(help="Seconds after which no further trial is started.", min=0)
    ] = None,
    keep: Annotated[int, typer.Option(help="Number of best runs that keep their weights.", min=1)] = 5,
    storage: Annotated[
        str | None,
        typer.Option(
            help="URL of a database, for several machines; by default a file in --out.",
            envvar="OHLOL_STORAGE",
            show_envvar=True,
        ),
    ] = None,
    study: Annotated[
        str | None, typer.Option(help="Name of the study in the database; by default that of --out.")
    ] = None,
    device: Device = "auto",
    **settings: Any,
) -> None:
    """Search for the best settings; an existing study is continued. Options of train hold for all trials."""
    from ohlol.data.opening import without_compression
    from ohlol.training.trainer import Interrupted
    from ohlol.tuning import progress_text
    from ohlol.tuning import search as tuning

    if not files:
        raise InputError("there is no file to train on; give at least one FILE")
    dev = settings.pop("dev")
    settings["embedding_size"] = parse_embedding_size(settings["embedding_size"])
    fixed = {name: value for name, value in settings.items() if value is not None}
    folder = out or Path("studies") / without_compression(files[0]).stem
    log = progress_text.StudyLog(console())
    try:
        with continue_without_output():
            summary = tuning.tune(
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
                callback=log,
                **fixed,
            )
    except Interrupted:
        print(translate("interrupted, and saved: the same command continues the study"), file=sys.stderr)
        raise typer.Exit(130) from None
    finally:
        log.stop()
    best = summary.best
    command = train_command(files, dev, device, fixed | (best.settings if best is not None else {}))
    progress_text.result_to_text(summary, folder, command, console())


def train_command(files: list[str], dev: Path | None, device: str, settings: dict[str, Any]) -> str:
    """The command that trains with some settings."""
    flags = flags_of(app, "train")
    words = ["ohlol", "train", *files, *(["--dev", str(dev)] if dev is not None else [])]
    words += ["--device", device] if device != "auto" else []
    for name, value in settings.items():
        on, off = flags[name]
        if isinstance(value, bool):
            words.append(on if value or off is None else off)
        else:
            words += [on, "onehot" if name == "embedding_size" and value == 0 else str(value)]
    return shlex.join(words)
