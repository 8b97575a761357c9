"""One process of a run, for the tests: trains as its arguments say and writes what was seen; knows nothing of checks.

`python worker.py FILE` where FILE holds a JSON list of runs: `data`, `out`, `settings`, and `losses`, the file that the
leader writes the loss of each step to.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

import torch

import ohlol
from ohlol.watch import Silent


class Losses(Silent):
    """The loss of every step."""

    def __init__(self) -> None:
        self.found: list[float] = []

    def step(self, epoch: int, done: int, total: int, loss: float, symbols: int) -> None:
        self.found.append(loss)


def main(runs: list[dict[str, Any]]) -> None:
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    for run in runs:
        losses = Losses()
        ohlol.fit(run["data"], out=run["out"], reporter=losses, **run["settings"])
        if os.environ.get("RANK", "0") == "0":
            Path(run["losses"]).write_text(json.dumps(losses.found))


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()))
