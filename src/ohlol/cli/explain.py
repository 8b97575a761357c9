"""`ohlol explain`: the numbers of a model at each time step of a sequence."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ohlol.cli.app import INSPECT, Cell, Json, Run, app, console, ignore_closed_pipe
from ohlol.utils.digits import parse_digits
from ohlol.utils.errors import InputError
from ohlol.utils.terminal import print_data, print_message
from ohlol.utils.translation import choose_language, message_id, translate

if TYPE_CHECKING:
    from ohlol.data.readers.labelled import LabelledSeries
    from ohlol.inference.trained_model import TrainedModel

SHOWN = 10
"""Names of series that a message lists."""


@app.command(rich_help_panel=INSPECT)
def explain(
    run: Run,
    source: Annotated[
        str, typer.Argument(help="A text, or the name of a file with one or with series.", metavar="TEXT|FILE")
    ],
    target: Annotated[
        str | None, typer.Option(help="Target labels, one per time step; by default those of the training pair.")
    ] = None,
    series: Annotated[str | None, typer.Option(help="Name of the series to explain, in a file with several.")] = None,
    epoch: Annotated[
        int | None, typer.Option(help="Show the weights after this epoch; needs --snapshots of train.", min=0)
    ] = None,
    step: Annotated[int | None, typer.Option(help="Show the equations of one time step, counted from 0.")] = None,
    neurons: Annotated[
        bool, typer.Option("--neurons", help="Show what single neurons track; best in a long text.")
    ] = False,
    match: Annotated[
        str | None, typer.Option(help="Find where the neurons active over steps A:B are active again.", metavar="A:B")
    ] = None,
    threshold: Annotated[float, typer.Option(help="Activation above which a neuron is active, for --match.")] = 0.3,
    html: Annotated[Path | None, typer.Option(help="Write an interactive page to this file.")] = None,
    png: Annotated[
        Path | None, typer.Option(help="Draw a figure to this .png, .svg or .pdf file; needs matplotlib.")
    ] = None,
    cell: Cell = None,
    as_json: Json = False,
) -> None:
    """Show the numbers of each time step: input, terms, gates, state and output."""
    from ohlol.display import page, trace_text
    from ohlol.explain import history
    from ohlol.explain.saliency import compute_saliency
    from ohlol.explain.trace import trace
    from ohlol.inference.trained_model import load
    from ohlol.utils.files import check_suffix

    if html is not None and (html.is_file() or not html.exists()):  # a device or a pipe can have any name
        check_suffix(html, message_id("a page"), (".html", ".htm"))
    language = choose_language()
    model = load(run, cell=cell)
    if epoch is not None:
        model = history.load_epoch(model, epoch)
    if series is not None and not model.targets.rows:
        raise InputError("`series` is for series of numbers, and this model's task is {task}", task=model.task)
    text: Any = _read_series(model, source, series) if model.targets.rows else _read_text(source)
    if neurons or match is not None:
        _explain_neurons(model, text, match, threshold, language, as_json)
        return
    traced = trace(model, text, target=target)
    if step is not None and not (as_json or png or html):
        trace_text.step_to_text(traced, step, console(), lang=language)
        return
    saliency = compute_saliency(model, text)
    if as_json:
        with ignore_closed_pipe():
            print_data(json.dumps({**traced.to_json(), "saliency": saliency.to_json()}, ensure_ascii=False))
    elif png is not None:
        from ohlol.display import figures

        figures.save_figure(figures.draw_trace(traced, lang=language, saliency=saliency), png)
        print_message(translate("written: {path}", path=png))
    elif html is not None:
        max_frames = page.max_frames(traced, saliency)
        frames = history.trace_epochs(model, text, target=target, max_frames=max_frames) if epoch is None else ()
        _write_text(html, page.render_page(traced, lang=language, saliency=saliency, frames=frames))
    else:
        with ignore_closed_pipe():
            trace_text.trace_to_text(traced, console(), lang=language, saliency=saliency)


def _read_series(model: "TrainedModel", file: str, name: str | None) -> "LabelledSeries | str":
    """The series of a file with this name, or its only one; without such a file the text itself."""
    from ohlol.data.lines import quote
    from ohlol.data.sequences import read

    if not Path(file).exists():
        return file
    data = read(file, model.data_settings(), with_targets=False)
    series = [one for one in data.series() if name in (None, one.name)]
    if len(series) == 1:
        return series[0]
    listed = ", ".join(map(quote, data.names[:SHOWN])) + ", ..." * (len(data.names) > SHOWN)
    raise InputError("{file}: one series is explained; choose it with `series`: {listed}", file=file, listed=listed)


def _read_text(text: str) -> str:
    """The contents of the file of this name; without such a file the text itself."""
    from ohlol.data.lines import LINE_LIMIT
    from ohlol.utils.files import read_bytes

    try:
        if not Path(text).is_file():
            return text
        return read_bytes(Path(text), LINE_LIMIT).decode("utf-8").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError:
        raise InputError("{text}: not UTF-8", text=text) from None
    except (OSError, ValueError):  # too long for a file name, or with a NUL: a text
        return text


def _explain_neurons(
    model: "TrainedModel", text: Any, match: str | None, threshold: float, lang: str, as_json: bool
) -> None:
    from ohlol.display import neurons_text
    from ohlol.explain import neurons

    states = neurons.record_states(model, text)
    if match is None:
        findings = neurons.find_neurons(states)
        if as_json:
            print_data(json.dumps([finding.to_json() for finding in findings], ensure_ascii=False))
        else:
            neurons_text.findings_to_text(findings, console(), lang=lang)
        return
    start, stop = (parse_digits(step) for step in match.split(":")) if match.count(":") == 1 else (None, None)
    if start is None or stop is None:
        raise InputError("`match` is {match!r}; give a range of time steps, such as 120:128", match=match)
    matches = neurons.match_range(states, start, stop, threshold=threshold)
    if as_json:
        print_data(json.dumps([vars(one) for one in matches], ensure_ascii=False))
    else:
        neurons_text.matches_to_text(states.symbols[start:stop], matches, console(), lang=lang)


def _write_text(path: Path, text: str) -> None:
    from ohlol.utils.files import write_output

    write_output(path, text.encode("utf-8"))
    print_message(translate("written: {path}", path=path))
