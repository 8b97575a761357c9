"""Responses over HTTP are those of the model, and an invalid request gets its status and one line."""

import json
import shutil
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from helpers import SALES, SALES_NEXT
from prometheus_client.parser import text_string_to_metric_families
from serving import KEY, ServerProcess, parse_events, wait_for

import ohlol
from ohlol.cli import main
from ohlol.config import DataSettings
from ohlol.data.sequences import read
from ohlol.explain.trace import trace
from ohlol.inference.trained_model import TrainedModel
from ohlol.serve.limits import Limits
from ohlol.serve.run import load_key, make_access
from ohlol.utils.errors import InputError

Models = dict[str, TrainedModel]
CLOSE = 1e-5
"""Of probabilities: they have six digits, and a batch is summed in another order than one sequence."""


@pytest.mark.parametrize(
    ("name", "inputs"),
    [
        ("hello", ["hello", "h", "olleh" * 20]),
        ("upper", ["abc", "e", "deadbeef"]),
        ("names", ["anna", "bob"]),
    ],
)
def test_predictions_equal_those_of_the_model(
    client: httpx.Client, models: Models, name: str, inputs: list[str]
) -> None:
    answer = client.post(f"/v1/models/{name}/predict", json={"inputs": inputs, "n_best": 2})
    assert answer.status_code == 200, answer.text
    predictions = answer.json()["predictions"]
    for one, expected in zip(predictions, models[name].predict_many(inputs, n_best=2), strict=True):
        assert one["symbols"] == list(expected.symbols)
        assert one["labels"] == expected.labels
        assert one["probabilities"] == pytest.approx(expected.probability, abs=CLOSE)
        assert [[label for label, _ in best] for best in one["best"]] == [[x for x, _ in b] for b in expected.best]
        assert one["unknown"] == expected.unknown
    single = client.post(f"/v1/models/{name}/predict", json={"inputs": inputs[0]}).json()["predictions"]
    assert [len(best) for best in single[0]["best"]] == [1] * len(single[0]["labels"])
    assert single[0]["labels"] == predictions[0]["labels"]


def test_inputs_may_be_lists_of_symbols(client: httpx.Client) -> None:
    both = client.post("/v1/models/hello/predict", json={"inputs": [list("hello"), list("hole")]}).json()
    assert both["predictions"][0]["labels"] == list("ohlol")


def test_a_number_equals_that_of_the_model(client: httpx.Client, models: Models) -> None:
    answer = client.post("/v1/models/sizes/predict", json={"inputs": ["banana", "lab"]}).json()
    assert [one["labels"] for one in answer["predictions"]] == [[], []]
    expected = [models["sizes"].predict(text).number for text in ("banana", "lab")]
    assert [one["number"] for one in answer["predictions"]] == pytest.approx(expected, abs=CLOSE)


def test_columns_beside_a_text(tmp_path: Path) -> None:
    path, run = tmp_path / "data.csv", tmp_path / "priced"
    path.write_text("text,country,price,kind\n" + "".join(f"ab{i},{'DF'[i % 2]},{i},{i % 2}\n" for i in range(24)))
    model = ohlol.fit(path, task="classify", input="text", target="kind", static="country,price", out=run, epochs=2)
    rows = [{"country": "D", "price": 3}, {"country": None, "price": None}]
    expected = [model.predict("ab1", static=row).probability for row in rows]
    with ServerProcess([str(run)]) as server, server.client() as client:
        url = "/v1/models/priced/predict"
        assert client.get("/v1/models/priced").json()["static"] == ["country", "price"]
        answer = client.post(url, json={"inputs": ["ab1", "ab1"], "static": rows}).json()
        assert [one["probabilities"] for one in answer["predictions"]] == [
            pytest.approx(p, abs=CLOSE) for p in expected
        ]
        for body, problem in (
            ({"inputs": "ab"}, "static: 0 entries for 1 inputs; the model reads country, price"),
            ({"inputs": "ab", "static": [{"country": "D"}]}, "`static` has 'country'; the model reads"),
            ({"inputs": "ab", "static": [{"country": "D", "price": "dear"}]}, "column 'price' is 'dear'"),
        ):
            refused = client.post(url, json=body)
            assert refused.status_code == 422
            assert problem in refused.json()["detail"]
        assert client.post("/v1/models/priced/explain", json={"input": "ab"}).status_code == 422


