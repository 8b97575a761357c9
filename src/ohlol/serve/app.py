"""The ASGI application: routes, pages and error handlers, behind the access control."""

import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import Response
from fastapi.security import HTTPBearer
from starlette.exceptions import HTTPException

from ohlol.serve import pages, routes, sessions
from ohlol.serve.access import AccessMiddleware
from ohlol.serve.batching import BusyError
from ohlol.serve.encoding import MAX_ERROR, dump_json
from ohlol.serve.service import Service
from ohlol.utils.errors import InputError, shorten
from ohlol.utils.version import __version__

KIND_OF_INPUT = re.compile(r"constrained-str|list\[.*\]")
"""The part of an error's place that names one of several types of a field."""

DESCRIPTION = """Recurrent models as a service. A request that is not valid gets `{"detail": "..."}`, an error in one
line. Each model that reads in one direction also has a WebSocket, `/v1/models/{name}/stream`, whose messages
`docs/deployment.md` describes."""


def make_app(service: Service) -> AccessMiddleware:
    """The ASGI application of a service, which starts and stops with it."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        await service.start()
        yield
        await service.stop()
        await service.close()

    app = FastAPI(
        title="ohlol",
        version=__version__,
        description=DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # a redirect to http:// would expose a key that a proxy received over https
    )
    app.state.service = service
    key_in_reference = [Depends(HTTPBearer(auto_error=False))] if service.access.key is not None else []
    app.include_router(routes.router, dependencies=key_in_reference)  # the key is checked in AccessMiddleware
    for router in (routes.health_router, sessions.router, pages.router):
        app.include_router(router)
    app.mount("/static", pages.make_assets())
    app.add_exception_handler(RequestValidationError, _handle_invalid)
    for kind in (HTTPException, InputError, BusyError):
        app.add_exception_handler(kind, _handle_refused)
    if service.access.origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(service.access.origins),
            allow_methods=["GET", "POST"],
            allow_headers=["authorization", "content-type"],
        )
    return AccessMiddleware(app, service.access, service.limits, service.metrics)


def make_problem(status: int, detail: str, headers: Any = None) -> Response:
    """An error response."""
    return Response(dump_json({"detail": shorten(detail, MAX_ERROR)}), status, headers, "application/json")


async def _handle_refused(request: Request, error: Exception) -> Response:
    if isinstance(error, BusyError):
        return make_problem(429, str(error), {"retry-after": str(error.retry_after)})
    if isinstance(error, HTTPException):
        return make_problem(error.status_code, str(error.detail), error.headers)
    return make_problem(422, str(error))


async def _handle_invalid(request: Request, error: Exception) -> Response:
    """The error of the first wrong field. The body is not repeated, since it may be large, or not valid Unicode."""
    assert isinstance(error, RequestValidationError)
    errors = error.errors()
    of_field = [one for one in errors if one["loc"][:2] == errors[0]["loc"][:2]]
    first = max(of_field, key=lambda one: len(one["loc"]))  # of the kinds of input, that which is read furthest
    if first["type"] == "json_invalid":
        return make_problem(400, f"the body is not valid JSON: {first['ctx']['error']} at character {first['loc'][-1]}")
    names = [part for part in map(str, first["loc"][1:]) if not KIND_OF_INPUT.fullmatch(part)]
    where = ".".join(name[:60] for name in names) or "the body"
    return make_problem(422, f"{where}: {first['msg']}")
