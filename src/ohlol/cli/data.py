"""`ohlol data`: how a file is read and what it holds, without training."""

import json
from dataclasses import replace
from typing import Annotated

import typer

from ohlol.cli.app import (
    INSPECT,
    DateOrder,
    Decimal,
    Encoding,
    Format,
    Header,
    Horizon,
    Input,
    Json,
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
    choose_data_settings,
    console,
)
from ohlol.cli.flags import name_flags
from ohlol.cli.tune import train_command
from ohlol.config import DataSettings
from ohlol.utils.errors import InputError
from ohlol.utils.terminal import print_data, print_message
from ohlol.utils.translation import translate


@app.command(rich_help_panel=INSPECT)
def data(
    file: Annotated[str, typer.Argument(help="A data file.", metavar="FILE")],
    *,
    as_json: Json = False,
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
    encoding: Encoding = None,
    time: Time = None,
    series: Series = None,
    known: Known = None,
    observed: Observed = None,
    static: Static = None,
    layout: Layout = None,
    season: Season = None,
    horizon: Horizon = None,
) -> None:
    """Show how a file is read and why, what it holds, and what train would ask; nothing is trained."""
    settings = choose_data_settings(locals())
    from ohlol.data.profile import profile

    found = profile(file, DataSettings(**settings))
    found = replace(found, warnings=tuple(name_flags(warning, app, "data") for warning in found.warnings))
    stated = {name: value for name, value in settings.items() if value is not None}
    command = train_command([file], None, "auto", stated) if found.refusal is None else None
    if as_json:
        print_data(json.dumps(found.to_json() | {"command": command}, ensure_ascii=False, indent=2))
    else:
        from ohlol.display.profile_text import print_profile

        print_profile(found, console())
        if command is not None:
            print_message(translate("next: {command}", command=command))
    if found.refusal is not None:
        raise InputError(found.refusal)