@pytest.mark.parametrize("name", ["moves", "slopes"])
def test_the_target_of_a_series_equals_that_of_the_model(client: httpx.Client, models: Models, name: str) -> None:
    series = [np.arange(8.0).reshape(4, 2), np.ones((2, 2))]
    named = [{"name": f"s{i}", "rows": rows.tolist()} for i, rows in enumerate(series)]
    answer = client.post(f"/v1/models/{name}/predict", json={"series": named}).json()["predictions"]
    expected = list(models[name].predict_many(series))
    assert [(one["name"], one["labels"], one["symbols"]) for one in answer] == [
        (f"s{i}", one.labels, []) for i, one in enumerate(expected)
    ]
    if name == "slopes":
        assert [one["number"] for one in answer] == pytest.approx([one.number for one in expected], abs=CLOSE)
    (alone,) = client.post(f"/v1/models/{name}/predict", json={"rows": named[0]["rows"]}).json()["predictions"]
    assert (alone["name"], alone["labels"]) == ("", answer[0]["labels"])


def test_a_set_of_labels_equals_that_of_the_model(client: httpx.Client, models: Models) -> None:
    answer = client.post("/v1/models/sets/predict", json={"inputs": ["banad", "mno"], "n_best": 2}).json()
    for one, text in zip(answer["predictions"], ("banad", "mno"), strict=True):
        expected = models["sets"].predict(text, n_best=2)
        assert one["labels"] == expected.labels
        assert one["probabilities"] == pytest.approx(expected.probability, abs=CLOSE)
        assert [label for label, _ in one["best"][0]] == [label for label, _ in expected.best[0]]
    explained = client.post("/v1/models/sets/explain", json={"input": "banad", "target": ["a", "b"], "saliency": True})
    assert explained.json()["predictions"][0]["target"] == "a, b"


def test_a_forecast_equals_that_of_the_model(client: httpx.Client, models: Models, runs: dict[str, Path]) -> None:
    rows = read(runs["sine"].parent / "sine.csv", DataSettings(task="next_row")).inputs[0][:50]
    answer = client.post("/v1/models/sine/predict", json={"rows": [list(map(float, row)) for row in rows], "steps": 3})
    assert answer.json()["columns"] == ["height", "slope"]
    table = runs["sine"].parent / "some.csv"
    table.write_text("height,slope\n" + "\n".join(",".join(map(repr, map(float, row))) for row in rows))
    expected = models["sine"].next_rows(table, 3)
    np.testing.assert_allclose(answer.json()["rows"], expected, rtol=1e-5)


def shops(folder: Path) -> list[dict[str, Any]]:
    """The series of `sales_file`, as a request has them, with the prices of the six months that follow."""
    panel = read(folder / "sales.csv", DataSettings(**SALES)).panel
    assert panel is not None
    future = [[5.0], [6.0], [7.0], [5.0], [6.0], [7.0]]
    return [
        {"name": one.name, "start": "2015-01-01", "rows": one.values.tolist(), "future": future} for one in panel.series
    ]


def test_forecasts_equal_those_of_the_model(client: httpx.Client, models: Models, runs: dict[str, Path]) -> None:
    folder = runs["shops"].parent
    body = {"series": shops(folder), "steps": 6, "intervals": [80]}
    answer = client.post("/v1/models/shops/predict", json=body).json()
    (folder / "sales-next.csv").write_text(SALES_NEXT)
    expected = models["shops"].forecast(folder / "sales.csv", 6, future=folder / "sales-next.csv")
    assert answer["columns"] == ["sales"]
    assert [one["series"] for one in answer["forecasts"]] == ["north", "south"]
    for one, forecast in zip(answer["forecasts"], expected, strict=True):
        assert one["times"] == [f"2020-{month:02d}-01" for month in range(1, 7)]
        np.testing.assert_allclose(one["medians"], forecast.point, rtol=1e-5)
        assert [bounds["percent"] for bounds in one["intervals"]] == [80]
        for side, bound in zip(("lower", "upper"), forecast.interval(80), strict=True):
            np.testing.assert_allclose(one["intervals"][0][side], bound, rtol=1e-5)


