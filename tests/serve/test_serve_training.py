"""Trainings of the page: their events are what `ohlol train` reports, and closing the response cancels them."""

import json
import time
from typing import Any

import httpx
import pytest
import torch
from helpers import Recorder
from serving import SECONDS, ServerProcess, parse_events

import ohlol
from ohlol.models.heads import Head
from ohlol.serve.training import compute_output


def test_events_report_each_epoch(client: httpx.Client) -> None:
    """hello -> ohlol: the losses and the labels of every epoch."""
    received = parse_events(client.post("/v1/train", json={}).text)
    recorder = Recorder()
    model = ohlol.fit([("hello", "ohlol")], callbacks=[recorder])
    names = [name for name, _ in received]
    assert names == ["start", *["epoch"] * 20, "done"]
    start, done = received[0][1], received[-1][1]
    assert start["pairs"] == [["hello", "ohlol"]]
    assert (start["epochs"], start["parameters"], start["hidden_size"]) == (20, 40, 4)
    for (_, one), epoch in zip(received[1:-1], recorder.epochs, strict=True):
        assert one["loss"] == pytest.approx(epoch.loss, abs=1e-6)
        assert one["pairs"][0]["labels"] == epoch.predictions[0]
        hidden = one["pairs"][0]["hidden"]
        assert [len(hidden), len(hidden[0])] == [5, 4]
    states = [json.dumps(one["pairs"][0]["hidden"]) for _, one in received[1:-1]]
    assert len(set(states)) == 20  # they change from epoch to epoch
    assert "".join(done["pairs"][0]["labels"]) == "ohlol"
    assert done["loss"] == pytest.approx(model.config.metrics["loss"], abs=1e-6)
    frames = done["explain"]["frames"]
    assert [frame["epoch"] for frame in frames] == list(range(21))
    assert "".join(frames[done["explain"]["opened"]]["predicted"]) == "ohlol"
    assert ["".join(frame["predicted"]) for frame in frames[:20]] == [
        "".join(e.predictions[0]) for e in recorder.epochs
    ]


def test_labels_are_decoded_by_the_head(monkeypatch: pytest.MonkeyPatch) -> None:
    """A head may decode another label than the most probable one."""
    model = ohlol.fit([("hello", "ohlol")], seed=1, epochs=2)

    def decode(head: Head, logits: torch.Tensor, batch_sizes: torch.Tensor | None = None) -> torch.Tensor:
        return logits.argmin(dim=1)

    monkeypatch.setattr(type(model.network.head), "decode", decode)
    output, prediction = compute_output(model, "hello"), model.predict("hello")
    assert output["labels"] == list(prediction.labels) != [best[0][0] for best in prediction.best]
    assert output["probabilities"] == pytest.approx(prediction.probability, abs=1e-4)


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_several_pairs_with_every_cell(client: httpx.Client, cell: str) -> None:
    pairs = [{"input": "abcd", "target": "bcda"}, {"input": "dcba", "target": "cbad"}]
    body = {"pairs": pairs, "cell": cell, "head": True, "hidden_size": 16, "epochs": 80, "seed": 3, "lr": 0.05}
    received = parse_events(client.post("/v1/train", json=body).text)
    assert ["".join(one["labels"]) for one in received[-1][1]["pairs"]] == ["bcda", "cbad"]
    assert len(received[-1][1]["explain"]["frames"]) <= 62
    assert len(received[1][1]["pairs"][1]["hidden"][0]) == 16


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"pairs": [{"input": "ab", "target": "a"}]}, ""),
        ({"pairs": [{"input": "a", "target": "a"}] * 9}, "9 pairs; at most 8"),
        ({"pairs": [{"input": "a" * 25, "target": "a" * 25}]}, "25 characters in a side of a pair; at most 24"),
        ({"epochs": 501}, "501 epochs; at most 500"),
        ({"head": True, "hidden_size": 65}, "65 hidden units; at most 64"),
        ({"hidden_size": 8}, "without a head the hidden units are the labels"),
        ({"lr": 0}, "lr"),
        ({"pairs": []}, "pairs"),
        ({"pace": 3}, "pace"),
        ({"cell": "mamba"}, "cell"),
    ],
)
def test_invalid_trainings_are_refused(client: httpx.Client, body: Any, message: str) -> None:
    answer = client.post("/v1/train", json=body)
    assert answer.status_code == 422, answer.text
    assert message in answer.json()["detail"]


def test_training_whose_loss_diverges_ends(client: httpx.Client) -> None:
    body = {"lr": 10, "cell": "rnn", "head": True, "hidden_size": 8, "epochs": 500, "pace": 0}
    names = [name for name, _ in parse_events(client.post("/v1/train", json=body).text)]
    assert names[-1] in ("done", "ended")


def test_closing_the_response_cancels_and_trainings_are_limited(server: ServerProcess) -> None:
    slow = {"epochs": 500, "pace": 2}
    with server.client() as client:
        streams = []
        for _ in range(4):
            stream = client.stream("POST", "/v1/train", json=slow)
            answer = stream.__enter__()
            assert answer.status_code == 200
            lines = answer.iter_lines()
            next(lines)
            streams.append((stream, lines))
        refused = client.post("/v1/train", json={})
        assert refused.status_code == 429
        assert int(refused.headers["retry-after"]) >= 1
        assert "4 trainings are active, at most 4" in refused.json()["detail"]
        began = time.monotonic()
        for stream, _ in streams:
            stream.__exit__(None, None, None)
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            if client.post("/v1/train", json={"epochs": 1}).status_code == 200:
                break
            time.sleep(0.05)
        assert time.monotonic() - began < 30  # not the 1,000 s they would have taken
