"""The commands that show how a network works: `ohlol shapes`, `explain` and `prove`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ohlol.cli.app import app, console, ignore_closed_pipe
from ohlol.utils.errors import InputError

if TYPE_CHECKING:
    from ohlol.inference.trained_model import TrainedModel


@app.command()
def shapes(
    kind: Annotated[str, typer.Argument(help="rnncell|grucell|lstmcell|rnn|gru|lstm")],
    input_size: Annotated[int, typer.Option(help="I, numbers in a step's input.")] = 4,
    hidden_size: Annotated[int, typer.Option(help="H, size of the hidden state.")] = 2,
    seq_len: Annotated[int, typer.Option(help="T, time steps.")] = 3,
    batch_size: Annotated[int, typer.Option(help="B, sequences.")] = 1,
    num_layers: Annotated[int, typer.Option(help="L, for a layer.")] = 1,
    bidirectional: Annotated[bool, typer.Option("--bidirectional", help="Both directions, for a layer.")] = False,
    batch_first: Annotated[bool, typer.Option("--batch-first", help="(B, T, I) instead of (T, B, I).")] = False,
    bias: Annotated[bool, typer.Option("--bias/--no-bias", help="With bias_ih and bias_hh.")] = True,
    nonlinearity: Annotated[str, typer.Option(help="tanh|relu, for rnncell and rnn.")] = "tanh",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show every shape of a cell or a layer, read from a run of it."""
    from ohlol.display import shapes_text
    from ohlol.explain.shapes import shapes as describe_shapes

    report = describe_shapes(
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
        shapes_text.shapes_to_text(report, console())


@app.command()
def explain(
    run: Annotated[Path, typer.Argument(help="Run directory of a model of symbols.")],
    text: Annotated[str, typer.Argument(help="The input: a text, or a file.", metavar="TEXT|FILE")],
    target: Annotated[
        str | None, typer.Option(help="The correct labels, one per time step; a pair of the run has its own.")
    ] = None,
    epoch: Annotated[
        int | None, typer.Option(help="The model after this epoch; the run needs snapshots.", min=0)
    ] = None,
    step: Annotated[int | None, typer.Option(help="The equations of one time step with their numbers, from 0.")] = None,
    neurons: Annotated[
        bool, typer.Option("--neurons", help="Features of the text that single neurons track; best in a long file.")
    ] = False,
    match: Annotated[
        str | None,
        typer.Option(help="Where the neurons that are on over steps A:B are on too.", metavar="A:B"),
    ] = None,
    threshold: Annotated[float, typer.Option(help="A neuron is on above it, for --match.")] = 0.3,
    lang: Annotated[str | None, typer.Option(help="en|zh; the default is the language of the environment.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write a page for a browser that shows everything.")] = None,
    png: Annotated[Path | None, typer.Option(help="Draw a figure: .png, .svg or .pdf; needs matplotlib.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print every number as JSON.")] = False,
) -> None:
    """Show every number of each time step: input, terms, gates, states, logits and prediction."""
    from ohlol.display import page, trace_text, translations
    from ohlol.explain import history
    from ohlol.explain.saliency import compute_saliency
    from ohlol.explain.trace import trace
    from ohlol.inference.trained_model import load

    language = translations.language(lang)
    model = load(run) if epoch is None else history.load_epoch(load(run), epoch)
    text = _read(text)
    if neurons or match is not None:
        _print_neurons(model, text, match, threshold, language, as_json)
        return
    found = trace(model, text, target=target)
    if as_json:
        with ignore_closed_pipe():
            saliency = compute_saliency(model, text)
            print(json.dumps({**found.to_json(), "saliency": saliency.to_json()}, ensure_ascii=False))
    elif png is not None:
        from ohlol.display import figures

        figures.save_figure(figures.draw_trace(found, lang=language, saliency=compute_saliency(model, text)), png)
        print(f"written: {png}")
    elif html is not None:
        saliency = compute_saliency(model, text)
        most = page.max_frames(found, saliency)
        frames = history.trace_epochs(model, text, target=target, most=most) if epoch is None else ()
        _write(html, page.render_page(found, lang=language, saliency=saliency, frames=frames))
    elif step is not None:
        trace_text.step_to_text(found, step, console(), lang=language)
    else:
        with ignore_closed_pipe():
            trace_text.trace_to_text(found, console(), lang=language, saliency=compute_saliency(model, text))


@app.command()
def plot(
    runs: Annotated[list[Path], typer.Argument(help="Run directories, or a study directory.", metavar="RUN...|STUDY")],
    out: Annotated[Path | None, typer.Option(help="Draw a figure: .png, .svg or .pdf; needs matplotlib.")] = None,
    lang: Annotated[str | None, typer.Option(help="en|zh; the default is the language of the environment.")] = None,
    storage: Annotated[
        str | None,
        typer.Option(help="URL of the database of the study, as for tune.", envvar="OHLOL_STORAGE", show_envvar=True),
    ] = None,
) -> None:
    """Plot the loss, metric, gradient norm and saturation of runs, or the trials and settings of a study."""
    from ohlol.display import curves_text, translations
    from ohlol.explain.curves import load_curves
    from ohlol.tuning.summary import is_study

    language = translations.language(lang)
    studies = [run for run in runs if is_study(run)]
    if studies:
        if len(runs) > 1:
            raise InputError(f"{studies[0]} is a study, and drawn alone; its runs are in {studies[0] / 'trials'}")
        _plot_study(studies[0], storage, out, language)
        return
    panels = load_curves(runs)
    if out is not None:
        from ohlol.display import figures

        figures.save_figure(figures.draw_curves(panels, lang=language), out)
        print(f"written: {out}")
        return
    with ignore_closed_pipe():
        curves_text.curves_to_text(panels, console(), lang=language)


def _plot_study(study: Path, storage: str | None, out: Path | None, lang: str) -> None:
    from ohlol.tuning import summary_text
    from ohlol.tuning.study import load_board

    board = load_board(study, storage)
    if not board.scored:
        raise InputError(f"{study}: no trial is over yet, so there is nothing to draw")
    if out is not None:
        from ohlol.display.figures import save_figure
        from ohlol.tuning.figures import draw_study

        save_figure(draw_study(board, lang=lang), out)
        print(f"written: {out}")
        return
    with ignore_closed_pipe():
        summary_text.board_to_text(board, console(), lang=lang)


def _read(text: str) -> str:
    """The text, or what is in the file it names."""
    try:
        return Path(text).read_text(encoding="utf-8") if Path(text).is_file() else text
    except UnicodeDecodeError:
        raise InputError(f"{text}: not UTF-8") from None
    except (OSError, ValueError):  # too long for a name, or with a NUL: a text
        return text


def _print_neurons(
    model: "TrainedModel", text: str, match: str | None, threshold: float, lang: str, as_json: bool
) -> None:
    from ohlol.display import neurons_text
    from ohlol.explain import neurons

    states = neurons.record_states(model, text)
    if match is None:
        findings = neurons.find_neurons(states)
        if as_json:
            print(json.dumps([finding.to_json() for finding in findings], ensure_ascii=False))
        else:
            neurons_text.findings_to_text(findings, console(), lang=lang)
        return
    first, _, last = match.partition(":")
    if not (first.isdecimal() and last.isdecimal()):
        raise InputError(f"--match is {match!r}; give a range of steps, such as 120:128")
    matches = neurons.match_range(states, int(first), int(last), threshold=threshold)
    if as_json:
        print(json.dumps([vars(match) for match in matches], ensure_ascii=False))
    else:
        neurons_text.matches_to_text(states.symbols[int(first) : int(last)], matches, console(), lang=lang)


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"--html {path}: {error.strerror}") from None
    print(f"written: {path}")


