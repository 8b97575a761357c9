"""The share of a training's time that is spent on writing its files, with the defaults of `ohlol train FILE`.

    OMP_NUM_THREADS=1 python benchmarks/saving_cost.py FILE [name=value ...] [--quick]

Any setting may be given. All writing during `fit` is counted: saved states, best weights and metrics, with gathering
and hashing their content. The share is also given of the processor time, which other programs do not lengthen. With one
thread it is at least the share on an idle machine.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

from timing import parse_arguments

import ohlol
from ohlol.checkpoint import run_directory
from ohlol.checkpoint.metrics_log import MetricsLog
from ohlol.config import DataSettings, ModelSettings, TrainSettings
from ohlol.training.callbacks import Callback, Training
from ohlol.training.trainer import Trainer

QUICK = {"hidden_size": 8, "embedding_size": 4, "epochs": 2, "bptt": 16, "batch_size": 8}

seconds = {"states": 0.0, "best weights": 0.0, "metrics": 0.0}
calls = dict.fromkeys(seconds, 0)


def count_time(owner: Any, name: str, what: str) -> None:
    """Replace a function by one that adds the time of its calls to `seconds[what]`."""
    function: Callable[..., Any] = getattr(owner, name)

    def timed(*arguments: Any, **named: Any) -> Any:
        started = time.perf_counter()
        try:
            return function(*arguments, **named)
        finally:
            seconds[what] += time.perf_counter() - started
            calls[what] += 1

    setattr(owner, name, timed)


class StartTime(Callback):
    """Notes when training starts, after the data are read and encoded."""

    def on_train_begin(self, trainer: Training) -> None:
        """Note the time, and reset what was counted before."""
        for what in seconds:
            seconds[what], calls[what] = 0.0, 0
        self.started, self.processor_started = time.perf_counter(), time.process_time()


def parse_settings(texts: list[str]) -> dict[str, Any]:
    """Settings from `name=value`."""
    types = {f.name: type(f.default) for kind in (DataSettings, ModelSettings, TrainSettings) for f in fields(kind)}
    pairs = [text.partition("=")[::2] for text in texts]
    return {name: int(value) if types[name] is int else value for name, value in pairs}


def main() -> None:
    """Train once and print the shares."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file")
    parser.add_argument("settings", nargs="*", help="name=value")
    options = parse_arguments(parser)
    settings = (QUICK if options.quick else {}) | parse_settings(options.settings)
    count_time(Trainer, "save_state", "states")
    count_time(run_directory, "save_model", "best weights")
    count_time(MetricsLog, "append", "metrics")
    start = StartTime()
    with tempfile.TemporaryDirectory(dir=".") as place:
        ohlol.fit(options.file, out=Path(place) / "run", callbacks=[start], **settings)
    total, processor = time.perf_counter() - start.started, time.process_time() - start.processor_started
    if not all(calls.values()):
        raise SystemExit(f"not everything that training writes was counted: {calls}")
    print(f"training: {total:.2f} s, {processor:.2f} s of the processor")
    for what, spent in seconds.items():
        print(f"{what}: {calls[what]} times, {spent:.3f} s, {100 * spent / total:.2f} %")
    together = sum(seconds.values())
    print(f"together: {100 * together / total:.2f} %, of the processor's time {100 * together / processor:.2f} %")


if __name__ == "__main__":
    main()
