"""Models written with torch.nn, and their files."""

import warnings
from pathlib import Path
from typing import Any

import torch

from ohlol.inference.trained_model import TrainedModel
from ohlol.models.inputs import PackedInputs

LAYERS = {"rnn": torch.nn.RNN, "gru": torch.nn.GRU, "lstm": torch.nn.LSTM}
"""The layer of torch for each cell."""


class TorchModel(torch.nn.Module):
    """An embedding, recurrent layers and a linear head."""

    def __init__(self, cell: str, V: int = 7, K: int = 4, *, head: bool = True, embedded: bool = True, **options: Any):
        super().__init__()
        torch.manual_seed(6)
        self.emb = torch.nn.Embedding(V, 5) if embedded else None
        self.rnn = LAYERS[cell](5, 6, batch_first=True, **options)
        D = 2 if options.get("bidirectional") else 1
        self.fc = torch.nn.Linear(6 * D, K) if head else torch.nn.Identity()
        self.last_step = False
        """Whether the head reads the last state of each direction, as a classifier."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y, final = self.rnn(x if self.emb is None else self.emb(x))
        if self.last_step:
            h = final[0] if isinstance(final, tuple) else final
            y = torch.cat(list(h[-2:] if self.rnn.bidirectional else h[-1:]), dim=1)
        return self.fc(y)


def export_onnx(model: torch.nn.Module, path: Path, example: torch.Tensor) -> Path:
    """Export a module with the exporter of torch."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(model.eval(), (example,), str(path), dynamo=False)
    return path


def logits_of(model: TrainedModel, ids: list[int]) -> torch.Tensor:
    """The logits (T, K), or (1, K) for one label a sequence, of a sequence of ids."""
    with torch.no_grad():
        return model.network(PackedInputs(torch.tensor(ids), torch.ones(len(ids)).long()))[0]
