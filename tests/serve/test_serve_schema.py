"""The OpenAPI document, checked with Schemathesis: no response is a 5xx, and each is as the document says."""

import os
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from serving import MODELS, ServerProcess

from ohlol.serve.access import Access
from ohlol.serve.app import make_app
from ohlol.serve.limits import Limits
from ohlol.serve.metrics import Metrics
from ohlol.serve.models import Models
from ohlol.serve.service import Service

schemathesis = pytest.importorskip("schemathesis", reason="needs schemathesis: pip install schemathesis")

from schemathesis.checks import not_a_server_error  # noqa: E402
from schemathesis.generation import GenerationMode  # noqa: E402
from schemathesis.specs.openapi.checks import (  # noqa: E402
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

pytestmark = pytest.mark.slow

EXAMPLES = int(os.environ.get("OHLOL_SCHEMA_EXAMPLES", "20"))
"""Requests for each operation, as many valid as invalid ones; the long form has 500."""
CHECKS = [
    not_a_server_error, status_code_conformance, content_type_conformance, response_headers_conformance,
    response_schema_conformance, unsupported_method,
]  # fmt: skip
"""All checks but the one that valid requests are accepted: the schema does not list the symbols of a model."""


def load_document() -> Any:
    """The document of a server without models, on which it does not depend."""
    limits, metrics = Limits(), Metrics()
    app: Any = make_app(Service(Models({}, limits), Access(), limits, metrics))
    return schemathesis.openapi.from_dict(app.app.openapi())


OPERATIONS = {one.ok().label: one.ok() for one in load_document().get_all_operations()}


def test_document_has_every_operation(server: ServerProcess) -> None:
    with server.client() as client:
        paths = client.get("/openapi.json").json()["paths"]
    assert {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods} == set(OPERATIONS)
    for path in ("predict", "generate", "explain"):
        assert f"POST /v1/models/{{name}}/{path}" in OPERATIONS


CASES = [(label, True) for label in OPERATIONS] + [(label, False) for label, one in OPERATIONS.items() if one.body]


@pytest.mark.parametrize(("label", "valid"), CASES)
def test_every_operation(server: ServerProcess, label: str, valid: bool) -> None:
    operation = OPERATIONS[label]
    mode = GenerationMode.POSITIVE if valid else GenerationMode.NEGATIVE
    checks = [*CHECKS, negative_data_rejection] if not valid else CHECKS

    @given(case=operation.as_strategy(generation_mode=mode), name=st.sampled_from((*MODELS, None)))
    @settings(
        max_examples=min(EXAMPLES, 20) if "train" in label else EXAMPLES,  # each may train for a second or two
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def send(case: Any, name: str | None) -> None:
        if name is not None and "name" in (case.path_parameters or {}):
            case.path_parameters["name"] = name
        case.call_and_validate(base_url=server.url, checks=checks, timeout=60)

    send()
