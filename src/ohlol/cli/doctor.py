"""`ohlol doctor`: what this machine is, and whether training, saving and resuming work on it."""

import json
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from ohlol.cli.frame import app, console


@app.command()
def doctor(
    out: Annotated[Path, typer.Option(help="Where runs would be written.")] = Path(),
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """What this machine is, what of a run is the same again on it, and a self-test of seconds."""
    from ohlol import ops
    from ohlol.utils import environment
    from ohlol.utils.errors import InputError

    if not out.is_dir():
        raise InputError(f"--out is {out}, which is no directory; give one that is there")
    kernels = ops.implementation()
    found = environment.describe_machine(out, kernels=kernels)
    checks = self_test()
    if as_json:
        report = {
            **found.to_json(),
            "reproducible": environment.describe_reproducibility(kernels=kernels),
            "self_test": checks,
        }
        print(json.dumps(report, indent=2))
    else:
        _print(found, environment.describe_reproducibility(kernels=kernels), checks)
    if not all(check["passed"] for check in checks):
        raise typer.Exit(2)


def self_test() -> list[dict[str, Any]]:
    """The layers against the equations, the tutorial's run, and the same stopped and resumed; each with its seconds."""
    from ohlol.explain import equivalence
    from ohlol.training.callbacks import Callback, Training
    from ohlol.training.fit import fit
    from ohlol.training.trainer import Interrupted
    from ohlol.utils import devices
    from ohlol.utils.errors import InputError

    class Stopper(Callback):
        def on_train_begin(self, trainer: Training) -> None:
            self.trainer = trainer

        def on_batch_end(self, epoch: int, done: int, total: int, loss: float, symbols: int) -> None:
            if epoch == EPOCHS // 2:
                self.trainer.stop()

    checks: list[dict[str, Any]] = []

    def check(name: str, passed: bool, started: float, said: str = "") -> None:
        checks.append(
            {"check": name, "passed": passed, "seconds": round(time.perf_counter() - started, 3), "said": said}
        )

    for kind in equivalence.KINDS:
        started = time.perf_counter()
        found = equivalence.prove(kind, hidden_size=33, batch_size=3)  # no multiple of what a vector register holds
        check(f"{kind}: the layer is its equations", found.holds, started)
    with tempfile.TemporaryDirectory() as place:
        whole, stopped = Path(place) / "whole", Path(place) / "stopped"
        started = time.perf_counter()
        try:
            model = fit(out=whole, seed=1, epochs=EPOCHS, device="cpu")
            found = "".join(model.predict("hello").labels)
            check("train hello -> ohlol", found == "ohlol", started, found)
            started = time.perf_counter()
            try:
                fit(out=stopped, seed=1, epochs=EPOCHS, callbacks=[Stopper()], device="cpu")
            except Interrupted:
                fit(out=stopped, resume=True, device="cpu")
            same = all(
                (whole / n).read_bytes() == (stopped / n).read_bytes() for n in ("model.safetensors", "metrics.jsonl")
            )
            check("stop and resume to the same bytes", same, started)
            for device in devices.list_devices()[:1]:
                started = time.perf_counter()
                found = "".join(fit(seed=1, epochs=EPOCHS, device=device.split()[0]).predict("hello").labels)
                check(f"train hello -> ohlol on {device}", found == "ohlol", started, found)
        except (InputError, OSError) as error:
            check("write a run", False, started, str(error))
    return checks


EPOCHS = 20
"""Of the self-test's run: the tutorial's."""


def _print(found: Any, promise: str, checks: list[dict[str, Any]]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False, pad_edge=False)
    packages = ", ".join(f"{name} {number or 'not there'}" for name, number in found.packages.items())
    disk = f"{found.disk / 2**30:,.1f} GiB free" + ("" if found.writable else ", and it cannot be written to")
    for name, value in (
        ("ohlol", f"{found.ohlol}, Python {found.python}, {found.system}"),
        ("packages", packages),
        ("processor", f"{found.processor}, {found.cores} cores, {found.threads} threads in use"),
        ("devices", ", ".join(["cpu", *found.devices])),
        ("memory", f"{found.memory / 2**30:,.1f} GiB free"),
        ("disk", disk),
        ("BLAS", found.blas),
        ("kernels", found.kernels + ("" if found.compiled else ": no compiled module of ohlol is there")),
        ("bytes", promise),
        *(
            (c["check"], f"{'ok' if c['passed'] else 'FAILED'} in {c['seconds']:.1f} s {c['said']}".strip())
            for c in checks
        ),
    ):
        table.add_row(name, Text(value))
    console().print(table)
