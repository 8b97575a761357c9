"""The routes over HTTP: predict, generate, explain, train, reload, health, metrics."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import ExitStack
from functools import partial
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi.responses import Response, StreamingResponse
from fastapi.routing import APIRoute
from starlette.types import Receive, Scope, Send

from ohlol.cells import CELLS
from ohlol.data.lines import Place
from ohlol.data.raw_data import RawData
from ohlol.display import page
from ohlol.explain.saliency import compute_saliency
from ohlol.explain.trace import trace
from ohlol.inference.prediction import Prediction
from ohlol.inference.trained_model import TrainedModel
from ohlol.serve import schemas
from ohlol.serve.encoding import dump_json, format_event, parse_json
from ohlol.serve.forecasts import forecast_series
from ohlol.serve.models import ServedModel, parse_sequence
from ohlol.serve.service import Service
from ohlol.serve.training import start_training
from ohlol.utils.errors import InputError

PROBLEMS: dict[int | str, dict[str, Any]] = {
    400: "the body is not valid JSON, or a header is not valid",
    401: "a key is needed",
    403: "a page of another origin sent the request",
    408: "the request came too slowly",
    413: "the body is too large",
    421: "the host is not a name of this server",
    422: "the request does not fit the API, the model or the limits",
    429: "busy: the header Retry-After says when to try again",
    503: "more connections than the server accepts, or it stops",
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
"""Digits of a probability in a response: float32 has seven."""


class StrictJsonRequest(Request):
    """A request whose JSON may not have a member twice."""

    async def json(self) -> Any:
        """The body."""
        return parse_json(await self.body())


class StrictJsonRoute(APIRoute):
    """A route that reads its body as `StrictJsonRequest` does."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler of the route."""
        handle = super().get_route_handler()

        async def handle_strictly(request: Request) -> Response:
            return await handle(StrictJsonRequest(request.scope, request.receive))

        return handle_strictly


router = APIRouter(responses=PROBLEMS, route_class=StrictJsonRoute)
models_router = APIRouter(
    prefix="/v1/models", responses={**PROBLEMS, **MISSING}, tags=["models"], route_class=StrictJsonRoute
)
health_router = APIRouter(responses=PROBLEMS, tags=["server"])
"""Routes that need no key."""


async def get_service(request: Request) -> Service:
    """The service of a request. A coroutine, because FastAPI calls a plain function in a thread, which costs more."""
    return request.app.state.service


ServiceDependency = Annotated[Service, Depends(get_service)]


async def get_model(name: str, service: ServiceDependency) -> ServedModel:
    """The model in a path, which stays the same for the whole request.

    A coroutine that does not wait: FastAPI would call a plain function in a thread, and until the request went on the
    model could have been replaced and closed.
    """
    served = service.models.served.get(name)
    if served is None:
        raise HTTPException(404, f"there is no model {name[:100]!r}; there are {', '.join(service.models.served)}")
    return served


ModelDependency = Annotated[ServedModel, Depends(get_model)]


def make_json(content: object) -> Response:
    """A JSON response whose content needs no validation."""
    return Response(dump_json(content).encode(), media_type="application/json")


@models_router.get("")
async def list_models(service: ServiceDependency) -> list[schemas.Described]:
    """The models that are served."""
    return [schemas.Described(**served.describe()) for served in service.models.served.values()]


@models_router.get("/{name}")
async def describe(model: ModelDependency) -> schemas.Described:
    """One model."""
    return schemas.Described(**model.describe())


@models_router.post("/{name}/predict", response_model=schemas.Predicted)
async def predict(model: ModelDependency, body: schemas.Predict, service: ServiceDependency) -> Response:
    """Labels with probabilities, or a number, for one sequence or many; or the rows that follow in a series."""
    limits = service.limits
    if [body.inputs, body.rows, body.series].count(None) != 2:
        raise HTTPException(422, 'give either "inputs" or "rows", or the "series" of a forecast')
    targets = model.model.targets
    if body.inputs is None and not targets.rows:
        return make_json(await _predict_numbers(model, body, service))
    series = _named_series(body) if targets.rows else []
    name, inputs = "series", [one.rows for one in series]
    if body.inputs is not None:
        name, inputs = "inputs", [body.inputs] if isinstance(body.inputs, str) else body.inputs
    if not 0 < len(inputs) <= limits.max_sequences:
        raise HTTPException(422, f"{name}: {len(inputs)} sequences; it must be from 1 to {limits.max_sequences}")
    if not targets.is_supervised:
        instead = "generate" if targets.continues_text else "predict with rows"
        raise HTTPException(422, f"this model's task is {model.model.task}, which has no labels: use {instead}")
    sequences = [_parse(model, text, service, f"{name}[{i}]: ") for i, text in enumerate(inputs)]
    work = sum(model.count_work(symbols, body.n_best) for symbols in sequences)
    if work > limits.max_work:
        raise HTTPException(
            422, f"{name}: {work:,} symbols, letters or labels in all; at most {limits.max_work:,} in a request"
        )
    predictions = await model.predict(_with_static(model.model, sequences, body), body.n_best)
    contents = [_prediction_to_json(prediction) for prediction in predictions]
    for content, one in zip(contents, series, strict=False):
        content["name"] = one.name
    return make_json({"model": model.name, "predictions": contents})