def test_a_missing_value_is_null_and_the_horizon_is_the_default(client: httpx.Client, runs: dict[str, Path]) -> None:
    (north, _) = shops(runs["shops"].parent)
    north["rows"][-1][0] = None
    north["future"] = north["future"][:4]
    (forecast,) = client.post("/v1/models/shops/predict", json={"series": [north]}).json()["forecasts"]
    assert np.isfinite(forecast["medians"]).all()
    assert [len(forecast["medians"]), len(forecast["times"])] == [4, 4]
    assert [bounds["percent"] for bounds in forecast["intervals"]] == [80, 95]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"start": None}, "series[0].start: the time of the first row is needed, such as 2024-01-31"),
        ({"start": "January"}, "series[0].start is not a time in ISO 8601"),
        ({"start": "2015-01-01T00:00:00+02:00"}, "series[0].start has a time zone; give the local time"),
        ({"future": []}, "series[0].future: the values of price are needed in 4 rows, those to forecast"),
        ({"future": [[None]] * 4}, "series[0].future: the values of price are needed in 4 rows"),
        ({"rows": [[1.0]]}, "series[0].rows[0] has 1 numbers; the model reads 2: sales, price"),
        ({"rows": [[1.0, 5.0], [None, 5.0]]}, "series[0].rows: fewer than 3 values of sales"),
        ({"rows": []}, "series[0].rows: fewer than 3 values of sales"),
        ({"rows": [[1.0, 5.0]] * 9997}, "series: 10,001 rows and steps in all; at most 10,000"),
        ({"rows": [[1e308, 5.0], [-1e308, 5.0]] * 9}, "rows: too large; the forecast is not finite"),
        ({"static": ["a"]}, "series[0].static has 1 values; the model reads 0"),
        ({"name": 3}, "name"),
    ],
)
def test_a_series_that_does_not_fit(
    client: httpx.Client, runs: dict[str, Path], change: dict[str, Any], message: str
) -> None:
    (north, _) = shops(runs["shops"].parent)
    body = {"series": [{**north, "future": north["future"][:4], **change}]}
    response = client.post("/v1/models/shops/predict", json=body)
    assert response.status_code == 422
    assert message in response.json()["detail"]


def test_text_is_generated_in_pieces(client: httpx.Client, models: Models) -> None:
    body = {"prompt": "the ", "length": 70, "temperature": 0.7, "top_k": 5, "seed": 4}
    events = parse_events(client.post("/v1/models/text/generate", json=body).text)
    symbols = [s for name, content in events if name == "message" for s in content["symbols"]]
    assert symbols == list(models["text"].generate("the ", length=70, temperature=0.7, top_k=5, seed=4))
    assert events[-1] == ("done", {"count": 70})
    assert len(events) > 2  # several pieces


def test_an_explanation_equals_the_trace_of_the_model(client: httpx.Client, models: Models) -> None:
    answer = client.post("/v1/models/hello/explain", json={"input": "hello", "saliency": True}).json()
    assert answer.pop("saliency")["symbols"] == list("hello")
    assert answer == json.loads(json.dumps(trace(models["hello"], "hello").to_json()))


def test_models_are_listed_with_their_descriptions(client: httpx.Client, models: Models) -> None:
    descriptions = {one["name"]: one for one in client.get("/v1/models").json()}
    assert {name: one["task"] for name, one in descriptions.items()} == {name: m.task for name, m in models.items()}
    assert {name: one["identity"] for name, one in descriptions.items()} == {
        name: m.identity for name, m in models.items()
    }
    assert [name for name, one in descriptions.items() if not one["streams"]] == ["upper", "shops", "slopes"]
    assert descriptions["hello"]["example"] == "hello"
    assert client.get("/v1/models/hello").json() == descriptions["hello"]
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/readyz").json() == {"status": "ready"}


