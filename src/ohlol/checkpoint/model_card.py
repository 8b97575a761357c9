"""The model card: the README.md of a run, from its configuration and metrics."""

from dataclasses import asdict
from pathlib import Path

from ohlol.cells.imported import is_import_path
from ohlol.checkpoint.run_config import RunConfig
from ohlol.tasks import TASKS
from ohlol.tasks.metrics import format_metrics


def format_model_card(
    config: RunConfig, parameters: int, run: Path, *, has_validation_data: bool, device: str = ""
) -> str:
    """A description of a model in Markdown: its architecture, data, metrics and usage.

    Args:
        config: the configuration of the run.
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
    computed = f"- computed by: {device}\n" if device else ""
    model = f"{run} --cell {config.model.cell}" if is_import_path(config.model.cell) else run
    settings = {**asdict(config.model), **asdict(config.training)}
    rows = "\n".join(f"| {name.replace('_', ' ')} | {value} |" for name, value in settings.items())
    return f"""# {run.name}

A recurrent network of ohlol for the task `{config.task}`: {config.model.cell}, {config.model.num_layers} x \
{config.model.hidden_size} hidden units{", both directions" if config.model.bidirectional else ""}, \
{parameters:,} parameters.

- trained on: {trained_on}
- measured on: {measured}
{computed}- metrics there, best weights: {format_metrics(config.metrics) or "none"}

```
{TASKS[config.task].usage.format(run=model, input="FILE" if config.sizes.numeric else '"TEXT"')}
```

| setting | value |
|---|---|
{rows}
"""
