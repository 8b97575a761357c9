"""What the server answers over HTTP: predict, generate, explain, train, reload, health; knows nothing of who asks."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import ExitStack
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from ohlol.data.lines import Place
from ohlol.data.sequences import Corpus
from ohlol.display import page
from ohlol.explain.saliency import compute_saliency
from ohlol.explain.trace import trace
from ohlol.inference.trained_model import Prediction, TrainedModel
from ohlol.serve import schemas
from ohlol.serve.models import Served, symbols_of
from ohlol.serve.service import Service
from ohlol.serve.training import events
from ohlol.utils.errors import InputError

PROBLEMS: dict[int | str, dict[str, Any]] = {
    400: "the body is no JSON",
    401: "a key is needed",
    403: "a page of another origin asked",
    408: "the request came too slowly",
    413: "the body is too large",
    421: "asked under a name that is not this server's",
    422: "the request does not fit the API, the model or the limits",
    429: "busy: the header Retry-After says when to come back",
    503: "more connections than the server takes, or it is about to stop",
}  # pyright: ignore[reportAssignmentType]
PROBLEMS = {status: {"model": schemas.Problem, "description": text} for status, text in PROBLEMS.items()}
MISSING: dict[int | str, dict[str, Any]] = {404: {"model": schemas.Problem, "description": "there is no such model"}}
EVENT = {
    "type": "object",
    "description": "One event; its data are JSON.",
    "properties": {"event": {"type": "string"}, "data": {"type": "string", "contentMediaType": "application/json"}},
    "required": ["data"],
}
EVENTS: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/event-stream": {"schema": EVENT}}, "description": "Server-sent events."}
}
DIGITS = 6
"""Of a probability in an answer: float32 has seven."""

router = APIRouter(responses=PROBLEMS)
models = APIRouter(prefix="/v1/models", responses={**PROBLEMS, **MISSING}, tags=["models"])
health = APIRouter(responses=PROBLEMS, tags=["server"])
"""What needs no key."""


async def service(request: Request) -> Service:
    """The server that a request came to; async, as what is not goes to a thread, which costs more than all the rest."""
    return request.app.state.service


At = Annotated[Service, Depends(service)]


async def found(name: str, at: At) -> Served:
    """The model a path names, which stays the same for the whole request.

    A coroutine that waits for nothing: FastAPI would call a plain function in a thread, and until the request went on
    the model could have been swapped and have stopped.
    """
    served = at.models.served.get(name)
    if served is None:
        raise HTTPException(404, f"there is no model {name[:100]!r}; there are {', '.join(at.models.served)}")
    return served


Model = Annotated[Served, Depends(found)]


def plain(content: object) -> Response:
    """JSON whose shape was made here, so that it is not validated again."""
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return Response(text.encode(), media_type="application/json")


@models.get("")
async def list_models(at: At) -> list[schemas.Described]:
    """The models that are served."""
    return [schemas.Described(**served.describe()) for served in at.models.served.values()]


@models.get("/{name}")
async def describe(model: Model) -> schemas.Described:
    """One model."""
    return schemas.Described(**model.describe())


@models.post("/{name}/predict", response_model=schemas.Predicted)
async def predict(model: Model, asked: schemas.Predict, at: At) -> Response:
    """Labels with probabilities for one sequence or many, or the rows that follow in a series."""
    if (asked.inputs is None) == (asked.rows is None):
        raise HTTPException(422, 'give either "inputs" or "rows"')
    if asked.rows is not None:
        return plain(await _forecast(model, asked.rows, asked.steps, at))
    inputs = [asked.inputs] if isinstance(asked.inputs, str) else asked.inputs or []
    if not 0 < len(inputs) <= at.limits.sequences:
        raise HTTPException(422, f"inputs: {len(inputs)} sequences; from 1 to {at.limits.sequences} are taken")
    if model.model.task not in ("label", "classify"):
        instead = "generate" if model.model.task == "next" else "predict with rows"
        raise HTTPException(422, f"this model's task is {model.model.task} and labels nothing: use {instead}")
    sequences = [_symbols(model, text, at, f"inputs[{i}]: ") for i, text in enumerate(inputs)]
    work, most = sum(model.work(symbols, asked.n_best) for symbols in sequences), at.limits.work
    if work > most:
        raise HTTPException(422, f"inputs: {work:,} symbols, letters or labels in all; at most {most:,} in a request")
    predictions = await model.predict(sequences, asked.n_best)
    return plain({"model": model.name, "predictions": [_labelled(p) for p in predictions]})


def _symbols(model: Served, text: str | list[str], at: Service, where: str) -> list[str]:
    try:
        return symbols_of(model.model, text, at.limits)
    except InputError as error:
        raise HTTPException(422, f"{where}{error}") from None


def _labelled(prediction: Prediction) -> dict[str, Any]:
    return {
        "symbols": list(prediction.symbols),
        "labels": prediction.labels,
        "probabilities": [round(p, DIGITS) for p in prediction.probability],
        "best": [[(label, round(p, DIGITS)) for label, p in best] for best in prediction.best],
        "unknown": prediction.unknown,
    }


async def _forecast(model: Served, rows: list[list[float]], steps: int, at: Service) -> dict[str, Any]:
    trained, columns = model.model, len(model.model.codec.columns)
    if trained.task != "forecast":
        raise HTTPException(422, f'this model\'s task is {trained.task} and reads no numbers: give "inputs"')
    if not 0 < len(rows) <= at.limits.symbols:
        raise HTTPException(422, f"rows: {len(rows):,}; from 1 to {at.limits.symbols:,} are taken")
    for i, row in enumerate(rows):
        if len(row) != columns:
            names = ", ".join(trained.codec.columns)
            raise HTTPException(422, f"rows[{i}] has {len(row)} numbers; the model reads {columns}: {names}")

    def work() -> list[list[float]]:
        series = [np.array(rows, np.float64)]
        settings, places = trained.config.data, [Place("rows", 1)]
        corpus = Corpus("forecast", settings, series, None, places, columns=trained.codec.columns)
        with np.errstate(over="ignore"):
            following = trained.forecast(corpus, steps)
        if not np.isfinite(following).all():
            raise InputError("rows: too large; what follows from them is no number")
        return following.tolist()

    with at.side:
        following = await at.beside(work)
    return {"model": model.name, "columns": list(trained.codec.target_columns), "rows": following}


@models.post("/{name}/generate", responses=EVENTS, response_class=StreamingResponse)
async def generate(model: Model, asked: schemas.Generate, at: At) -> StreamingResponse:
    """A text that goes on, as server-sent events: `{"symbols": [...]}` as they are made, then `done`."""
    if asked.length > at.limits.length:
        raise HTTPException(422, f"length is {asked.length:,}; at most {at.limits.length:,} symbols are made")
    prompt = _symbols(model, asked.prompt, at, "prompt: ") if asked.prompt else ""
    held = ExitStack()
    held.enter_context(at.side)  # before the answer begins, so that there is a 429
    try:
        settings = asked.model_dump(exclude={"prompt"})
        symbols = await at.beside(lambda: model.model.generate(prompt, **settings))
        first = await at.piece(symbols)
    except BaseException:
        held.close()
        raise

    async def made() -> AsyncGenerator[str]:
        piece, count = first, 0
        while piece:
            count += len(piece)
            at.metrics.generated.labels(model.name).inc(len(piece))
            yield event({"symbols": piece})
            piece = await at.piece(symbols)
        yield event({"count": count}, "done")

    return Events(made(), held)


class Events(StreamingResponse):
    """Server-sent events whose source is closed, and what is held meanwhile given back, however the answer ends."""

    media_type = "text/event-stream"

    def __init__(self, made: AsyncGenerator[str], held: ExitStack | None = None):
        super().__init__(made)
        self.made, self.held = made, held or ExitStack()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send them."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self.held.close()
            await self.made.aclose()


def event(content: object, name: str | None = None) -> str:
    """One server-sent event."""
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return (f"event: {name}\n" if name else "") + f"data: {text}\n\n"


@models.post("/{name}/explain", response_model=schemas.Explained)
async def explain(model: Model, asked: schemas.Explain, at: At) -> Response:
    """Every step's numbers: the input, each term and gate, the state, the answer; `ohlol explain --json`."""
    symbols = _to_explain(model, asked.input, at, 1)
    if asked.saliency and not _rememberable(model.model, symbols, at):
        raise HTTPException(422, f"saliency: {len(symbols)} symbols are too many for this model")

    def work() -> bytes:
        content = trace(model.model, symbols, target=asked.target).to_json()
        if asked.saliency:
            content["saliency"] = compute_saliency(model.model, symbols).to_json()
        return plain(content).body  # pyright: ignore[reportReturnType]

    with at.side:
        return Response(await at.beside(work), media_type="application/json")