def test_metrics_count_requests(client: httpx.Client) -> None:
    client.post("/v1/models/hello/predict", json={"inputs": "hello"})
    text = client.get("/metrics").text
    line = 'ohlol_requests_total{method="POST",route="/v1/models/{name}/predict",status="200"}'
    assert float(next(row for row in text.splitlines() if row.startswith(line)).split()[-1]) >= 1
    assert 'ohlol_batch_size_count{model="hello"}' in text
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert families["ohlol_request_seconds"].type == "histogram"
    assert all(family.documentation for name, family in families.items() if not name.endswith("_created"))
    assert "ohlol_sessions 0.0" in text


def test_head_is_get_without_a_body(client: httpx.Client) -> None:
    for path in ("/", "/healthz", "/v1/models", "/docs", "/nothing"):
        head, get = client.head(path), client.get(path)
        assert (head.status_code, head.content) == (get.status_code, b""), path
        assert head.headers["content-length"] == get.headers["content-length"]
    assert client.head("/v1/models/hello/predict").status_code == 405


def test_reference_needs_no_other_server(client: httpx.Client) -> None:
    html = client.get("/docs").text
    assert "http://" not in html
    assert "https://" not in html
    assert "security" not in client.get("/openapi.json").text  # a server without a key
    for path in ("/static/swagger/swagger-ui-bundle.js", "/static/swagger/swagger-ui.css", "/openapi.json"):
        assert path in html
        assert client.get(path).status_code == 200


