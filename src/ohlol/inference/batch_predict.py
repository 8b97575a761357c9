"""Predictions of an encoded corpus: a file a shard, by one process or several; knows nothing of how a model predicts.

    pred/  predictions.json   which model and which corpus these are of, and, once all is done, the files in order
           train-00000.tsv    the predictions of a shard, in the order of its sequences

A file is written whole or not at all, so each is done exactly once; a command that is given again does what is left.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ohlol.data.corpus import encoded, store
from ohlol.data.corpus.encoded import Encoded
from ohlol.evaluation.evaluate import EVAL_BATCH
from ohlol.inference.output import writer
from ohlol.inference.trained_model import Prediction, TrainedModel
from ohlol.utils import distributed
from ohlol.utils.errors import InputError
from ohlol.utils.files import read_json, write_bytes, write_error, write_json

INDEX = "predictions.json"
"""What says of which model and corpus the predictions are."""


def predict(model: TrainedModel, corpus: Path, out: Path, *, kind: str = "plain", n_best: int = 1) -> int | None:
    """Write the predictions of a corpus, or those that are not there yet; each process its share of the shards.

    Args:
        model: of task label or classify.
        corpus: encoded with the model's vocabulary.
        out: the directory to write to.
        kind: one of `output.FORMATS`.
        n_best: labels of each step that are written.

    Returns:
        How many sequences there are in all; None in processes that do not lead.

    Raises:
        InputError: the corpus has another vocabulary, or `out` holds the predictions of others.
    """
    with distributed.join_processes(model.device) as processes:
        found = encoded.read(corpus)
        processes.run_on_main(lambda: _begin(model, corpus, found, out, kind, n_best))
        for number, shard in enumerate(found.manifest.shards):
            path = out / (shard.name + SUFFIXES[kind])
            if number % processes.size == processes.rank and not path.exists():
                _write(model, corpus, found, number, path, kind, n_best)
        processes.sum_values([0.0])  # wait until all are through
        if not processes.is_main:
            return None
        files = [{"file": s.name + SUFFIXES[kind], "sequences": s.sequences} for s in found.manifest.shards]
        missing = [entry["file"] for entry in files if not (out / str(entry["file"])).exists()]
        if missing:
            raise InputError(f"{out / str(missing[0])}: is gone; the same command makes it again")
        write_json(out / INDEX, {**read_json(out / INDEX), "files": files})
        return sum(shard.sequences for shard in found.manifest.shards)


SUFFIXES = {"plain": ".txt", "tsv": ".tsv", "conll": ".conll", "jsonl": ".jsonl"}


def _begin(model: TrainedModel, corpus: Path, found: Encoded, out: Path, kind: str, n_best: int) -> None:
    """Refuse what does not fit, and write down what is going to be there."""
    writer(model, kind)
    if not model.targets.are_labels:
        raise InputError(f"this model's task is {model.task}; a corpus is labelled by models of label and classify")
    if found.codec != model.codec:
        raise InputError(
            f"{corpus} was encoded with another vocabulary than the model's; encode it again with `vocab` "
            f"{model.run or 'the run directory'}"
        )
    about: dict[str, Any] = {
        "format": store.FORMAT,
        "model": model.identity,
        "corpus": found.data_sha256,
        "output_format": kind,
        "n_best": n_best,
    }
    if not (out / INDEX).exists():
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise InputError(f"{out} holds no predictions and is left alone: give another `out`")
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise write_error(out, error) from None
        write_json(out / INDEX, about)
        return
    there = read_json(out / INDEX)
    if not isinstance(there, dict) or {name: there.get(name) for name in about} != about:
        raise InputError(f"{out} holds the predictions of another model, corpus or format: give another `out`")


def _write(model: TrainedModel, corpus: Path, found: Encoded, number: int, path: Path, kind: str, n_best: int) -> None:
    shard = found.manifest.shards[number]
    write = writer(model, kind)
    lines = [write(prediction) + "\n" for prediction in _predictions(model, corpus, found, number, n_best)]
    if len(lines) != shard.sequences:
        raise AssertionError(f"{len(lines)} predictions of {shard.sequences} sequences")
    write_bytes(path, "".join(lines).encode())


def _predictions(model: TrainedModel, corpus: Path, found: Encoded, number: int, n_best: int) -> Iterator[Prediction]:
    """Those of a shard, in the order of its sequences."""
    shard = found.manifest.shards[number]
    layout = model.codec.layout(targets="targets.npy" in shard.files)
    data = store.open_part(corpus, replace(found.manifest, shards=(shard,)), shard.part, layout)
    assert data is not None
    data = replace(data, targets=None)
    for start in range(0, shard.sequences, EVAL_BATCH):
        yield from model.predict_rows(data, np.arange(start, min(start + EVAL_BATCH, shard.sequences)), n_best=n_best)