def _with_static(model: TrainedModel, sequences: list[Any], body: schemas.Predict) -> list[Any]:
    """The sequences with the columns that the model reads beside them."""
    if body.static is None and not model.codec.statics.size:
        return sequences
    rows = body.static or []
    if len(rows) != len(sequences):
        names = ", ".join(model.codec.statics.names) or "no columns beside a text"
        raise HTTPException(422, f"static: {len(rows)} entries for {len(sequences)} inputs; the model reads {names}")
    try:
        return [model.with_static(text, row) for text, row in zip(sequences, rows, strict=True)]
    except InputError as error:
        raise HTTPException(422, str(error)) from None


def _named_series(body: schemas.Predict) -> list[schemas.Series]:
    """The series in a request for a label or a number each."""
    series = [schemas.Series(rows=body.rows)] if body.rows is not None else body.series or []
    if any(one.start or one.static or one.future for one in series) or body.steps or body.intervals:
        raise HTTPException(422, 'a series with a label or a number has "name" and "rows" alone')
    return series


def _parse(model: ServedModel, sequence: Any, service: Service, where: str) -> Any:
    """The symbols of a text, or the rows of a series, as the model reads them."""
    try:
        return parse_sequence(model.model, sequence, service.limits)
    except InputError as error:
        raise HTTPException(422, f"{where}{error}") from None


def _prediction_to_json(prediction: Prediction) -> dict[str, Any]:
    return {
        "symbols": list(prediction.symbols),
        "labels": prediction.labels,
        "probabilities": [round(p, DIGITS) for p in prediction.probability],
        "best": [[(label, round(p, DIGITS)) for label, p in best] for best in prediction.best],
        "unknown": prediction.unknown,
        **({} if prediction.number is None else {"number": prediction.number}),
    }


async def _predict_numbers(model: ServedModel, body: schemas.Predict, service: Service) -> dict[str, Any]:
    trained = model.model
    if not trained.targets.numeric:
        raise HTTPException(422, f'this model\'s task is {trained.task}, which reads no numbers: give "inputs"')
    if trained.targets.horizon:
        compute = partial(forecast_series, trained, body, service.limits)
    else:
        compute = partial(_next_rows, trained, _check_rows(trained, body, service), body.steps or 1)
    with service.side_requests:
        return {"model": model.name, **await service.run_beside(compute)}


def _check_rows(trained: TrainedModel, body: schemas.Predict, service: Service) -> schemas.SparseRows:
    """The rows in a request for the next ones."""
    rows, columns = body.rows, len(trained.codec.columns)
    if rows is None or body.intervals is not None:
        raise HTTPException(422, f'this model\'s task is {trained.task}: give "rows", without "intervals"')
    if not 0 < len(rows) <= service.limits.max_length:
        raise HTTPException(422, f"rows: {len(rows):,} rows; it must be from 1 to {service.limits.max_length:,}")
    for i, row in enumerate(rows):
        if len(row) != columns:
            names = ", ".join(trained.codec.columns)
            raise HTTPException(422, f"rows[{i}] has {len(row)} numbers; the model reads {columns}: {names}")
        if None in row:
            raise HTTPException(422, f"rows[{i}] has a missing value; this model needs every number")
    return rows


def _next_rows(trained: TrainedModel, rows: schemas.SparseRows, steps: int) -> dict[str, Any]:
    series = [np.array(rows, np.float64)]
    settings, places = trained.config.data, [Place("rows", 1)]
    data = RawData(trained.task, settings, series, None, places, columns=trained.codec.columns)
    with np.errstate(over="ignore"):
        predicted = trained.next_rows(data, steps)
    if not np.isfinite(predicted).all():
        raise InputError("rows: too large; the next rows are not finite")
    return {"columns": list(trained.codec.target_columns), "rows": predicted.tolist()}


@models_router.post("/{name}/generate", responses=EVENTS, response_class=StreamingResponse)
async def generate(model: ModelDependency, body: schemas.Generate, service: ServiceDependency) -> StreamingResponse:
    """Generated text as server-sent events: `{"symbols": [...]}` for each piece, then `done`."""
    if body.length > service.limits.max_generated:
        raise HTTPException(422, f"length is {body.length:,}; it must be at most {service.limits.max_generated:,}")
    prompt = _parse(model, body.prompt, service, "prompt: ") if body.prompt else ""
    resources = ExitStack()
    resources.enter_context(service.side_requests)  # before the response starts, since it may raise
    try:
        settings = body.model_dump(exclude={"prompt"})
        symbols = await service.run_beside(lambda: model.model.generate(prompt, **settings))
        first = await service.next_piece(symbols)
    except BaseException:
        resources.close()
        raise

    async def generate_events() -> AsyncGenerator[str]:
        piece, count = first, 0
        while piece:
            count += len(piece)
            service.metrics.generated.labels(model.name).inc(len(piece))
            yield format_event({"symbols": piece})
            piece = await service.next_piece(symbols)
        yield format_event({"count": count}, "done")

    return EventResponse(generate_events(), resources)