INVALID: list[tuple[str, Any, int, str]] = [
    ("hello/predict", {"inputs": "hexlo"}, 422, "symbol 'x' was not seen in training; the 4 seen are 'e' 'h' 'l' 'o'"),
    ("hello/predict", {"inputs": ["hello", "hexlo"]}, 422, "symbol 'x' was not seen"),
    ("hello/predict", {"inputs": ""}, 422, "inputs"),
    ("hello/predict", {"inputs": ["hello", ""]}, 422, "inputs.1: String should have at least 1 character"),
    ("hello/predict", {"inputs": "hello", "price[usd]": 1}, 422, "price[usd]: Extra inputs are not permitted"),
    ("hello/predict", {"inputs": []}, 422, "inputs: 0 sequences; it must be from 1 to 64"),
    ("hello/predict", {"inputs": ["h"] * 65}, 422, "inputs: 65 sequences; it must be from 1 to 64"),
    ("hello/predict", {"inputs": "h" * 10_001}, 422, "inputs[0]: it has 10,001 symbols; at most 10,000"),
    ("hello/predict", {"inputs": ["h" * 10_000] * 14}, 422, "140,000 symbols, letters or labels in all; at most 131,"),
    ("hello/predict", {"inputs": ["h" * 10_000] * 4, "n_best": 9}, 422, "160,000 symbols, letters or labels in all"),
    ("hello/predict", {"inputs": ["h", "\ud800"]}, 422, ""),
    ("hello/predict", {"inputs": [["\ud800"]]}, 422, ""),
    ("hello/predict", {"inputs": " "}, 422, "symbol ' ' was not seen"),
    ("hello/predict", {}, 422, 'give either "inputs" or "rows", or the "series" of a forecast'),
    (
        "hello/predict",
        {"inputs": "h", "rows": [[1]]},
        422,
        'give either "inputs" or "rows", or the "series" of a forecast',
    ),
    ("hello/predict", {"rows": [[1, 2]]}, 422, "reads no numbers"),
    ("hello/predict", {"inputs": "hello", "n_best": 0}, 422, "n_best"),
    ("hello/predict", {"inputs": "hello", "nbest": 2}, 422, "nbest: Extra inputs"),
    ("hello/predict", [], 422, "the body: "),
    ("sine/predict", {"inputs": "hello"}, 422, "this model's task is next_row"),
    ("sine/predict", {"rows": [[1.0, None]]}, 422, "rows[0] has a missing value; this model needs every number"),
    ("sine/predict", {"series": []}, 422, 'this model\'s task is next_row: give "rows"'),
    ("sine/predict", {"rows": [[1.0, 2.0]], "intervals": [80]}, 422, 'task is next_row: give "rows"'),
    ("shops/predict", {"inputs": "hello"}, 422, "this model's task is forecast, which has no labels"),
    ("shops/predict", {"series": []}, 422, "series: 0 series; it must be from 1 to 64"),
    ("shops/predict", {"series": [{"rows": []}] * 2}, 422, "series: two of them have the same name"),
    ("shops/predict", {"rows": [[1.0, 2.0]]}, 422, "rows: fewer than 3 values of sales"),
    ("shops/predict", {"rows": [[1.0, 2.0]], "steps": 1000}, 422, "steps: 1000 are forecast 4 at a time"),
    ("shops/explain", {"input": "hello"}, 422, "reads numbers"),
    (
        "moves/predict",
        {"inputs": "hello"},
        422,
        'inputs[0]: this model\'s task is classify and reads numbers: give "rows"',
    ),
    ("moves/predict", {"series": []}, 422, "series: 0 sequences; it must be from 1 to"),
    ("moves/predict", {"rows": []}, 422, "series[0]: it is empty; give one row at least"),
    ("moves/predict", {"rows": [[1.0]]}, 422, "this model reads a series of numbers, rows of 2: x, y"),
    ("moves/predict", {"rows": [[1.0, None]]}, 422, "column y is nan, not a finite number in range"),
    ("moves/predict", {"rows": [[1.0, 1e308]]}, 422, "column y is 1e+308, not a finite number in range"),
    ("moves/predict", {"rows": [[1.0, 2.0]], "steps": 2}, 422, 'has "name" and "rows" alone'),
    ("moves/explain", {"input": "hello"}, 422, "explain one with `ohlol explain`"),
    ("sizes/predict", {"rows": [[1.0]]}, 422, "this model's task is regress, which reads no numbers"),
    ("sizes/explain", {"input": "banana"}, 422, "the task of this model is regress; only models that predict labels"),
    ("sine/predict", {"rows": [[1.0]]}, 422, "rows[0] has 1 numbers; the model reads 2: height, slope"),
    ("sine/predict", {"rows": [[1e308, 1e308]] * 2}, 422, ""),
    ("sine/predict", {"rows": []}, 422, "rows: 0 rows; it must be from 1 to"),
    ("sine/explain", {"input": "hello"}, 422, "reads numbers"),
    ("text/predict", {"inputs": "hello"}, 422, "which has no labels: use generate"),
    ("hello/generate", {"prompt": "h"}, 422, "only a model that predicts the next symbol generates text"),
    ("text/generate", {"length": 10_001}, 422, "length is 10,001; it must be at most 10,000"),
    ("text/generate", {"temperature": -1}, 422, "temperature"),
    ("text/generate", {"top_p": 0}, 422, "top_p"),
    ("hello/explain", {"input": "h" * 501}, 422, "501 symbols; at most 500 are explained"),
    ("upper/explain", {"input": "abcde" * 100, "saliency": True}, 422, "saliency: 500 symbols are too many"),
    ("hello/explain", {"input": "hello", "target": "oh"}, 422, "2 labels; it must have 5"),
    ("nobody/predict", {"inputs": "hello"}, 404, "there is no model 'nobody'; there are hello"),
    ("../hello/predict", {"inputs": "hello"}, 404, "Not Found"),
    ("..%2f..%2fetc%2fpasswd/predict", {"inputs": "h"}, 404, "Not Found"),
    ("hello/predict/", {"inputs": "h"}, 404, "Not Found"),
    ("%00/predict", {"inputs": "h"}, 404, "there is no model '\\x00'"),
    ("%E2%80%AE/predict", {"inputs": "h"}, 404, "there is no model '\\u202e'"),
    ("hello%20/predict", {"inputs": "h"}, 404, "there is no model 'hello '"),
    ("." * 300 + "/predict", {"inputs": "h"}, 404, "there is no model"),
]


