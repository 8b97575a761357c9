"""The application: routes, pages and errors put together behind the guard; knows nothing of sockets."""

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import Response
from fastapi.security import HTTPBearer
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from ohlol.serve import pages, routes, sessions
from ohlol.serve.access import Guard
from ohlol.serve.batching import Busy
from ohlol.serve.service import Service
from ohlol.utils.errors import InputError
from ohlol.utils.version import __version__

ABOUT = """Recurrent models as a service. A mistake in a request is answered with `{"detail": "..."}`, a line that says
what was wrong. Each model that reads in one direction also has a WebSocket, `/v1/models/{name}/stream`, whose messages
`docs/shipping.md` describes."""


def make_app(service: Service) -> ASGIApp:
    """The ASGI application of a server; its models are loaded when it starts."""

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncGenerator[None]:
        await service.start()
        yield
        await service.stop()
        await service.close()

    app = FastAPI(
        title="ohlol",
        version=__version__,
        description=ABOUT,
        lifespan=life,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # to http:// it would send a key that came to a proxy over https
    )
    app.state.service = service
    keyed = [Depends(HTTPBearer(auto_error=False))] if service.access.key is not None else []
    app.include_router(routes.router, dependencies=keyed)  # for the reference: the guard decides
    for router in (routes.health, sessions.router, pages.router):
        app.include_router(router)
    app.mount("/static", pages.assets())
    app.add_exception_handler(RequestValidationError, _invalid)
    for kind in (HTTPException, InputError, Busy):
        app.add_exception_handler(kind, _refused)
    if service.access.origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(service.access.origins),
            allow_methods=["GET", "POST"],
            allow_headers=["authorization", "content-type"],
        )
    return Guard(app, service.access, service.limits, service.metrics)


def problem(status: int, detail: str, headers: Any = None) -> Response:
    """A refusal, in letters that any encoding has: what is repeated of a request may be no text."""
    return Response(json.dumps({"detail": detail}), status, headers, "application/json")


async def _refused(request: Request, error: Exception) -> Response:
    if isinstance(error, Busy):
        return problem(429, str(error), {"retry-after": str(error.retry_after)})
    if isinstance(error, HTTPException):
        return problem(error.status_code, str(error.detail), error.headers)
    return problem(422, str(error))


async def _invalid(request: Request, error: Exception) -> Response:
    """The first thing that is wrong with a body; what was given is not repeated, as it may be large, or no JSON."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        return problem(400, f"the body is no JSON: {first['ctx']['error']} at character {first['loc'][-1]}")
    where = ".".join(str(part)[:60] for part in first["loc"][1:]) or "the body"
    return problem(422, f"{where}: {first['msg']}")