@app.command()
def prove(
    run: Annotated[
        Path | None, typer.Argument(help="Run directory whose weights are used; the default are random weights.")
    ] = None,
    cell: Annotated[str, typer.Option(help="rnn|gru|lstm, without a run.")] = "rnn",
    input_size: Annotated[int, typer.Option(help="I, without a run.")] = 4,
    hidden_size: Annotated[int, typer.Option(help="H, without a run.")] = 4,
    seq_len: Annotated[int, typer.Option(help="T, time steps of random input.", min=1, max=1024)] = 5,
    batch_size: Annotated[int, typer.Option(help="B, sequences of random input.", min=1, max=1024)] = 1,
    seed: Annotated[int, typer.Option(help="Seed of inputs and weights.", min=0)] = 0,
    lang: Annotated[str | None, typer.Option(help="en|zh; the default is the language of the environment.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compare a cell in a loop, a layer and matrix products with the same weights."""
    from ohlol.display import equivalence_text, translations
    from ohlol.explain import equivalence
    from ohlol.inference.trained_model import load

    language = translations.language(lang)
    if run is None:
        sizes = {"input_size": input_size, "hidden_size": hidden_size, "seq_len": seq_len, "batch_size": batch_size}
        proofs: tuple[equivalence.Proof, ...] = (equivalence.prove(cell, seed=seed, **sizes),)
    else:
        proofs = equivalence.prove_run(load(run), seq_len=seq_len, batch_size=batch_size, seed=seed)
    if as_json:
        print(json.dumps([proof.to_json() for proof in proofs]))
    else:
        equivalence_text.proofs_to_text(proofs, console(), lang=language)
    if not all(proof.holds for proof in proofs):
        raise typer.Exit(1)
