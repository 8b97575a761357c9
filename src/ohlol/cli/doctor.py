"""`ohlol doctor`: a description of this machine, and whether training, saving and resuming work on it."""

import json
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ohlol.cli.app import MACHINE, Json, app, console
from ohlol.utils.errors import InputError
from ohlol.utils.translation import join_list, translate

if TYPE_CHECKING:
    from ohlol.utils.environment import Machine

EPOCHS = 20
"""Of the run of the self-test, which is the tutorial's."""


@dataclass(frozen=True)
class Check:
    """The result of one part of the self-test."""

    check: str
    passed: bool
    seconds: float
    detail: str = ""


@app.command(rich_help_panel=MACHINE)
def doctor(
    out: Annotated[Path, typer.Option(help="Directory for runs.")] = Path(),
    as_json: Json = False,
) -> None:
    """Describe this machine, say which results are reproducible on it, and run a self-test of a few seconds."""
    from ohlol import ops
    from ohlol.utils import environment

    if not out.is_dir():
        raise InputError("`out` is {out}, which is not a directory; give an existing one", out=out)
    kernels = ops.implementation()
    machine = environment.describe_machine(out, kernels=kernels)
    reproducible = environment.describe_reproducibility(kernels=kernels)
    checks = run_self_test()
    if as_json:
        report = {
            **machine.to_json(),
            "reproducible": reproducible,
            "self_test": [asdict(check) for check in checks],
        }
        print(json.dumps(report, indent=2))
    else:
        _print(machine, reproducible, checks)
    failed = [check.check for check in checks if not check.passed]
    if failed:
        raise InputError("the self-test failed: {failed}", failed=join_list(failed))


def run_self_test() -> list[Check]:
    """Compare the layers with the equations, train the tutorial's model, and stop and resume it."""
    from ohlol.explain import equivalence
    from ohlol.training.callbacks import Callback, Training
    from ohlol.training.fit import fit
    from ohlol.training.trainer import Interrupted
    from ohlol.utils import devices

    class StopHalfway(Callback):
        def on_train_begin(self, trainer: Training) -> None:
            self.trainer = trainer

        def on_batch_end(self, epoch: int, done: int, total: int, loss: float, symbols: int) -> None:
            if epoch == EPOCHS // 2:
                self.trainer.stop()

    checks: list[Check] = []

    def add(name: str, passed: bool, started: float, detail: str = "") -> None:
        checks.append(Check(name, passed, round(time.perf_counter() - started, 3), detail))

    for cell in equivalence.CELL_NAMES:
        started = time.perf_counter()
        comparison = equivalence.compare(cell, hidden_size=33, batch_size=3)  # not a multiple of a vector register
        add(translate("{cell}: layer equals equations", cell=cell), comparison.agrees, started)
    with tempfile.TemporaryDirectory() as folder:
        whole, stopped = Path(folder) / "whole", Path(folder) / "stopped"
        started = time.perf_counter()
        try:
            predicted = "".join(fit(out=whole, seed=1, epochs=EPOCHS, device="cpu").predict("hello").labels)
            add(translate("train hello -> ohlol"), predicted == "ohlol", started, predicted)
            started = time.perf_counter()
            try:
                fit(out=stopped, seed=1, epochs=EPOCHS, callbacks=[StopHalfway()], device="cpu")
            except Interrupted:
                fit(out=stopped, resume=True, device="cpu")
            names = ("model.safetensors", "metrics.jsonl")
            equal = all((whole / name).read_bytes() == (stopped / name).read_bytes() for name in names)
            add(translate("stop and resume: equal bytes"), equal, started)
            for device in devices.list_devices()[:1]:
                started = time.perf_counter()
                model = fit(seed=1, epochs=EPOCHS, device=device.split()[0])
                predicted = "".join(model.predict("hello").labels)
                add(
                    translate("train hello -> ohlol on {device}", device=device),
                    predicted == "ohlol",
                    started,
                    predicted,
                )
        except (InputError, OSError) as error:
            add(translate("write a run"), False, started, str(error))
    return checks


def describe_processors(machine: "Machine") -> str:
    """Instructions, cores, quota and threads, and whether other processes use the cores."""
    processors = translate(
        "{processor}, {cores} cores, {threads} threads in use",
        processor=machine.processor,
        cores=machine.cores,
        threads=machine.threads,
    )
    if machine.quota is not None:
        processors += translate(", quota of {quota:g} cores", quota=machine.quota)
    if machine.load is not None:
        usable = machine.cores if machine.quota is None else min(machine.cores, machine.quota)
        processors += translate(", load {load:.1f}", load=machine.load)
        if machine.load >= usable:
            processors += translate(": other processes use the cores")
    return processors


def _print(machine: "Machine", reproducible: str, checks: list[Check]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False, pad_edge=False)
    packages = ", ".join(
        f"{name} {version or translate('not installed')}" for name, version in machine.packages.items()
    )
    rows = [
        ("ohlol", f"{machine.ohlol}, Python {machine.python}, {machine.system}"),
        (translate("packages"), packages),
        (translate("processor"), describe_processors(machine)),
        (translate("devices"), ", ".join(["cpu", *machine.devices])),
        (translate("memory"), translate("{free:,.1f} GiB free", free=machine.memory / 2**30)),
        (
            translate("disk"),
            translate("{free:,.1f} GiB free", free=machine.disk / 2**30)
            + ("" if machine.writable else translate(", not writable")),
        ),
        ("BLAS", machine.blas),
        (
            translate("kernels"),
            machine.kernels + ("" if machine.compiled else translate(": the compiled module is not installed")),
        ),
        (translate("reproducible"), reproducible),
    ]
    for check in checks:
        result = translate(
            "ok in {seconds:.1f} s {detail}" if check.passed else "FAILED in {seconds:.1f} s {detail}",
            seconds=check.seconds,
            detail=check.detail,
        ).strip()
        rows.append((check.check, result))
    for name, value in rows:
        table.add_row(name, Text(value))
    console().print(table)
