"""The playground as one HTML page that loads nothing: networks that are trained in the browser, and a trained run.

The page is `web/playground.html`. Its scripts have the equations of the cells, the random numbers and initial values of
torch, and the training of `ohlol train` on a few pairs, in float64. A run is embedded with its weights in float32.
"""

import base64
from typing import Any

import numpy as np

from ohlol.cells import CELLS
from ohlol.data.counts import EDGE
from ohlol.display.page import fill_template
from ohlol.inference.trained_model import TrainedModel
from ohlol.models.reference import weights_of
from ohlol.utils.devices import to_numpy
from ohlol.utils.errors import InputError
from ohlol.utils.translation import translate

MAX_BYTES = 16 << 20
"""Bytes of the weights of a run in a page; in base64 they take a third more."""


def render_page(model: TrainedModel | None = None, *, lang: str | None = None) -> str:
    """Render the playground as HTML.

    Args:
        model: a trained model, which reads what is typed into the page.
        lang: the language in which the page opens, "en" or "zh"; None for that of the browser.

    Raises:
        InputError: the model does not read text by characters, has parts that the page does not compute, or is too
            large.
    """
    equations = {name: spec.equation for name, spec in CELLS.items()}
    run = None if model is None else run_data(model.on_cpu)
    return fill_template("playground.html", {"lang": lang, "equations": equations, "run": run})


def run_data(model: TrainedModel) -> dict[str, Any]:
    """The data of which `TrainedNetwork` of `web/trained_network.js` makes the model.

    Raises:
        InputError: as `render_page`.
    """
    check_model(model)
    settings, codec, kind = model.config.model, model.codec, model.targets
    assert codec.symbols is not None
    assert codec.labels is not None
    arrays = _arrays(model)
    tensors: dict[str, tuple[int, int, int]] = {}
    offset = 0
    for name, array in arrays.items():
        tensors[name] = (offset, array.size, array.shape[1] if array.ndim > 1 else 1)
        offset += array.size
    flat = np.concatenate([array.astype("<f4").ravel() for array in arrays.values()])
    pairs = model.config.pairs
    return {
        "name": "" if model.run is None else model.run.resolve().name,
        "task": model.task,
        "example": "".join(pairs[0][0]) if pairs else "",
        "per_sequence": kind.per_sequence,
        "continues_text": kind.continues_text,
        "cell": settings.cell,
        "num_layers": settings.num_layers,
        "directions": model.network.directions,
        "hidden_size": settings.hidden_size,
        "pooling": settings.pooling,
        "symbols": codec.symbols.symbols,
        "labels": codec.labels.symbols,
        "unk": codec.symbols.unk,
        "bigrams": None if codec.bigrams is None else codec.bigrams.symbols,
        "edge": EDGE,
        "tensors": tensors,
        "bytes": base64.b64encode(flat.tobytes()).decode(),
    }


def check_model(model: TrainedModel) -> None:
    """Check that the page can compute a model.

    Raises:
        InputError: it cannot.
    """
    settings, network = model.config.model, model.network
    run = translate("the model") if model.run is None else str(model.run)
    encoder, spec = network.encoder, CELLS[settings.cell]
    if model.codec.symbols is None or model.config.data.level != "char":
        raise InputError("{run}: the playground reads text by characters, and this run does not", run=run)
    if not model.targets.continues_text and (not model.targets.has_labels or model.targets.multiple):
        raise InputError(
            "{run}: the playground shows labels or the next symbol, and the task is {task}", run=run, task=model.task
        )
    if model.config.data.reversed:
        raise InputError("{run}: the playground reads text from its beginning, and this run from its end", run=run)
    if spec.torch_layer is None:
        raise InputError(
            "{run}: the playground runs trained cells that torch has too, and the cell is {cell}",
            run=run,
            cell=spec.name,
        )
    if encoder.reads_vectors or encoder.reads_chars or encoder.reads_text:
        raise InputError("{run}: the playground has no word vectors and no language models in the encoder", run=run)
    if not network.head.decodes_by_argmax:
        raise InputError(
            "{run}: the playground shows independent labels, and the head is {head}", run=run, head=settings.head
        )
    size = sum(array.nbytes for array in _arrays(model).values())
    if size > MAX_BYTES:
        raise InputError(
            "{run}: its weights are {size:.1f} MiB, and a page holds {most} MiB at most: train with a smaller "
            "`hidden_size`",
            run=run,
            size=size / (1 << 20),
            most=MAX_BYTES >> 20,
        )


def _arrays(model: TrainedModel) -> dict[str, np.ndarray[Any, Any]]:
    """The weights by their names in the page."""
    network, settings = model.network, model.config.model
    encoder, projection = network.encoder, network.head.projection
    tensors: dict[str, Any] = {}
    if encoder.has_embedding:
        tensors["embedding"] = encoder.embedding.weight
    if encoder.reads_bigrams:
        tensors["bigrams"] = encoder.bigrams.weight
    for layer in range(settings.num_layers):
        for direction in range(network.directions):
            weights = weights_of(network, layer, direction, network.dtype)
            tensors |= {f"layer/{layer}/{direction}/{name}": w for name, w in weights._asdict().items()}
    if network.pooling is not None and (query := getattr(network.pooling, "query", None)) is not None:
        tensors["query"] = query
    if projection is not None:
        tensors["head_W"], tensors["head_b"] = projection
    return {name: to_numpy(tensor.detach()) for name, tensor in tensors.items() if tensor is not None}
