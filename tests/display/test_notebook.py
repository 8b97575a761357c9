"""Traces and shapes in a notebook: the same numbers, and symbols escaped in HTML."""

import re
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import TINY, names_file, text_file

import ohlol
from ohlol.display import notebook
from ohlol.explain.shapes import KINDS, shapes
from ohlol.explain.trace import Trace, trace
from ohlol.tasks.class_report import ClassReport, confidence_bins


class Table(HTMLParser):
    """The rows of all tables, and every tag there is."""

    def __init__(self, html: str):
        super().__init__()
        self.rows: list[list[str]] = []
        self.tags: set[str] = set()
        self.open: list[str] = []
        self.feed(html)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.add(tag)
        self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag == "td":
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "td" in self.open:
            self.rows[-1][-1] += data


@pytest.fixture(autouse=True)
def english(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "C")


def test_the_table_has_the_numbers_of_the_trace() -> None:
    found = trace(ohlol.fit([("hello", "ohlol")], seed=1), "hello")
    html = found._repr_html_()
    rows = {row[0]: row[1:] for row in Table(html).rows}
    assert rows["input"] == list("hello")
    for j in range(4):
        assert rows[f"h'[{j}]"] == [f"{v:.3f}" for v in found.layers[0].after["h"][:, j]]
    assert rows["prediction"] == [f"{found.best(t, 1)[0][0]} {found.best(t, 1)[0][1]:.0%}" for t in range(5)]
    assert rows["target"] == [f"{label} ✓" for label in "ohlol"]
    assert rows["loss"] == [f"{v:.3f}" for v in found.losses or ()]
    assert "loss 0.5158, mean of 5" in html


def test_long_and_wide_traces_are_cut(tmp_path: Path) -> None:
    model = ohlol.fit(text_file(tmp_path / "text.txt"), **{**TINY, "hidden_size": 30, "num_layers": 2})
    rows = Table(trace(model, "the cat sat on the mat\n" * 4)._repr_html_()).rows
    assert max(map(len, rows)) == 1 + notebook.MAX_STEPS
    assert sum("h'[" in row[0] for row in rows) == 2 * notebook.MAX_NEURONS
    assert sum(row[0] == "18 more neurons" for row in rows) == 4
    names = ohlol.fit(names_file(tmp_path / "names.csv"), input="name", target="kind", **TINY)
    rows = {row[0]: row[1:] for row in Table(trace(names, "bdlmna")._repr_html_()).rows}
    assert rows["prediction"][:5] == [""] * 5
    assert "target" not in rows


def test_symbols_are_escaped() -> None:
    found = trace(ohlol.fit([("hello", "ohlol")], seed=1), "hello")
    bad = ("<img src=x onerror=alert(1)>", "</td></table><script>", "'\"&amp;", "\n", "\u202e")
    hostile = Trace(**{**vars(found), "symbols": bad, "predicted": (bad[0], *found.predicted[1:]), "targets": bad})
    html = hostile._repr_html_()
    table = Table(html)
    assert table.tags == {"div", "b", "bdi", "span", "table", "tbody", "tr", "td"}
    assert next(row for row in table.rows if row[0] == "input")[1:] == [*bad[:3], "⏎", bad[4]]


@pytest.mark.parametrize("kind", KINDS)
def test_the_table_has_every_shape_and_equality(kind: str) -> None:
    report = shapes(kind, seq_len=4, batch_size=2)
    html = report._repr_html_()
    table = Table(html)
    data = report.to_json()
    said = unescape(re.sub("<[^>]*>", " ", html))
    for tensor in (*data["parameters"], *data.get("inputs", ()), *data.get("outputs", ())):
        assert [tensor["name"], tensor["letters"], str(tuple(tensor["shape"]))] in [row[1:] for row in table.rows]
    for equality in data["equalities"]:
        assert equality["claim"] in said
    assert sum(row[0] == "✗" for row in table.rows) == len(data["mistakes"])


def test_the_picture_of_packing() -> None:
    html = shapes("rnn", lengths=(2, 5, 3))._repr_html_()
    assert "data        │ b1 c1 a1 │ b2 c2 a2" in html
    assert Table(html).tags == {"div", "h1", "h2", "p", "pre", "table", "tr", "th", "td"}


def test_the_table_of_classes_has_their_scores() -> None:
    counts = confidence_bins(np.array([0.9, 0.9, 0.9, 0.9]), np.array([True, True, True, False]))
    report = ClassReport.of(("<b>", " "), np.array([[2, 1], [0, 1]]), np.zeros(2, np.int64), counts)
    html = report._repr_html_()
    table = Table(html)
    assert table.rows[0] == ["class", "precision", "recall", "F1", "support"]
    assert table.rows[1] == ["<b>", "100.0%", "66.7%", "80.0%", "3"]
    assert table.rows[2][0] == "␣"
    assert [row[0] for row in table.rows[3:]] == ["macro mean", "weighted mean"]
    assert "accuracy 75.00%; expected calibration error 15.00%" in html
