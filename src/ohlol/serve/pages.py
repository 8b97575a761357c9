"""The page at `/` and the API reference at `/docs`, which load nothing from other servers."""

import base64
import hashlib
import re
from functools import cache

from fastapi import APIRouter, FastAPI, Request
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse
from fastapi_offline import FastAPIOffline

from ohlol.display import page, texts
from ohlol.serve.limits import Limits

router = APIRouter(include_in_schema=False)

HEADER_POLICY = "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
"""The part of a content security policy that has no effect in a page's own meta element."""


def make_assets() -> FastAPI:
    """An application with the scripts and styles of `/docs`, to be mounted at `/static`."""
    return FastAPIOffline(docs_url=None, redoc_url=None, static_url="/swagger")


@cache
def render_index(limits: Limits) -> str:
    """The page. Its own content security policy allows its scripts and requests to this server only."""
    shown = {
        "pairs": limits.train_pairs,
        "symbols": limits.train_symbols,
        "epochs": limits.train_epochs,
        "hidden": limits.train_hidden,
        "seconds": f"{limits.train_seconds:g}",
        "trainings": limits.trainings,
    }
    return page.fill_template(
        "serve.html", {"texts": texts.texts_by_language(), "trains": limits.trainings > 0, "limits": shown}
    )


@router.get("/")
async def root(request: Request) -> HTMLResponse:
    """The page to label, generate, explain and train."""
    limits = request.app.state.service.limits
    return HTMLResponse(render_index(limits), headers={"content-security-policy": HEADER_POLICY})


@router.get("/docs")
async def docs() -> HTMLResponse:
    """The API reference, with forms to send requests."""
    html = get_swagger_ui_html(
        openapi_url="/openapi.json",
        title="ohlol",
        swagger_js_url="/static/swagger/swagger-ui-bundle.js",
        swagger_css_url="/static/swagger/swagger-ui.css",
        swagger_favicon_url="/static/swagger/favicon.png",
    ).body
    scripts = re.findall(rb"<script>(.*?)</script>", bytes(html), re.DOTALL)
    hashes = " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(s).digest()).decode()}'" for s in scripts)
    policy = f"default-src 'self'; script-src 'self' {hashes}; style-src 'self' 'unsafe-inline'; img-src 'self' data:"
    return HTMLResponse(html, headers={"content-security-policy": f"{policy}; {HEADER_POLICY}"})
