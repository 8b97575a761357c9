"""`ohlol plot`: the training curves of runs, or the trials of a study."""

from pathlib import Path
from typing import Annotated

import typer

from ohlol.cli.app import INSPECT, app, console, ignore_closed_pipe
from ohlol.utils.errors import InputError
from ohlol.utils.terminal import print_message
from ohlol.utils.translation import choose_language, translate


@app.command(rich_help_panel=INSPECT)
def plot(
    runs: Annotated[
        list[Path], typer.Argument(help="Run directories, or the directory of a study.", metavar="RUN...|STUDY")
    ],
    out: Annotated[Path | None, typer.Option(help="Draw to this .png, .svg or .pdf file; needs matplotlib.")] = None,
    storage: Annotated[
        str | None,
        typer.Option(help="URL of the study's database, as for tune.", envvar="OHLOL_STORAGE", show_envvar=True),
    ] = None,
) -> None:
    """Plot loss, metric, gradient norm and saturation of runs, or the trials and the settings of a study."""
    from ohlol.display import curves_text
    from ohlol.explain.curves import load_curves
    from ohlol.tuning.summary import is_study

    language = choose_language()
    studies = [run for run in runs if is_study(run)]
    if studies:
        if len(runs) > 1:
            raise InputError(
                "{study} is a study; plot it alone, or the runs in {trials}",
                study=studies[0],
                trials=studies[0] / "trials",
            )
        _plot_study(studies[0], storage, out, language)
        return
    panels = load_curves(runs)
    if out is not None:
        from ohlol.display import figures

        figures.save_figure(figures.draw_curves(panels, lang=language), out)
        print_message(translate("written: {path}", path=out))
        return
    with ignore_closed_pipe():
        curves_text.curves_to_text(panels, console(), lang=language)


def _plot_study(study: Path, storage: str | None, out: Path | None, lang: str) -> None:
    from ohlol.tuning import summary_text
    from ohlol.tuning.study import load_summary

    summary = load_summary(study, storage)
    if not summary.evaluated:
        raise InputError("{study}: no trial has finished, so there is nothing to plot", study=study)
    if out is not None:
        from ohlol.display.figures import save_figure
        from ohlol.tuning.figures import draw_study

        save_figure(draw_study(summary, lang=lang), out)
        print_message(translate("written: {path}", path=out))
        return
    with ignore_closed_pipe():
        summary_text.summary_to_text(summary, console(), lang=lang)