@models.post("/{name}/explain/page", response_class=Response, responses={200: {"content": {"application/json": {}}}})
async def explain_page(model: Model, asked: schemas.ExplainPage, at: At) -> Response:
    """The same for the page at `/`: what its drawing of a network reads."""
    symbols = _to_explain(model, asked.input, at, 8)

    def work() -> bytes:
        found = trace(model.model, symbols)
        saliency = compute_saliency(model.model, symbols) if _rememberable(model.model, symbols, at) else None
        return plain(page.page_data(found, lang=asked.lang, saliency=saliency)).body  # pyright: ignore[reportReturnType]

    with at.side:
        return Response(await at.beside(work), media_type="application/json")


def _to_explain(model: Served, text: str | list[str], at: Service, factor: int) -> list[str]:
    symbols = _symbols(model, text, at, "input: ")
    if len(symbols) > at.limits.explained:
        raise HTTPException(422, f"input: {len(symbols):,} symbols; at most {at.limits.explained:,} are explained")
    numbers, most = len(symbols) * numbers_a_step(model.model), at.limits.explained_numbers * factor
    if numbers > most:
        fit = most // numbers_a_step(model.model)
        raise HTTPException(
            422, f"input: {numbers:,} numbers to explain, at most {most:,}: {fit} symbols of this model"
        )
    return symbols


