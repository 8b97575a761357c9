"""Import a file of weights as a trained model and write it as a run directory.

An ONNX graph that `ohlol export` wrote is read whole, with its vocabulary. An ONNX graph of another exporter, or the
`state_dict` of a torch module as safetensors, is read if the model is an embedding (or none), one RNN, GRU or LSTM of
any depth and direction, and a linear head (or none). A graph may also hold the variants of them that are cells.
"""

from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ohlol.checkpoint import run_directory
from ohlol.checkpoint.model_card import format_model_card
from ohlol.checkpoint.run_config import RunConfig, build_meta_model, sizes_from_codec
from ohlol.checkpoint.weights import check_weights, get_weights, load_weights, read_tensors
from ohlol.config import TrainSettings
from ohlol.data.codec_json import codec_from_json
from ohlol.data.word_vectors import WordVectors
from ohlol.inference.trained_model import TrainedModel
from ohlol.interop.torch import ModelParts, parse_state_dict
from ohlol.interop.torch import build_model as build_imported_model
from ohlol.utils.errors import InputError, describe_error, shorten
from ohlol.utils.files import FORMAT, check_encodable, parse_json, read_bytes, write_utf8
from ohlol.utils.translation import translate

if TYPE_CHECKING:
    from ohlol.interop.onnx_import import OnnxGraph

NAMES_LIMIT = 1 << 26
"""Largest size of a file of names in bytes."""


def read_names(path: Path) -> list[str]:
    """Read names from a file, one per line, or a JSON list of strings from one that ends in .json.

    Raises:
        InputError: it cannot be read, or holds no names.
    """
    try:
        text = read_bytes(path, NAMES_LIMIT).decode("utf-8")
        names: Any = parse_json(text) if path.suffix == ".json" else text.splitlines()
        check_encodable(names)
    except (ValueError, RecursionError) as error:
        raise InputError("{path}: cannot be read: {error}", path=path, error=describe_error(error)) from None
    if not isinstance(names, list) or not names or not all(isinstance(n, str) and n for n in names):
        raise InputError("{path}: holds no names, one per line, or a JSON list of strings", path=path)
    return names


def import_model(
    path: Path, *, task: str | None = None, symbols: Path | None = None, labels: Path | None = None
) -> tuple[TrainedModel, str]:
    """Read a model from a file of weights.

    Args:
        path: .onnx, or .safetensors with a `state_dict`.
        task: the name of the task; needed unless `ohlol export` wrote the file.
        symbols: a file with the symbols in the order of their ids, or the names of the input columns.
        labels: a file with the labels in the order of the logits, or the names of the target columns.

    Returns:
        The model, and a description of the contents of the file, on one line.

    Raises:
        InputError: the file or the names cannot be read as a model, and why.
    """
    if path.suffix not in (".onnx", ".safetensors"):
        raise InputError(
            "{path}: must end in .onnx or .safetensors; reading a pickle (.pt, .pth) can execute arbitrary "
            "code, so save the state_dict with safetensors.torch.save_file",
            path=path,
        )
    if path.suffix == ".safetensors":
        parts = parse_state_dict(read_tensors(path)[0], str(path))
    else:
        from ohlol.interop.onnx_import import OnnxGraph, parse_graph

        graph = OnnxGraph(path)
        if any(node.op_type == "Scan" for node in graph.graph.node):
            raise graph.error(
                translate("computes its cell in a Scan, which cannot be read back; RNN, GRU and LSTM operators can")
            )
        if "ohlol" in graph.metadata:
            if task or symbols or labels:
                raise InputError("{path}: was exported by ohlol: leave out `task`, `symbols` and `labels`", path=path)
            return _import_exported(graph, str(path))
        parts = parse_graph(graph)
    symbol_names, label_names = (read_names(names) if names is not None else [] for names in (symbols, labels))
    return _import_parts(parts, task, symbol_names, label_names, str(path))


def _import_parts(
    parts: ModelParts, task: str | None, symbols: list[str], labels: list[str], source: str
) -> tuple[TrainedModel, str]:
    data, settings, codec, model = build_imported_model(parts, task, symbols, labels, source)
    config = RunConfig(codec.task, data, settings, sizes_from_codec(codec), TrainSettings())
    return TrainedModel(config, codec, model), str(parts)


def _import_exported(graph: "OnnxGraph", source: str) -> tuple[TrainedModel, str]:
    """A model from a graph that ohlol exported; its weights must have the identity in the metadata."""
    from ohlol.interop.onnx_import import read_exported_weights

    try:
        settings = parse_json(graph.metadata["settings"])
        codec = codec_from_json(parse_json(graph.metadata["vocabulary"]))
        training = TrainSettings(bptt=settings.get("bptt", TrainSettings().bptt))
        config = RunConfig.from_json(
            {
                "format": FORMAT,
                "task": graph.metadata["task"],
                "data": settings["data"],
                "model": settings["model"],
                "sizes": asdict(sizes_from_codec(codec)),
                "training": asdict(training),
                "train_files": [],
                "dev_file": None,
                "pairs": [],
                "metrics": {},
            }
        )
        if config.task != codec.task:
            raise InputError("the vocabulary has another task")
        expected = get_weights(build_meta_model(config))
    except (InputError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise InputError(
            "{source}: its metadata are not those of a graph of ohlol: {error}",
            source=source,
            error=describe_error(error),
        ) from None
    weights = read_exported_weights(graph, expected, config.model)
    check_weights(weights, expected, source, translate("its metadata require"))
    if codec.vectors is not None:
        codec = replace(codec, vectors=_exported_vectors(graph, codec.vectors))
    model = run_directory.build_model(config, codec).eval()
    load_weights(model, weights, source)
    imported = TrainedModel(config, codec, model)
    if imported.identity != graph.metadata.get("identity"):
        raise InputError(
            "{source}: its weights differ from those it was exported with: it was changed or damaged", source=source
        )
    return imported, translate(
        "a graph of ohlol {version} for task {task}, with its vocabulary",
        version=shorten(graph.metadata["ohlol"]),
        task=config.task,
    )


def _exported_vectors(graph: "OnnxGraph", vectors: WordVectors) -> WordVectors:
    """The word vectors of a graph that ohlol exported; raises InputError where they are not those of its metadata."""
    from ohlol.interop.onnx_export import VECTORS

    table = graph.constant(VECTORS).numpy()
    shape = (1 + len(vectors.words), vectors.size)
    if table.shape != shape or WordVectors.of(vectors.words, table) != vectors:
        raise graph.error(
            translate("its word vectors differ from those it was exported with: it was changed or damaged")
        )
    return replace(vectors, table=table)


def save_run(model: TrainedModel, out: Path, *, overwrite: bool = False) -> None:
    """Write a model as a run directory.

    Raises:
        InputError: the directory exists and `overwrite` is not set, or it cannot be written.
    """
    with ExitStack() as stack:
        run_directory.create(out, overwrite=overwrite, resources=stack, trains=False)
        run_directory.write_model(out, model.config, model.codec, model.network)
        parameters = sum(p.numel() for p in model.network.parameters())
        write_utf8(
            out / "README.md", format_model_card(model.config, model.codec, parameters, out, has_validation_data=False)
        )
