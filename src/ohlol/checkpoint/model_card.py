"""The model card: the README.md of a run, from its configuration, its codec and its metrics."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ohlol.cells.imported import is_import_path
from ohlol.checkpoint.run_config import RunConfig, StartRecord
from ohlol.data.codec import Codec
from ohlol.data.panel_codec import PanelCodec
from ohlol.data.scale import Scale
from ohlol.data.vocab import Vocab
from ohlol.tasks import TASKS
from ohlol.tasks.metrics import format_metrics
from ohlol.utils.errors import shorten

LISTED = 30
"""Names of labels or categories that a card lists."""
RARE = 10
"""Labels that occur less often are named among the limits."""
MARKUP = re.compile(r"([\\`*\[\]<>|&~]|_(?![^\W_])|(?<![^\W_])_)")
"""What has a meaning in Markdown; an underscore within a word has none."""
RANGE, DEVIATION = "{:.6g} to {:.6g}", "mean {:.6g}, standard deviation {:.6g}"


def format_model_card(
    config: RunConfig, codec: Codec, parameters: int, run: Path, *, has_validation_data: bool, device: str = ""
) -> str:
    """A description of a model in Markdown: its architecture, data, metrics, usage and limits.

    Args:
        config: the configuration of the run.
        codec: what is known of its training data.
        parameters: number of parameters of the model.
        run: the run directory.
        has_validation_data: whether the metrics were measured on data that the model was not trained on.
        device: the device the model was trained on; empty for an imported model.
    """
    imported = not config.train_files and not config.pairs
    other_source = "elsewhere: its weights were imported" if imported else "pairs given on the command line"
    trained_on = ", ".join(config.train_files) or other_source
    measured = config.dev_file or (
        f"a share of {config.training.dev_fraction:g} set apart" if has_validation_data else "the training data"
    )
    measured = "nothing yet; `ohlol evaluate` does" if imported else measured
    started = f"- started from: {_describe_start(config.start)}\n" if config.start is not None else ""
    computed = f"- computed by: {device}\n" if device else ""
    model = f"{run} --cell {config.model.cell}" if is_import_path(config.model.cell) else run
    settings = {**asdict(config.model), **asdict(config.training)}
    chosen = {
        name: value for name, value in config.data.to_json().items() if value not in (None, "") and name != "task"
    }
    return f"""# {run.name}

A recurrent network of ohlol for the task `{config.task}`: {config.model.cell}, {config.model.num_layers} x \
{config.model.hidden_size} hidden units{", both directions" if config.model.bidirectional else ""}, \
{parameters:,} parameters.

- trained on: {trained_on}
{started}- measured on: {measured}
{computed}- metrics there, best weights: {format_metrics(config.metrics) or "none"}

```
{TASKS[config.task].usage.format(run=model, input="FILE" if config.sizes.numeric else '"TEXT"')}
```

## Data

How files are read:

{_table("option", "value", _named(chosen))}

What the training data hold, in their own units:

{_table("part", "content", _parts(codec))}

## Limits

{_bullets(_limits(codec))}

## Settings