def _rememberable(model: TrainedModel, symbols: list[str], at: Service) -> bool:
    return len(symbols) ** 2 * numbers_a_step(model) <= at.limits.remembered


def numbers_a_step(model: TrainedModel) -> int:
    """How many numbers a trace has for each symbol: six for each gate's unit, a few for each state, and the scores."""
    settings = model.config.model
    gates = {"rnn": 1, "gru": 3, "lstm": 4}[settings.cell.removesuffix("cell")]
    units = settings.hidden_size * settings.layers * (2 if settings.bidirectional else 1)
    return units * (6 * gates + 8) + 2 * model.config.sizes.scores


@router.post("/v1/train", responses=EVENTS, response_class=StreamingResponse, tags=["train"])
async def train(asked: schemas.Train, at: At) -> StreamingResponse:
    """Train a small model on a few pairs and tell of each epoch as a server-sent event; hanging up cancels."""
    if not at.limits.trainings:
        raise HTTPException(403, "this server trains nothing: it was started with --trainings 0")
    return Events(await events(asked, at))


@router.post("/v1/reload", tags=["models"])
async def reload(at: At) -> list[schemas.Reloaded]:
    """Read every model again; one that changed takes the old one's place, and no request is dropped."""
    return [schemas.Reloaded(**one) for one in await at.reload()]  # pyright: ignore[reportArgumentType]


@health.get("/healthz")
async def healthz() -> schemas.Health:
    """Whether the server lives."""
    return schemas.Health(status="ok")


@health.get("/readyz", responses={503: {"model": schemas.Health}})
async def readyz(at: At) -> Response:
    """Whether it takes requests: 503 while it loads and once it is about to stop."""
    status = "ready" if at.ready else "stopping" if at.stopping.is_set() else "loading"
    made = plain({"status": status})
    made.status_code = 200 if at.ready else 503
    return made


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}}, tags=["server"])
async def metrics(at: At) -> Response:
    """Counters in the Prometheus format."""
    for name, served in at.models.served.items():
        at.metrics.waiting.labels(name).set(served.batcher.waiting)
    at.metrics.sessions.set(at.sessions.inside)
    at.metrics.trainings.set(at.trainings.inside)
    text = await asyncio.to_thread(at.metrics.text)
    return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")


router.include_router(models)