class EventResponse(StreamingResponse):
    """Server-sent events. Their source and the resources are closed however the response ends."""

    media_type = "text/event-stream"

    def __init__(self, events: AsyncGenerator[str], resources: ExitStack | None = None):
        super().__init__(events)
        self.events, self.resources = events, resources or ExitStack()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self.resources.close()
            await self.events.aclose()


@models_router.post("/{name}/explain", response_model=schemas.Explained)
async def explain(model: ModelDependency, body: schemas.Explain, service: ServiceDependency) -> Response:
    """Every number of each step: input, terms, gates, state, output; as `ohlol explain` prints them in JSON."""
    symbols = _parse_to_explain(model, body.input, service, 1)
    if body.saliency and not _fits_saliency(model.model, symbols, service):
        raise HTTPException(422, f"saliency: {len(symbols)} symbols are too many for this model")

    def compute() -> Response:
        content = trace(model.model, symbols, target=body.target).to_json()
        if body.saliency:
            content["saliency"] = compute_saliency(model.model, symbols).to_json()
        return make_json(content)

    with service.side_requests:
        return await service.run_beside(compute)


@models_router.post(
    "/{name}/explain/page", response_class=Response, responses={200: {"content": {"application/json": {}}}}
)
async def explain_page(model: ModelDependency, body: schemas.ExplainPage, service: ServiceDependency) -> Response:
    """The same, in the form that the page at `/` draws."""
    symbols = _parse_to_explain(model, body.input, service, 8)

    def compute() -> Response:
        saliency = compute_saliency(model.model, symbols) if _fits_saliency(model.model, symbols, service) else None
        return make_json(page.page_data(trace(model.model, symbols), lang=body.lang, saliency=saliency))

    with service.side_requests:
        return await service.run_beside(compute)


def _parse_to_explain(model: ServedModel, text: str | list[str], service: Service, factor: int) -> list[str]:
    if model.model.targets.rows:
        raise HTTPException(422, "this model reads series of numbers: explain one with `ohlol explain`")
    symbols = _parse(model, text, service, "input: ")
    limits = service.limits
    if len(symbols) > limits.max_explained:
        raise HTTPException(422, f"input: {len(symbols):,} symbols; at most {limits.max_explained:,} are explained")
    numbers_per_step = count_numbers(model.model)
    numbers, most = len(symbols) * numbers_per_step, limits.max_explained_numbers * factor
    if numbers > most:
        raise HTTPException(
            422,
            f"input: {numbers:,} numbers to explain; at most {most:,}, which are {most // numbers_per_step} symbols of "
            "this model",
        )
    return symbols


def _fits_saliency(model: TrainedModel, symbols: list[str], service: Service) -> bool:
    return len(symbols) ** 2 * count_numbers(model) <= service.limits.max_saliency


def count_numbers(model: TrainedModel) -> int:
    """Numbers in a trace for each symbol: six for each gate's unit, a few for each state, and two for each logit."""
    settings, network = model.config.model, model.network
    gates = len(CELLS[settings.cell].gates) or 4  # the lines of a module are counted as the gates of an LSTM
    units = 6 * gates * settings.hidden_size + 8 * max((network.output_size, *network.state_sizes))
    return settings.num_layers * network.directions * units + 2 * model.config.sizes.outputs


@router.post("/v1/train", responses=EVENTS, response_class=StreamingResponse, tags=["train"])
async def train(body: schemas.Train, service: ServiceDependency) -> StreamingResponse:
    """Train a small model on a few pairs, with a server-sent event for each epoch; closing the response cancels it."""
    if not service.limits.trainings:
        raise HTTPException(403, "this server does not train: its setting trainings is 0")
    return EventResponse(await start_training(body, service))


@router.post("/v1/reload", tags=["models"])
async def reload(service: ServiceDependency) -> list[schemas.Reloaded]:
    """Read every model again, and replace those that changed. Requests that run are completed."""
    return [schemas.Reloaded(**report) for report in await service.reload()]  # pyright: ignore[reportArgumentType]


@health_router.get("/healthz")
async def healthz() -> schemas.Health:
    """Whether the server runs."""
    return schemas.Health(status="ok")


@health_router.get("/readyz", responses={503: {"model": schemas.Health}})
async def readyz(service: ServiceDependency) -> Response:
    """Whether requests are served: 503 while models are loaded, and when the server stops."""
    status = "ready" if service.ready else "stopping" if service.stopping.is_set() else "loading"
    response = make_json({"status": status})
    response.status_code = 200 if service.ready else 503
    return response


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}}, tags=["server"])
async def metrics(service: ServiceDependency) -> Response:
    """Counters in the Prometheus format."""
    for name, served in service.models.served.items():
        service.metrics.waiting.labels(name).set(served.batcher.waiting)
    service.metrics.sessions.set(service.sessions.used)
    service.metrics.trainings.set(service.trainings.used)
    text = await asyncio.to_thread(service.metrics.to_text)
    return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")


router.include_router(models_router)