{_table("setting", "value", _named(settings))}
"""


def _describe_start(start: StartRecord) -> str:
    """The run that a model started from, for the card."""
    head = "with its head" if start.keeps_head else "with a new head"
    metrics = format_metrics(start.metrics) or "no metrics"
    return f"{start.run} ({metrics} there), {head}; SHA-256 of its weights: {start.weights_sha256}"


def _parts(codec: Codec) -> Iterator[tuple[str, str]]:
    """The inputs and targets, with what the training data hold of them."""
    if codec.panel is not None:
        yield from _panel_parts(codec.panel)
    if codec.scale is not None:
        yield from _columns("input", codec.columns, codec.scale)
    if codec.symbols is not None:
        yield "symbols", f"{len(_known(codec.symbols)):,} different ones"
    for column in codec.statics.columns:
        names = [value or "(empty)" for value in column.categories]
        scale = DEVIATION.format(column.mean, column.std)
        yield f"static {_escape(column.name)}", f"{len(names):,}: {_list(names)}" if names else scale
    if codec.labels is not None and codec.kind.has_labels:
        yield "labels", f"{len(codec.labels):,}: {_list(codec.labels.symbols)}"
    if codec.target_scale is not None:
        yield from _columns("target", codec.target_columns, codec.target_scale)


def _limits(codec: Codec) -> Iterator[str]:
    """What a model of such data is not for, a sentence each."""
    if codec.panel is not None:
        yield from _panel_limits(codec.panel)
        return
    if codec.scale is not None:
        yield "Files need the same input columns, in the same units; others are refused."
        yield "Values far from the means above, by many standard deviations, were not seen in training."
    elif codec.symbols is not None and codec.symbols.unk is None:
        yield "A symbol that the training data do not hold is refused."
    elif codec.symbols is not None:
        yield "A symbol that the training data do not hold is read as unknown, without its own meaning."
    if codec.statics.size:
        yield "Texts need the static columns above beside them; a category that is not listed is read as none of them."
    if codec.labels is not None and codec.kind.has_labels:
        if codec.kind.multiple:
            yield "A prediction is a set of the labels above, or the empty set; there are no others."
        else:
            yield "A prediction is always one of the labels above, also where none of them fits."
        rare = [label for label, count in zip(codec.labels.symbols, codec.labels.counts, strict=True) if count < RARE]
        if rare:
            yield f"Labels that occur less than {RARE} times in the training data have few examples: {_list(rare)}."
    if codec.kind.continues_text:
        yield "What it writes is probable after the training data, and need not be true."
    if codec.target_scale is not None:
        yield "Predictions far from the mean of their target are extrapolations."
    yield "Data of another kind or time than the training data have other errors: `ohlol evaluate` measures them."


def _panel_parts(panel: PanelCodec) -> Iterator[tuple[str, str]]:
    """The columns of a panel with their values, and its step, season and period."""
    columns = panel.columns
    for name, (low, high) in zip(columns.targets, panel.ranges, strict=True):
        yield f"target {_escape(name)}", RANGE.format(low, high)
    covariates = ("known",) * len(columns.known) + ("observed",) * len(columns.observed)
    names = columns.known + columns.observed
    for part, name, mean, std in zip(covariates, names, panel.means, panel.stds, strict=True):
        yield f"{part} {_escape(name)}", DEVIATION.format(mean, std)
    for name, categories in zip(columns.static, panel.categories, strict=True):
        yield f"static {_escape(name)}", f"{len(categories):,}: {_list(categories)}"
    yield "series", f"{panel.series:,}"
    yield "step", str(panel.step)
    yield "season", f"{panel.season:,} steps" if panel.season > 1 else "none"
    yield "horizon", f"{panel.horizon:,} steps"
    if panel.period is not None:
        yield "period", " to ".join(panel.period)


def _panel_limits(panel: PanelCodec) -> Iterator[str]:
    columns = panel.columns
    yield f"Series with other columns, or with another step ({panel.step}), are refused; units must be the same."
    yield "Values far outside of the ranges above were not seen in training: a forecast there is an extrapolation."
    if panel.is_count:
        yield "Targets are counts: values that are not whole numbers from 0 on are refused."
    if columns.known:
        yield "The known columns are needed for the steps to forecast: `--future FILE` has their values."
    if columns.static:
        yield "A category that is not listed above is read as none of them."
    yield (
        f"Steps beyond the horizon of {panel.horizon:,} are forecast from the model's own medians: their intervals are "
        "too narrow."
    )
    end = "" if panel.period is None else f" after {panel.period[1]}"
    yield f"What changed{end} is not known to the weights: `ohlol backtest` on new data measures the errors."


def _columns(part: str, names: Sequence[str], scale: Scale) -> Iterator[tuple[str, str]]:
    for name, mean, std in zip(names, scale.mean, scale.std, strict=True):
        yield f"{part} {_escape(name)}", DEVIATION.format(mean, std)


def _known(vocab: Vocab) -> tuple[str, ...]:
    return vocab.symbols[vocab.unk is not None :]


def _list(names: Sequence[str]) -> str:
    more = f" and {len(names) - LISTED:,} more" * (len(names) > LISTED)
    return ", ".join(map(_escape, names[:LISTED])) + more


def _escape(value: object) -> str:
    """A value from the user's data as text without markup, on one line."""
    return MARKUP.sub(r"\\\1", " ".join(shorten(str(value)).split()))


def _named(settings: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in settings.items():
        yield name.replace("_", " "), _escape(value)


def _table(first: str, second: str, rows: Iterable[tuple[str, str]]) -> str:
    return "\n".join(f"| {name} | {value} |" for name, value in ((first, second), ("---", "---"), *rows))


def _bullets(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)
