"""Write the golden run directories: `python tests/golden/make.py`, only when the format changes on purpose.

Later versions must read these files unchanged; test_golden.py has the expected results.
"""

import os
import shutil
import sys
from contextlib import suppress
from pathlib import Path

import torch

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from helpers import upper_pairs  # noqa: E402

from ohlol import fit, load  # noqa: E402
from ohlol.config import DataSettings  # noqa: E402
from ohlol.data.corpus.encode import encode  # noqa: E402
from ohlol.interop.onnx_export import build_graph  # noqa: E402
from ohlol.training.callbacks import Callback, Epoch  # noqa: E402
from ohlol.training.trainer import Interrupted, Trainer  # noqa: E402

SMALL = {"hidden_size": 3, "embedding_size": 2, "bigram_size": 0, "epochs": 3, "batch_size": 8, "cell": "gru"}


class StopAt(Callback):
    def on_train_begin(self, trainer: Trainer) -> None:
        self.trainer = trainer

    def on_epoch_end(self, epoch: Epoch) -> None:
        if epoch.number == 2:
            self.trainer.stop()


def main() -> None:
    torch.set_num_threads(1)
    os.chdir(HERE)
    for name in ("hello", "stopped", "corpus"):
        shutil.rmtree(name, ignore_errors=True)
    fit(out="hello", seed=1)
    upper_pairs(Path("data.tsv"))
    with suppress(Interrupted):
        fit("data.tsv", out="stopped", callbacks=[StopAt()], **SMALL)
    encode(["data.tsv"], Path("corpus"), DataSettings(), jobs=1, piece=150)
    shipped()


def shipped() -> None:
    """What is handed on of the finished run: the state of a stream after three letters, and the graph."""
    model = load("hello")
    stream = model.stream()
    for letter in "hel":
        stream.step(letter)
    Path("hello.stream.safetensors").write_bytes(stream.state())
    Path("hello.onnx").write_bytes(build_graph(model))


if __name__ == "__main__":
    main()
