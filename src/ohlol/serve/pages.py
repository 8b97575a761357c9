"""The page at `/` and the reference at `/docs`, whole without any other server; knows nothing of models."""

import base64
import hashlib
import re
from functools import cache
from pathlib import Path

import fastapi_offline
from fastapi import APIRouter, Request
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse
from fastapi.staticfiles import StaticFiles

from ohlol.display import page, translations
from ohlol.serve.limits import Limits

router = APIRouter(include_in_schema=False)

FRAMED = "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
"""The part of a policy that a page cannot give itself."""


def assets() -> StaticFiles:
    """What `/docs` is drawn with."""
    return StaticFiles(directory=Path(fastapi_offline.__file__).with_name("static"))


@cache
def index(limits: Limits) -> str:
    """The page; its policy, which stands in it, allows its own scripts and this server alone."""
    told = {
        "pairs": limits.train_pairs,
        "symbols": limits.train_symbols,
        "epochs": limits.train_epochs,
        "hidden": limits.train_hidden,
        "seconds": f"{limits.train_seconds:g}",
        "trainings": limits.trainings,
    }
    return page.fill_template(
        "serve.html", {"texts": translations.catalogue(), "trains": limits.trainings > 0, "limits": told}
    )


@router.get("/")
async def root(request: Request) -> HTMLResponse:
    """Label, generate, explain and train by hand."""
    return HTMLResponse(index(request.app.state.service.limits), headers={"content-security-policy": FRAMED})


@router.get("/docs")
async def docs() -> HTMLResponse:
    """The reference, to be tried out."""
    html = get_swagger_ui_html(
        openapi_url="/openapi.json",
        title="ohlol",
        swagger_js_url="/static/swagger-ui-bundle.js",
        swagger_css_url="/static/swagger-ui.css",
        swagger_favicon_url="/static/favicon.png",
    ).body
    scripts = re.findall(rb"<script>(.*?)</script>", bytes(html), re.DOTALL)
    allowed = " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(s).digest()).decode()}'" for s in scripts)
    policy = f"default-src 'self'; script-src 'self' {allowed}; style-src 'self' 'unsafe-inline'; img-src 'self' data:"
    return HTMLResponse(html, headers={"content-security-policy": f"{policy}; {FRAMED}"})
