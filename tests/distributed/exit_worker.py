"""One process of a training that ends with a chosen error, and prints its remaining threads at exit.

`python exit_worker.py HOW RANK TRAIN...`: the process of that rank, or every one with `all`, raises the error HOW in
its third step; with `none` it trains to the end.
"""

import atexit
import os
import sys
from pathlib import Path
from typing import Any


def threads() -> None:
    found = sorted(path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm"))
    print("threads:", *(name for name in found if "gloo" in name or "tcpstore" in name), flush=True)


atexit.register(threads)  # first, to be called last

from ohlol.cli import main  # noqa: E402
from ohlol.training import trainer  # noqa: E402
from ohlol.utils.errors import InputError  # noqa: E402

ERRORS = {"input": InputError("refused"), "bug": ZeroDivisionError("a bug"), "memory": MemoryError()}


def broken(how: str) -> None:
    real: Any = trainer.Trainer._train_step
    taken: list[int] = []

    def step(*given: Any) -> Any:
        taken.append(1)
        if len(taken) == 3:
            raise ERRORS[how]
        return real(*given)

    trainer.Trainer._train_step = step


if __name__ == "__main__":
    how, rank, *rest = sys.argv[1:]
    if how != "none" and rank in ("all", os.environ["RANK"]):
        broken(how)
    main(["train", *rest])
