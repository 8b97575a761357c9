"""A file of weights becomes a run directory that every command reads; knows nothing of how either format is parsed.

What is read: an ONNX graph that `ohlol export` wrote, whole, with its vocabulary; an ONNX graph of another exporter, or
the `state_dict` of a `torch.nn` model as safetensors, if the model is an embedding (or none), one RNN, GRU or LSTM of
any depth and direction, and a linear head (or none).
"""

from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ohlol.checkpoint import run_directory
from ohlol.checkpoint.model_card import format_model_card
from ohlol.checkpoint.run_config import RunConfig, build_meta_model, sizes_from_codec
from ohlol.checkpoint.weights import check_weights, get_weights, load_weights, read_tensors
from ohlol.config import TrainSettings
from ohlol.data.codec import Codec
from ohlol.inference.trained_model import TrainedModel
from ohlol.interop.torch import Plain, built, from_state
from ohlol.models.sequence_model import SequenceModel, runs_in_loop
from ohlol.utils.errors import InputError, short
from ohlol.utils.files import FORMAT, parse_json, read_bytes, write_bytes, write_json

NAMES_LIMIT = 1 << 26
"""Bytes of a file of names."""


def names_of(path: Path) -> list[str]:
    """Names from a file, one a line; or, where it ends in .json, a list of strings.

    Raises:
        InputError: it cannot be read, or holds no names.
    """
    try:
        text = read_bytes(path, NAMES_LIMIT).decode("utf-8")
        names: Any = parse_json(text) if path.suffix == ".json" else text.splitlines()
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read: {short(error)}") from None
    if not isinstance(names, list) or not names or not all(isinstance(n, str) and n for n in names):
        raise InputError(f"{path}: holds no names, one a line, or a JSON list of strings")
    return names


def read(
    path: Path, *, task: str | None = None, symbols: Path | None = None, labels: Path | None = None
) -> tuple[TrainedModel, str]:
    """A model from a file of weights, and what was found in the file, on one line.

    Args:
        path: .onnx, or .safetensors with a `state_dict`.
        task: what the scores mean; needed unless `ohlol export` wrote the file.
        symbols: a file of the symbols in the order of their ids, or for forecast of the names of the columns.
        labels: a file of the labels in the order of the scores, or of the columns that are forecast.

    Raises:
        InputError: the file or the names are not what can be read, and why.
    """
    if path.suffix not in (".onnx", ".safetensors"):
        raise InputError(
            f"{path}: must end in .onnx or .safetensors; a pickle (.pt, .pth) can run anything when it is read, so "
            "save the state_dict with safetensors.torch.save_file"
        )
    if path.suffix == ".safetensors":
        found = from_state(read_tensors(path)[0], str(path))
    else:
        from ohlol.interop import onnx_reader

        graph = onnx_reader.Graph(path)
        if "ohlol" in graph.metadata:
            if task or symbols or labels:
                raise InputError(f"{path}: says itself what it is: leave out `task`, `symbols` and `labels`")
            return _ours(graph, str(path))
        found = onnx_reader.plain(graph)
    given = [names_of(names) if names is not None else [] for names in (symbols, labels)]
    return _theirs(found, task, given[0], given[1], str(path))


def _theirs(found: Plain, task: str | None, symbols: list[str], labels: list[str], where: str) -> tuple[Any, str]:
    data, settings, codec, model = built(found, task, symbols, labels, where)
    config = RunConfig(codec.task, data, settings, sizes_from_codec(codec), TrainSettings())
    return TrainedModel(config, codec, model), str(found)


def _ours(graph: Any, where: str) -> tuple[TrainedModel, str]:
    from ohlol.interop import onnx_reader

    try:
        told = parse_json(graph.metadata["settings"])
        codec = Codec.from_json(parse_json(graph.metadata["vocabulary"]))
        config = RunConfig.from_json(
            {
                "format": FORMAT,
                "task": graph.metadata["task"],
                "data": told["data"],
                "model": told["model"],
                "sizes": asdict(sizes_from_codec(codec)),
                "training": asdict(TrainSettings()),
                "train_files": [],
                "dev_file": None,
                "pairs": [],
                "metrics": {},
            }
        )
        if config.task != codec.task:
            raise InputError("the task of the vocabulary is another")
        expected = get_weights(build_meta_model(config))
    except (InputError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise InputError(f"{where}: its metadata are not those of a graph of ohlol: {short(error)}") from None
    looped = runs_in_loop(config.model)
    weights = onnx_reader.ours(graph, expected, config.model.cell, config.model.num_layers, looped)
    check_weights(weights, expected, where, "its metadata ask for")
    model = SequenceModel(config.model, config.sizes).eval()
    load_weights(model, weights, where)
    imported = TrainedModel(config, codec, model)
    if imported.identity != graph.metadata.get("identity"):
        raise InputError(f"{where}: its weights are not those it was written with: it was changed or damaged")
    return imported, f"a graph of ohlol {graph.metadata['ohlol'][:20]} for task {config.task}, with its vocabulary"


def save(model: TrainedModel, out: Path, *, overwrite: bool = False) -> None:
    """Write a model as a run directory.

    Raises:
        InputError: the directory exists and is not to be overwritten, or cannot be written.
    """
    with ExitStack() as held:
        run_directory.create(out, overwrite=overwrite, held=held, trains=False)
        write_json(out / "config.json", model.config.to_json())
        write_json(out / "vocab.json", model.codec.to_json())
        run_directory.save_model(out, model.network)
        parameters = sum(p.numel() for p in model.network.parameters())
        write_bytes(out / "README.md", format_model_card(model.config, parameters, out, held_out=False).encode())
