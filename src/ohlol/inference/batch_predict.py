"""Write the predictions of an encoded corpus, one file per shard, by one process or several.

    pred/  predictions.json   identities of the model and of the corpus; once all is written, the files in order
           train-00000.tsv    the predictions of a shard, in the order of its sequences

Each file is written atomically and once. Running the same command again writes the files that are missing.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ohlol.data.corpus import encoded, store
from ohlol.data.corpus.encoded import Encoded
from ohlol.evaluation.evaluate import EVAL_BATCH
from ohlol.inference.output import FORMATS, make_writer
from ohlol.inference.prediction import Prediction, predict_batch
from ohlol.inference.trained_model import TrainedModel
from ohlol.utils import distributed
from ohlol.utils.errors import InputError
from ohlol.utils.files import read_json, write_bytes, write_error, write_json
from ohlol.utils.translation import translate

INDEX = "predictions.json"
"""The file that names the model, the corpus and the files of predictions."""


def predict_corpus(
    model: TrainedModel, folder: Path, out: Path, *, output_format: str = "plain", n_best: int = 1
) -> int | None:
    """Write the predictions of a corpus that are not written yet; each process writes its share of the shards.

    Args:
        model: a model of a task with labels.
        folder: an encoded corpus with the model's vocabulary.
        out: the directory to write to.
        output_format: a key of `output.FORMATS`.
        n_best: how many labels of each step are written.

    Returns:
        The number of sequences; None in all processes but the main one.

    Raises:
        InputError: the corpus has another vocabulary, or `out` holds other predictions.
    """
    with distributed.join_processes(model.device) as processes:
        corpus = encoded.read(folder)
        processes.run_on_main(lambda: _begin(model, folder, corpus, out, output_format, n_best))
        shards, suffix = corpus.manifest.shards, FORMATS[output_format].suffix
        for number, shard in enumerate(shards):
            path = out / (shard.name + suffix)
            if number % processes.size == processes.rank and not path.exists():
                _write_shard(model, folder, corpus, number, path, output_format, n_best)
        processes.sum_values([0.0])  # a barrier: all files are written
        if not processes.is_main:
            return None
        files = [{"file": shard.name + suffix, "sequences": shard.sequences} for shard in shards]
        missing = [entry["file"] for entry in files if not (out / str(entry["file"])).exists()]
        if missing:
            raise InputError("{out}: is missing; run the same command again to write it", out=out / str(missing[0]))
        write_json(out / INDEX, {**read_json(out / INDEX), "files": files})
        return sum(shard.sequences for shard in shards)


def _begin(model: TrainedModel, folder: Path, corpus: Encoded, out: Path, output_format: str, n_best: int) -> None:
    """Check that model, corpus and directory fit together, and write the index."""
    make_writer(model, output_format)
    if not model.targets.is_supervised:
        raise InputError("this model's task is {task}, which has no labels to predict for a corpus", task=model.task)
    if not model.codec.can_read(corpus.codec):
        raise InputError(
            "{folder} was encoded with another vocabulary than the model's; encode it again with `vocab` {run}",
            folder=folder,
            run=model.run or translate("the run directory"),
        )
    index: dict[str, Any] = {
        "format": store.FORMAT,
        "model": model.identity,
        "corpus": corpus.data_sha256,
        "output_format": output_format,
        "n_best": n_best,
    }
    if not (out / INDEX).exists():
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise InputError("{out} is not empty and holds no predictions; choose another `out`", out=out)
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise write_error(out, error) from None
        write_json(out / INDEX, index)
        return
    existing = read_json(out / INDEX)
    if not isinstance(existing, dict) or {name: existing.get(name) for name in index} != index:
        raise InputError(
            "{out} holds the predictions of another model, corpus or format; choose another `out`", out=out
        )


def _write_shard(
    model: TrainedModel, folder: Path, corpus: Encoded, number: int, path: Path, output_format: str, n_best: int
) -> None:
    write = make_writer(model, output_format)
    lines = [write(prediction) + "\n" for prediction in _predict_shard(model, folder, corpus, number, n_best)]
    sequences = corpus.manifest.shards[number].sequences
    if len(lines) != sequences:
        raise AssertionError(f"{len(lines)} predictions of {sequences} sequences")
    write_bytes(path, "".join(lines).encode())


def _predict_shard(
    model: TrainedModel, folder: Path, corpus: Encoded, number: int, n_best: int
) -> Iterator[Prediction]:
    """The predictions of a shard, in the order of its sequences."""
    shard = corpus.manifest.shards[number]
    layout = corpus.codec.layout(with_targets="targets.npy" in shard.files)
    data = store.open_part(folder, replace(corpus.manifest, shards=(shard,)), shard.part, layout)
    assert data is not None
    data = replace(data, targets=None)
    for start in range(0, shard.sequences, EVAL_BATCH):
        rows = np.arange(start, min(start + EVAL_BATCH, shard.sequences))
        yield from predict_batch(model.network, model.codec, data, rows, n_best=n_best)
