"""The model card: a run's README.md, from its configuration and scores; knows nothing of how either came about."""

from dataclasses import asdict
from pathlib import Path

from ohlol.checkpoint.run_directory import Config
from ohlol.tasks import TASKS
from ohlol.tasks.metrics import format_metrics


def model_card(config: Config, parameters: int, run: Path, *, apart: bool, device: str = "") -> str:
    """Markdown that says what the model is, what it was trained on, how good it is and how to use it.

    `apart` says whether it was measured on other data than it was trained on, `device` what it was trained by, if it
    was here.
    """
    imported = not config.train_files and not config.pairs
    given = "elsewhere: its weights were imported" if imported else "pairs given on the command line"
    trained_on = ", ".join(config.train_files) or given
    measured = config.dev_file or (
        f"a share of {config.training.dev_fraction:g} set apart" if apart else "the training data"
    )
    measured = "nothing yet; `ohlol evaluate` does" if imported else measured
    computed = f"- computed by: {device}\n" if device else ""
    settings = {**asdict(config.model), **asdict(config.training)}
    rows = "\n".join(f"| {name.replace('_', ' ')} | {value} |" for name, value in settings.items())
    return f"""# {run.name}

A recurrent network of ohlol for the task `{config.task}`: {config.model.cell}, {config.model.num_layers} x \
{config.model.hidden_size} hidden units{", both directions" if config.model.bidirectional else ""}, \
{parameters:,} parameters.

- trained on: {trained_on}
- measured on: {measured}
{computed}- scores there, best weights: {format_metrics(config.scores) or "none"}

```
{TASKS[config.task].usage.format(run=run)}
```

| setting | value |
|---|---|
{rows}
"""
