"""The server depends on documented interfaces of its libraries only, so that their next release does not stop it."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SERVE = ROOT / "src/ohlol/serve"

DOCUMENTED = {
    "fastapi": "APIRouter Depends FastAPI HTTPException Request WebSocket WebSocketDisconnect",
    "fastapi.exceptions": "RequestValidationError",
    "fastapi.middleware.cors": "CORSMiddleware",
    "fastapi.openapi.docs": "get_swagger_ui_html",
    "fastapi.responses": "HTMLResponse Response StreamingResponse",
    "fastapi.routing": "APIRoute",
    "fastapi.security": "HTTPBearer",
    "fastapi_offline": "FastAPIOffline",
    "httptools": "HttpParserError HttpParserUpgrade HttpRequestParser",
    "prometheus_client": "CollectorRegistry Counter Gauge Histogram generate_latest",
    "pydantic": "BaseModel ConfigDict Field ValidationError",
    "starlette.datastructures": "Headers",
    "starlette.exceptions": "HTTPException",
    "starlette.types": "ASGIApp Message Receive Scope Send",
    "uvicorn": "Config Server",
}
"""What the documentation of each library describes, of the names that the server uses."""
EXTENSIBLE = {
    "APIRoute",  # FastAPI: Custom Request and APIRoute class
    "BaseModel",
    "PlatformEventLoop",  # asyncio: Extending
    "Request",
    "StreamingResponse",
    "asyncio.Protocol",
}
"""Base classes of libraries whose documentation shows how to subclass them."""
STANDARD = {"Enum", "Exception", "Generic"}
OWN = {"Callback", "StrictModel"}
"""Base classes of the package that are defined in other modules."""
CHECKED_ELSEWHERE = {"ohlol", "numpy", "torch", *sys.stdlib_module_names}
"""Of torch and numpy the server uses what the rest of the package uses."""


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def list_uses(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """The module and the name of everything that is imported from libraries, and of attributes of whole modules."""
    modules: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules |= {alias.asname or alias.name: alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.module or "", alias.name) for alias in node.names)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules:
            yield modules[node.value.id], node.attr


def list_undocumented(tree: ast.Module) -> list[str]:
    """Uses of what no documentation describes: names, private attributes, and subclasses."""
    problems = [
        f"{module}.{name}"
        for module, name in list_uses(tree)
        if module.split(".")[0] not in CHECKED_ELSEWHERE and name not in DOCUMENTED.get(module, "").split()
    ]
    local = {node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and re.match(r"_[^_]", node.attr):
            holder = ast.unparse(node.value)
            if holder != "self":
                problems.append(f"{holder}.{node.attr}")
        elif isinstance(node, ast.ClassDef):
            bases = {ast.unparse(base.value if isinstance(base, ast.Subscript) else base) for base in node.bases}
            problems += sorted(bases - EXTENSIBLE - STANDARD - OWN - local)
    return problems


@pytest.mark.parametrize("path", sorted(SERVE.glob("*.py")), ids=lambda path: path.stem)
def test_only_documented_interfaces_are_used(path: Path) -> None:
    assert list_undocumented(parse(path)) == []


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        ("from uvicorn.protocols.http.auto import AutoHTTPProtocol", "uvicorn.protocols.http.auto.AutoHTTPProtocol"),
        ("import uvicorn\nuvicorn.protocols", "uvicorn.protocols"),
        ("server._serve()", "server._serve"),
        ("class Own(uvicorn.Server): pass", "uvicorn.Server"),
    ],
)
def test_other_uses_are_detected(code: str, problem: str) -> None:
    assert problem in list_undocumented(ast.parse(code))


def test_only_torch_has_an_upper_bound() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [one for extra in project["optional-dependencies"].values() for one in extra]
    bounded = [one for one in [*project["dependencies"], *extras] if re.search(r"<|==|~=|!=", one)]
    assert [re.split(r"\W", one)[0] for one in bounded] == ["torch"]
