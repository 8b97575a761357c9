"""A directory with data files, runs and other files of every kind, which commands are run in."""

import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from faults.damaged_files import FORMATS
from fuzz.commands import State, snapshot
from helpers import (
    SALES,
    SALES_NEXT,
    TINY,
    lengths_file,
    names_file,
    sales_file,
    sets_file,
    sine_file,
    text_file,
    upper_pairs,
)
from interop.torch_models import TorchModel, export_onnx
from safetensors.torch import save_file

import ohlol
from ohlol.config import DataSettings
from ohlol.data.corpus.encode import encode
from ohlol.interop.onnx_export import build_graph

RUNS: dict[str, tuple[str, dict[str, Any]]] = {
    "label": ("pairs.tsv", {"cell": "gru", "bidirectional": True, "bigram_size": 3, "snapshots": True}),
    "next": ("text.txt", {"cell": "lstm", "bptt": 7}),
    "classify": ("names.csv", {"input": "name", "target": "kind", "num_layers": 2}),
    "regress": ("sizes.csv", {"task": "regress", "input": "name", "target": "size"}),
    "multilabel": ("sets.jsonl", {"task": "multilabel", "input": "name", "target": "letters"}),
    "next_row": ("sine.csv", {"task": "next_row", "cell": "rnn", "loop": True}),
    "forecast": ("sales.csv", {**SALES, "cell": "gru"}),
}
"""Runs: their data and settings. The name of each is its task."""
MODELS = ("model.onnx", "torch.onnx", "weights.safetensors")
"""Files that `ohlol import` reads."""


@dataclass
class Workspace:
    """The directory, a copy of it outside, and what it contained when it was complete."""

    folder: Path
    results: Path
    """A directory for what commands print."""
    copy: Path
    states: dict[str, State] = field(default_factory=dict[str, State])

    @classmethod
    def create(cls, place: Path) -> "Workspace":
        """Write the files, train the runs and export a model."""
        folder, results = place / "workspace", place / "results"
        folder.mkdir()
        results.mkdir()
        for make, name, _ in FORMATS.values():
            make(folder / name)
        upper_pairs(folder / "pairs.tsv")
        text_file(folder / "text.txt")
        names_file(folder / "names.csv")
        lengths_file(folder / "sizes.csv")
        sets_file(folder / "sets.jsonl")
        sine_file(folder / "sine.csv", 60)
        sales_file(folder / "sales.csv")
        (folder / "sales-next.csv").write_text(SALES_NEXT)
        for name, (data, settings) in RUNS.items():
            ohlol.fit(folder / data, out=folder / name, **{**TINY, "bidirectional": False, **settings})
        (folder / "model.onnx").write_bytes(build_graph(ohlol.load(folder / "label")))
        module = TorchModel("lstm")
        save_file(module.state_dict(), folder / "weights.safetensors")
        export_onnx(module, folder / "torch.onnx", torch.zeros(1, 9).long())
        encode([str(folder / "text.txt")], folder / "corpus", DataSettings())
        ohlol.tune(folder / "text.txt", out=folder / "study", trials=2, **{**TINY, "hidden_size": 4, "epochs": 1})
        (folder / "symbols.txt").write_text("\n".join("abcdefg"), encoding="utf-8")
        (folder / "labels.txt").write_text("\n".join("WXYZ"), encoding="utf-8")
        (folder / "empty").write_bytes(b"")
        (folder / "loop").symlink_to("loop")
        (folder / "device").symlink_to("/dev/zero")
        os.mkfifo(folder / "pipe")
        shutil.copy(folder / "text.txt", os.fsencode(folder) + b"/not utf-8 \xff.txt")
        (folder / ("x" * 251 + ".txt")).write_text("ab\n" * 20)
        made = cls(folder, results, place / "copy")
        shutil.copytree(folder, made.copy, symlinks=True, ignore=shutil.ignore_patterns("pipe"))
        made.states = snapshot(folder)
        return made

    def changed(self) -> set[str]:
        """The files that were changed or removed since `restore`, without new ones and directories."""
        now = snapshot(self.folder)
        return {name for name, state in self.states.items() if now.get(name) != state}

    def restore(self) -> None:
        """Make the directory what it was; few cases change it."""
        now = snapshot(self.folder)
        if now == self.states:
            return
        for name in sorted(now.keys() - self.states.keys(), reverse=True):
            path = self.folder / name
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        if self.changed():
            shutil.rmtree(self.folder)
            shutil.copytree(self.copy, self.folder, symlinks=True)
            os.mkfifo(self.folder / "pipe")
            self.states = snapshot(self.folder)