@pytest.mark.parametrize(("path", "body", "status", "message"), INVALID)
def test_invalid_requests_are_refused_with_a_message(
    client: httpx.Client, path: str, body: Any, status: int, message: str
) -> None:
    text = json.dumps(body).encode()
    answer = client.post(f"/v1/models/{path}", content=text, headers={"content-type": "application/json"})
    assert answer.status_code == status, answer.text
    detail = answer.json()["detail"]
    assert message in detail
    assert "\n" not in detail
    assert len(detail) < 400


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (b"{", 400, "the body is not valid JSON"),
        (b"", 422, "the body: Field required"),
        (b"\xff\xfe", 400, ""),
        (b'{"rows": [[NaN, 1]]}', 400, "NaN is not a number"),
        (b'{"rows": [[1, Infinity]]}', 400, "Infinity is not a number"),
        (b'{"rows": [[1, -1e999]]}', 422, "finite number"),
        (b'{"rows": [[' + b"9" * 5000 + b", 1]]}", 400, ""),
        (b"null", 422, ""),
        ('{"rows": [[1, 1]]}'.encode("utf-16"), 400, "not valid JSON"),
        (b'\xef\xbb\xbf{"rows": [[1, 1]]}', 400, "not valid JSON"),
        (b'{"rows": [["1", 1]]}', 422, "valid number"),
        (b'{"rows": [[1, 1]], "steps": "1"}', 422, "steps: Input should be a valid integer"),
        (b'{"rows": [[1, 1]], "steps": true}', 422, "steps: Input should be a valid integer"),
        (b'{"\\u001b[31m\\n": 1}', 422, "\\x1b[31m\\n: Extra inputs are not permitted"),
        (b'{"inputs": "h", "inputs": 3}', 400, "the member 'inputs' occurs twice"),
    ],
)
def test_invalid_bodies_are_refused_with_a_message(
    client: httpx.Client, body: bytes, status: int, message: str
) -> None:
    answer = client.post("/v1/models/sine/predict", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == status, answer.text
    assert message in answer.json()["detail"]


def test_bodies_of_another_content_type_are_refused(client: httpx.Client) -> None:
    """A page of another origin can send text/plain without a preflight request."""
    for kind in ("text/plain", "application/x-www-form-urlencoded", ""):
        answer = client.post("/v1/models/hello/predict", content=b'{"inputs": "h"}', headers={"content-type": kind})
        assert answer.status_code == 422


def test_every_response_has_security_headers(client: httpx.Client) -> None:
    for path in ("/", "/docs", "/healthz", "/v1/models", "/nothing", "/metrics", "/static/swagger/swagger-ui.css"):
        headers = client.get(path).headers
        assert headers["x-content-type-options"] == "nosniff", path
        assert headers["x-frame-options"] == "DENY"
        assert headers["referrer-policy"] == "no-referrer"
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert "access-control-allow-origin" not in headers
        assert "server" not in headers


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"origin": "OWN"}, 200),
        ({"origin": "https://elsewhere.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://localhost:1"}, 403),
        ({"origin": "http://[bad"}, 403),
        ({"host": "evil.example"}, 421),
        ({"host": "127.0.0.1.evil.example"}, 421),
        ({"host": "localhost"}, 200),
        ({"host": "[::1"}, 400),
    ],
)
def test_only_allowed_origins_and_hosts_are_served(
    server: ServerProcess, client: httpx.Client, headers: dict[str, str], status: int
) -> None:
    headers = {name: server.url if value == "OWN" else value for name, value in headers.items()}
    assert client.post("/v1/models/hello/predict", json={"inputs": "hello"}, headers=headers).status_code == status


