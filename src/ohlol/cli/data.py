"""`ohlol encode`: from files of any size to an encoded corpus; knows nothing of how it is done."""

import sys
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ohlol.cli.frame import Format, Header, Input, Level, Target, Task, app
from ohlol.config import DataSettings
from ohlol.utils.errors import InputError

if TYPE_CHECKING:
    from ohlol.data.corpus.encoded import Encoded


@app.command()
def encode(
    files: Annotated[list[str] | None, typer.Argument(help="Data, of one kind.", metavar="FILE...")] = None,
    *,
    out: Annotated[Path, typer.Option(help="Directory of the corpus.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the corpus in --out.")] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Compare the files in --out with their checksums; no FILE then.")
    ] = False,
    dev_fraction: Annotated[float, typer.Option(help="Share of the data set apart for measuring.")] = 0.1,
    seed: Annotated[int, typer.Option(help="Of the choice of sequences set apart.", min=0)] = 0,
    vocab: Annotated[
        Path | None, typer.Option(help="A run or a corpus whose vocabulary is used; nothing is set apart then.")
    ] = None,
    targets: Annotated[
        bool,
        typer.Option("--targets/--no-targets", help="Read targets too; --no-targets, for predict, needs --vocab."),
    ] = True,
    jobs: Annotated[int | None, typer.Option(help="Processes; by default one a processor, for few data one.")] = None,
    format: Format = None,
    task: Task = None,
    level: Level = None,
    input: Input = None,
    target: Target = None,
    header: Header = None,
) -> None:
    """Encode files once, larger than memory too, so that `train` maps them; a stopped command goes on."""
    settings = {"format": format, "task": task, "level": level, "input": input, "target": target, "header": header}
    from ohlol.data.corpus import encode as encoder
    from ohlol.data.corpus import encoded, store

    if check:
        if files:
            raise InputError("--check looks at the corpus in --out; give no FILE with it")
        manifest = store.read_manifest(out)
        store.verify(out, manifest)
        print(f"{out}: whole\n{_said(encoded.read(out))}")
        return
    if not files:
        raise InputError("no file to encode; give one at least")
    chosen: dict[str, Any] = _settings_of(vocab) | {k: v for k, v in settings.items() if v is not None}
    found = encoder.encode(
        files,
        out,
        DataSettings(**chosen),
        dev_fraction=dev_fraction,
        seed=seed,
        vocab=vocab,
        targets=targets,
        jobs=jobs,
        overwrite=overwrite,
        report=_report if sys.stderr.isatty() else None,
    )
    print(f"{_said(found)}\nsaved: {out}")


def _settings_of(vocab: Path | None) -> dict[str, Any]:
    """How the files of a run or a corpus are read, so that like files are read alike."""
    from ohlol.data.corpus import store

    if vocab is None:
        return {}
    if store.is_corpus(vocab):
        return store.read_manifest(vocab).settings
    from ohlol.checkpoint import run_directory

    data = run_directory.read_config(vocab).data
    return {field.name: getattr(data, field.name) for field in fields(DataSettings)}


def _report(what: str, done: int, total: int) -> None:
    end = "\n" if done == total else ""
    print(f"\r{'counting' if what == 'count' else 'encoding'}: {done} of {total} pieces", end=end, file=sys.stderr)


def _said(found: "Encoded") -> str:
    """What a corpus holds, a line a part."""
    lines: list[str] = []
    for part, data in found.parts.items():
        shards = len(found.manifest.of(part))
        lines.append(
            f"{part}: {len(data):,} sequence{'s' * (len(data) != 1)} ({data.steps:,} steps) "
            f"in {shards} shard{'s' * (shards != 1)}"
        )
    if found.codec.symbols is not None:
        lines.append(f"{len(found.codec.symbols):,} different symbols")
    return "\n".join(lines)
