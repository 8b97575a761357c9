"""`ohlol encode`: encode files of any size as a corpus on disk."""

import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ohlol.cli.app import (
    EXCHANGE,
    DateOrder,
    Decimal,
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
    choose_data_settings,
)
from ohlol.config import DataSettings
from ohlol.utils.errors import InputError
from ohlol.utils.terminal import print_message
from ohlol.utils.translation import translate

if TYPE_CHECKING:
    from ohlol.data.corpus.encoded import Encoded


@app.command(rich_help_panel=EXCHANGE)
def encode(
    files: Annotated[list[str] | None, typer.Argument(help="Data files of one format.", metavar="FILE...")] = None,
    *,
    out: Annotated[Path, typer.Option(help="Directory of the corpus.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the corpus in --out.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Verify the checksums of the corpus in --out.")] = False,
    dev_fraction: Annotated[float, typer.Option(help="Share of the data set apart for evaluation.")] = 0.1,
    seed: Annotated[int, typer.Option(help="Seed that selects the sequences set apart.", min=0)] = 0,
    vocab: Annotated[
        Path | None, typer.Option(help="Run or corpus whose vocabulary is used; nothing is set apart.")
    ] = None,
    targets: Annotated[
        bool, typer.Option("--targets/--no-targets", help="Read targets; --no-targets needs --vocab.")
    ] = True,
    jobs: Annotated[
        int | None, typer.Option(help="Number of processes; by default one per core, or one for small files.")
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
    """Encode files once, also larger than memory, so that training maps them; an interrupted run is continued."""
    settings = choose_data_settings(locals())
    from ohlol.data.corpus import encode as encoder
    from ohlol.data.corpus import encoded, store

    if check:
        if files:
            raise InputError("`check` verifies the corpus in `out`; give no FILE with it")
        corpus = encoded.read(out)
        store.verify(out, corpus.manifest)
        print_message(translate("{out}: all checksums match\n{corpus}", out=out, corpus=_describe(corpus)))
        return
    if not files:
        raise InputError("there is no file to encode; give at least one FILE")
    stated = {name: value for name, value in settings.items() if value is not None}
    corpus = encoder.encode(
        files,
        out,
        DataSettings(**(_settings_of(vocab) | stated)),
        dev_fraction=dev_fraction,
        seed=seed,
        vocab=vocab,
        targets=targets,
        jobs=jobs,
        overwrite=overwrite,
        report=_report_progress if sys.stderr.isatty() else None,
    )
    print_message(f"{_describe(corpus)}\n" + translate("saved: {path}", path=out))


def _settings_of(vocab: Path | None) -> dict[str, Any]:
    """The data settings of a run or a corpus, so that new files are read as its files were, but for the encoding."""
    from ohlol.data.corpus import store

    if vocab is None:
        return {}
    if store.is_corpus(vocab):
        return store.read_manifest(vocab).settings | {"encoding": None}
    from ohlol.checkpoint import run_directory

    data = replace(run_directory.read_config(vocab).data, encoding=None)
    return {field.name: getattr(data, field.name) for field in fields(DataSettings)}


def _report_progress(step: str, done: int, total: int) -> None:
    end = "\n" if done == total else ""
    message = translate(
        "counting: {done} of {total} pieces" if step == "count" else "encoding: {done} of {total} pieces",
        done=done,
        total=total,
    )
    print("\r" + message, end=end, file=sys.stderr)


def _describe(corpus: "Encoded") -> str:
    """The contents of a corpus, one line per part."""
    lines: list[str] = []
    for part, data in corpus.parts.items():
        shards = len(corpus.manifest.of(part))
        lines.append(
            translate(
                "{part}: {count:,} sequence{plural} ({steps:,} steps) in {shards} shard{shards_plural}",
                part=part,
                count=len(data),
                plural="s" * (len(data) != 1),
                steps=data.steps,
                shards=shards,
                shards_plural="s" * (shards != 1),
            )
        )
    if corpus.codec.symbols is not None:
        lines.append(translate("{count:,} different symbols", count=len(corpus.codec.symbols)))
    return "\n".join(lines)
