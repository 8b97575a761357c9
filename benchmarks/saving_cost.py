"""The share of a training's time that goes into writing its files, at the defaults of `ohlol train FILE`.

    OMP_NUM_THREADS=1 python benchmarks/saving_cost.py FILE [name=value ...]

Any field of the settings may be given. Everything written while `fit` runs is counted: states, best weights, metrics,
and gathering and hashing what they hold. The share is that of the processor's time, too, which other programs do not
lengthen: with one thread it is the share on a machine that has nothing else to do, or more.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import ohlol
from ohlol.checkpoint import metrics_log, run_directory
from ohlol.config import DataSettings, ModelSettings, TrainSettings
from ohlol.training import trainer
from ohlol.training.callbacks import Callback

spent = {"states": 0.0, "best weights": 0.0, "metrics": 0.0}
times = dict.fromkeys(spent, 0)


def timed(owner: Any, name: str, what: str) -> None:
    """Count the time that a function takes."""
    real: Callable[..., Any] = getattr(owner, name)

    def call(*given: Any, **named: Any) -> Any:
        started = time.perf_counter()
        try:
            return real(*given, **named)
        finally:
            spent[what] += time.perf_counter() - started
            times[what] += 1

    setattr(owner, name, call)


class Watch(Callback):
    """Knows when training starts: reading and encoding the data are no part of it."""

    def on_train_begin(self, trainer: trainer.Trainer) -> None:
        """Note the time, and forget what was written before."""
        for what in spent:
            spent[what], times[what] = 0.0, 0
        self.started, self.worked = time.perf_counter(), time.process_time()


def main() -> None:
    """Train once and print the shares."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file")
    parser.add_argument("settings", nargs="*", help="name=value")
    given = parser.parse_args()
    kinds = {f.name: type(f.default) for kind in (DataSettings, ModelSettings, TrainSettings) for f in fields(kind)}
    settings: dict[str, Any] = {}
    for one in given.settings:
        name, _, value = one.partition("=")
        settings[name] = int(value) if kinds[name] is int else value
    timed(trainer.Trainer, "save_state", "states")
    timed(run_directory, "save_model", "best weights")
    timed(metrics_log.MetricsLog, "append", "metrics")
    watch = Watch()
    with tempfile.TemporaryDirectory(dir=".") as place:
        ohlol.fit(given.file, out=Path(place) / "run", callbacks=[watch], **settings)
    whole, work = time.perf_counter() - watch.started, time.process_time() - watch.worked
    print(f"training: {whole:.2f} s, {work:.2f} s of the processor")
    for what, seconds in spent.items():
        print(f"{what}: {times[what]} times, {seconds:.3f} s, {100 * seconds / whole:.2f} %")
    together = sum(spent.values())
    print(f"together: {100 * together / whole:.2f} %, of the processor's time {100 * together / work:.2f} %")


if __name__ == "__main__":
    main()