def test_requests_without_the_key_are_refused(runs: dict[str, Path], tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(KEY + "\n")
    origin = "https://pages.example"
    flags = ["--api-key", str(file), "--allow-origin", origin, "--log"]
    with ServerProcess([str(runs["hello"])], flags) as server, server.client() as client:
        for credentials in (
            {},
            {"authorization": "Bearer wrong"},
            {"authorization": KEY},
            {"authorization": "Bearer é"},
        ):
            raw = [(name.encode(), value.encode("latin-1")) for name, value in credentials.items()]
            refused = client.get("/v1/models", headers=httpx.Headers(raw))
            assert refused.status_code == 401
            assert refused.headers["www-authenticate"] == "Bearer"
            for path in ("/metrics", "/v1/models/hello", "/nothing"):
                assert client.get(path, headers=httpx.Headers(raw)).status_code == 401
        authorization = {"authorization": f"Bearer {KEY}"}
        assert client.get("/v1/models", headers=authorization).status_code == 200
        for path in ("/", "/healthz", "/readyz", "/docs", "/openapi.json"):
            assert client.get(path).status_code == 200
        paths = client.get("/openapi.json").json()["paths"]
        assert [path for path in paths if "security" not in next(iter(paths[path].values()))] == ["/healthz", "/readyz"]
        allowed = client.get("/v1/models", headers={**authorization, "origin": origin})
        assert allowed.headers["access-control-allow-origin"] == origin
        before = {"origin": origin, "access-control-request-method": "POST",
                  "access-control-request-headers": "authorization,content-type"}  # fmt: skip
        preflight = client.options("/v1/models/hello/predict", headers=before)
        assert preflight.status_code == 200
        assert preflight.headers["access-control-allow-origin"] == origin
        assert client.options("/v1/models", headers={**before, "origin": "https://other.example"}).status_code == 401
        other = client.get("/v1/models", headers={**authorization, "origin": "https://other.example"})
        assert "access-control-allow-origin" not in other.headers
        client.get("/" + "a" * 5000)
    assert KEY not in server.out + server.err
    assert '"GET /v1/models HTTP/1.1" 401' in server.err
    assert "HTTP/1.1" not in server.out
    assert all(len(line) < 500 for line in server.err.splitlines())


def test_missing_packages_are_named(
    runs: dict[str, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in sys.modules if name.startswith("ohlol.serve")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "fastapi", None)
    with pytest.raises(SystemExit) as end:
        main(["serve", str(runs["hello"])])
    assert end.value.code == 2
    assert "needs fastapi: pip install 'ohlol[serve]'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere"),
        (["{run}", "--host", "0.0.0.0"], "needs a key: set --api-key to its file, or OHLOL_API_KEY to the key"),
        (["{run}", "--port", "{taken}"], "Address already in use"),
        (["{run}", "--api-key", "nowhere"], "--api-key nowhere: cannot be read"),
        (["{run}", "{run}"], "there is a model 'hello' already"),
        (["{run}", "--batch-wait", "nan"], "--batch-wait"),
    ],
)
def test_invalid_settings_are_refused_before_the_server_starts(
    server: ServerProcess, runs: dict[str, Path], capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    arguments = [a.format(run=runs["hello"], taken=server.port) for a in arguments]
    with pytest.raises(SystemExit) as end:
        main(["serve", *arguments])
    assert end.value.code == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_insecure_settings_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for host in ("0.0.0.0", "::", "192.0.2.1", "example.org"):
        with pytest.raises(InputError, match=f"`host` {host} can be reached from other machines, which needs a key"):
            make_access(host, None)
    assert make_access("0.0.0.0", KEY).hosts == ()
    for host in ("127.0.0.1", "localhost", "::1", "127.8.8.8"):
        assert make_access(host, None).key is None
    for origin in ("*", "example.org", "https://example.org/"):
        with pytest.raises(InputError, match="`allow_origin` is"):
            make_access("127.0.0.1", None, allow_origin=(origin,))
    monkeypatch.setenv("OHLOL_API_KEY", "short")
    with pytest.raises(InputError, match="at least 16 ASCII characters"):
        load_key(None)
    monkeypatch.setenv("OHLOL_API_KEY", KEY)
    assert load_key(None) == KEY
    with pytest.raises(InputError, match=r"`api_key` .*cannot be read"):
        load_key(tmp_path / "none")
    with pytest.raises(InputError, match=r"`api_key` /dev/zero: cannot be read: at most 65536 bytes are expected"):
        load_key(Path("/dev/zero"))
    with pytest.raises(InputError, match="batch_size is 0; it must be a number from"):
        Limits(batch_size=0)


@pytest.mark.slow
def test_full_queue_returns_retry_after(runs: dict[str, Path]) -> None:
    flags = ["--max-queue", "4", "--batch-size", "1", "--max-length", "4000"]
    with ServerProcess([str(runs["upper"])], flags) as server:
        long, answers = "abcde" * 800, []

        def predict() -> None:
            with server.client() as client:
                for _ in range(4):
                    answer = client.post("/v1/models/upper/predict", json={"inputs": [long] * 2})
                    answers.append((answer.status_code, answer.headers.get("retry-after"), answer.json()))

        threads = [threading.Thread(target=predict) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(answers) == 32
    assert {status for status, _, _ in answers} == {200, 429}
    for status, retry_after, content in answers:
        if status == 429:
            assert 1 <= int(retry_after) <= 60
            assert content["detail"].startswith("busy: ")
        else:
            assert len(content["predictions"]) == 2


@pytest.mark.slow
def test_model_is_replaced_without_dropping_a_request(runs: dict[str, Path], tmp_path: Path) -> None:
    run = tmp_path / "word"
    ohlol.fit([("ab", "xx")], epochs=60, out=run)
    with ServerProcess([str(run)]) as server:
        answers: list[tuple[int, str]] = []
        stop = threading.Event()

        def predict() -> None:
            with server.client() as client:
                while not stop.is_set():
                    answer = client.post("/v1/models/word/predict", json={"inputs": "ab"})
                    answers.append((answer.status_code, "".join(answer.json()["predictions"][0]["labels"])))

        threads = [threading.Thread(target=predict) for _ in range(4)]
        for thread in threads:
            thread.start()
        with server.client() as client:
            before = client.get("/v1/models/word").json()["identity"]
            assert client.post("/v1/reload").json()[0] == {
                "name": "word", "changed": False, "identity": before, "error": None,
            }  # fmt: skip
            ohlol.fit([("ab", "yy")], epochs=60, out=run, overwrite=True)
            report = client.post("/v1/reload").json()[0]
            assert report["changed"]
            assert report["identity"] == ohlol.load(run).identity != before
            answer = client.post("/v1/models/word/predict", json={"inputs": "ab"}).json()
            assert answer["predictions"][0]["labels"] == ["y", "y"]
            weights = (run / "model.safetensors").read_bytes()
            (run / "model.safetensors").write_bytes(weights[:-8])
            report = client.post("/v1/reload").json()[0]
            assert not report["changed"]
            assert "model.safetensors" in report["error"]
            (run / "model.safetensors").write_bytes(weights)
            ohlol.fit([("ab", "zz")], epochs=60, out=run, overwrite=True)
            server.process.send_signal(signal.SIGHUP)
            wait_for(lambda: "zz" in {labels for _, labels in answers}, "the model was not replaced")
            assert client.get("/v1/models/word").json()["identity"] == ohlol.load(run).identity
        stop.set()
        for thread in threads:
            thread.join()
    assert {status for status, _ in answers} == {200}
    assert {labels for _, labels in answers} == {"xx", "yy", "zz"}
    assert server.err == f"ohlol: word has changed: {ohlol.load(run).identity[:12]}\n"


@pytest.mark.slow
def test_signal_to_reload_is_handled_once_the_address_is_printed(runs: dict[str, Path], tmp_path: Path) -> None:
    """A run that cannot be read is reported, and the server keeps its model."""
    run = tmp_path / "word"
    shutil.copytree(runs["hello"], run)
    server = ServerProcess([str(run)])
    server.on_start = lambda: server.process.send_signal(signal.SIGHUP)
    with server, server.client() as client:
        (run / "vocab.json").unlink()
        server.process.send_signal(signal.SIGHUP)
        wait_for(lambda: 'result="refused"} 1.0' in client.get("/metrics").text, "the reload was not counted")
        assert client.post("/v1/models/word/predict", json={"inputs": "hello"}).status_code == 200
    first, second = server.err.splitlines()
    assert first.startswith("ohlol: word is the same: ")
    assert second.startswith("ohlol: word stays as it was: ")
    assert "vocab.json" in second


@pytest.mark.slow
def test_running_requests_are_completed_when_the_server_stops(runs: dict[str, Path]) -> None:
    with ServerProcess([str(runs["text"])], ["--max-length", "1000000"]) as server:
        with server.client() as client:
            body = {"length": 500_000, "seed": 1}
            with client.stream("POST", "/v1/models/text/generate", json=body) as answer:
                lines = answer.iter_lines()
                next(lines)
                server.process.terminate()
                time.sleep(0.5)
                with pytest.raises(httpx.TransportError), server.client() as other:
                    other.get("/healthz")
                rest = "\n".join(lines)
        assert parse_events(rest)[-1] == ("done", {"count": 500_000})
        server.process.wait()
    assert server.returncode == -15  # ended by the signal
    server.assert_no_errors()
