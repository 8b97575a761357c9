"""One process of a distributed training for the tests; writes its losses to a file.

`python worker.py FILE` where FILE holds a JSON list of runs: `data`, `out`, `settings`, and `losses`, the file that the
main process writes the loss of each step to. A run with `scale` has float32 weights and starts with that loss scale.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

import torch

import ohlol
from ohlol.training.callbacks import Callback
from ohlol.training.trainer import Trainer


class Losses(Callback):
    """The loss of every step."""

    def __init__(self, scale: float | None) -> None:
        self.found: list[float] = []
        self.scale = scale

    def on_train_begin(self, trainer: Trainer) -> None:
        if self.scale is not None:
            trainer.precision.scaler = torch.amp.GradScaler("cpu", init_scale=self.scale)

    def on_batch_end(self, epoch: int, done: int, total: int, loss: float, symbols: int) -> None:
        self.found.append(loss)


def main(runs: list[dict[str, Any]]) -> None:
    torch.set_num_threads(1)
    for run in runs:
        scale = run.get("scale")
        torch.set_default_dtype(torch.float64 if scale is None else torch.float32)
        losses = Losses(scale)
        ohlol.fit(run["data"], out=run["out"], callbacks=[losses], **run["settings"])
        if os.environ.get("RANK", "0") == "0":
            Path(run["losses"]).write_text(json.dumps(losses.found))


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()))
