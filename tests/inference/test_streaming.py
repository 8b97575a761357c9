"""Streams: pieces give the output of the whole, saved states continue, and wrong input is refused in one line."""

import itertools
import json
import threading
from typing import Any

import numpy as np
import pytest
import torch
from helpers import CELLS, LOOP, cell_settings
from hypothesis import given
from hypothesis import strategies as st
from parity.tolerances import assert_same
from safetensors.torch import save
from torch import Tensor
from untrained import KINDS as MODELS
from untrained import sequence, untrained

import ohlol
from ohlol import ops
from ohlol.checkpoint.weights import serialize_tensors
from ohlol.data.batches import gather
from ohlol.data.codec_encoding import encode_data
from ohlol.inference.step import StreamOutput
from ohlol.inference.streaming import FORMAT
from ohlol.inference.trained_model import TrainedModel
from ohlol.models import sequence_model
from ohlol.models.heads import HEADS
from ohlol.models.inputs import PackedInputs
from ohlol.ops import backend
from ohlol.utils.errors import InputError

KINDS: list[tuple[str, dict[str, Any]]] = [
    *((task, cell_settings(cell)) for task, cell in itertools.product(MODELS, CELLS)),
    ("label", {"cell": "lstm", "num_layers": 3}),
    ("next", {"cell": "rnn_relu", "num_layers": 2}),
    ("next", {"cell": "gru", "num_layers": 2, "embedding_size": 0}),
    ("next", {"cell": "lstm", "embedding_size": 11, "tie_weights": True}),
    ("words", {"cell": "lstm", "num_layers": 2, "char_rnn_size": 4}),
    ("classify", {"cell": "rnn", "num_layers": 2, "head": "identity", "hidden_size": 2}),
]
WITH_OR_WITHOUT = [
    pytest.param(True, marks=pytest.mark.skipif(not ops.available(), reason="the compiled kernels are not installed")),
    False,
]


@pytest.fixture(params=WITH_OR_WITHOUT, ids=["kernels", "torch"], autouse=True)
def kernels(request: pytest.FixtureRequest) -> Any:
    """Once with the kernels, their buffers filled with NaN, and once with the model's forward pass."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param:
            backend.fill_with_nan(True)
        else:
            patch.setattr(sequence_model, "available", tuple)
        yield request.param
    backend.fill_with_nan(False)


@torch.no_grad()
def whole(trained: TrainedModel, symbols: list[Any]) -> Tensor:
    """The network's logits (T, K) for a sequence read at once; with one label a sequence, those of every prefix."""
    rows = []
    starts = range(1, len(symbols) + 1) if trained.task == "classify" else [len(symbols)]
    for end in starts:
        if trained.task == "next_row":
            assert trained.codec.scale is not None
            inputs = torch.from_numpy(trained.codec.scale.apply(np.array(symbols)))
            packed = PackedInputs(inputs, torch.ones(end).long())
        elif trained.task == "next":
            assert trained.codec.symbols is not None
            packed = PackedInputs(
                torch.from_numpy(trained.codec.symbols.encode(symbols)).long(), torch.ones(end).long()
            )
        else:
            data = encode_data(trained.codec, trained.raw_data([symbols[:end]]))
            packed = PackedInputs.of(gather(data, np.arange(1)))
        rows.append(trained.network(packed)[0])
    return torch.cat(rows)


def stack_logits(steps: list[StreamOutput]) -> Tensor:
    return torch.stack([step.logits for step in steps])


@pytest.mark.parametrize(("kind", "settings"), KINDS)
def test_steps_equal_the_whole_sequence(kind: str, settings: dict[str, Any]) -> None:
    trained = untrained(kind, **settings)
    symbols = sequence(trained, 12)
    stream = trained.stream()
    steps = [stream.step(symbol) for symbol in symbols]
    expected = whole(trained, symbols)
    assert_same("logits", stack_logits(steps), expected, torch.float32)
    assert stream.steps == 12
    if kind == "next_row":
        assert trained.codec.target_scale is not None
        assert steps[3].row.tolist() == trained.codec.target_scale.undo(steps[3].logits.numpy()).tolist()
        return
    assert trained.codec.labels is not None
    names, rows = trained.codec.labels.symbols, torch.softmax(expected, dim=1)
    excluded = names.index("<unk>") if trained.task == "next" else None
    for step, symbol, probabilities in zip(steps, symbols, rows, strict=True):
        assert step.unknown == (symbol == "z")
        order = [i for i in probabilities.argsort(descending=True).tolist() if i != excluded]
        assert step.label == names[order[0]]
        assert step.probability == pytest.approx(float(probabilities[order[0]]), abs=1e-5)
        assert [name for name, _ in step.best(2)] == [names[i] for i in order[:2]]
        assert [p for _, p in step.best(99)] == pytest.approx([float(probabilities[i]) for i in order], abs=1e-5)
        assert_same("probabilities", step.probabilities, probabilities, torch.float32)


@given(st.data())
def test_a_sequence_read_in_pieces_gets_the_output_of_the_whole(data: st.DataObject) -> None:
    """Cut anywhere, read by `read` or by `step`, with other streams, the state saved and restored in between."""
    kind, settings = data.draw(st.sampled_from(KINDS))
    trained = untrained(kind, **settings)
    length = data.draw(st.integers(1, 25))
    symbols, others = sequence(trained, length), sequence(trained, length, seed=1)
    cuts = sorted(data.draw(st.sets(st.integers(1, length), max_size=6)) | {0, length})
    streams = trained.streams(2)
    key, steps = 0, list[StreamOutput]()
    for start, end in itertools.pairwise(cuts):
        how = data.draw(st.sampled_from(["read", "step", "step with another", "moved"]))
        piece = symbols[start:end]
        if how == "read":
            steps += streams.read(key, piece)
        elif how == "step with another":
            steps += [streams.step({1: o, key: s})[key] for o, s in zip(others, piece, strict=False)]
        else:
            if how == "moved":
                state = streams.state(key)
                streams.leave(key)
                key = streams.join(state)
            steps += [streams.step({key: s})[key] for s in piece]
        assert streams.steps(key) == end
    assert_same("logits", stack_logits(steps), whole(trained, symbols), torch.float32)


@given(st.data())
def test_streams_join_and_leave_at_any_step(data: st.DataObject) -> None:
    """Each of many sequences gets the output it would get alone, whichever others join and leave."""
    kind, settings = data.draw(st.sampled_from(KINDS))
    trained = untrained(kind, **settings)
    streams = trained.streams(data.draw(st.integers(0, 2)))
    histories: dict[int, list[Any]] = {key: [] for key in streams}
    outputs: dict[int, list[StreamOutput]] = {key: [] for key in streams}
    ended: list[tuple[list[Any], list[StreamOutput]]] = []
    symbols = itertools.cycle(sequence(trained, 60, seed=2))
    for _ in range(data.draw(st.integers(1, 12))):
        action = data.draw(st.sampled_from(["step", "step", "step", "join", "leave", "reset"]))
        if action == "join":
            key = streams.join()
            assert key not in histories
            histories[key], outputs[key] = [], []
        elif action != "step" and histories:
            key = data.draw(st.sampled_from(sorted(histories)))
            ended.append((histories.pop(key), outputs.pop(key)))
            if action == "leave":
                streams.leave(key)
            else:
                streams.reset(key)
                histories[key], outputs[key] = [], []
        else:
            keys = data.draw(st.permutations(sorted(histories)))
            keys = keys[: data.draw(st.integers(0, len(keys)))]
            inputs = {key: next(symbols) for key in keys}
            for key, step in streams.step(inputs).items():
                histories[key].append(inputs[key])
                outputs[key].append(step)
        assert sorted(streams) == sorted(histories)
        assert len(streams) == len(histories)
    for history, steps in [*ended, *((histories[k], outputs[k]) for k in histories)]:
        assert len(history) == len(steps)
        if steps:
            assert_same("logits", stack_logits(steps), whole(trained, history), torch.float32)


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_many_wide_streams_on_many_threads(cell: str) -> None:
    """Sizes at which threads share the rows, the units and the head."""
    trained = untrained("next", cell=cell, hidden_size=150, num_layers=2)
    trained.network.head = HEADS["softmax"](150, trained.network.sizes.outputs)
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        streams = trained.streams(40)
        texts = {key: sequence(trained, 3, seed=key) for key in streams}
        steps = [streams.step({key: text[t] for key, text in texts.items()}) for t in range(3)]
    finally:
        torch.set_num_threads(threads)
    for key, text in texts.items():
        assert_same("logits", stack_logits([step[key] for step in steps]), whole(trained, text), torch.float32)


def test_streams_in_parallel_threads_equal_one_stream() -> None:
    trained = untrained("next", cell="lstm", hidden_size=64)
    text = sequence(trained, 200)
    expected = stack_logits(trained.stream().read(text))
    logits: dict[int, Tensor] = {}

    def run(number: int) -> None:
        stream = trained.stream()
        logits[number] = stack_logits([stream.step(symbol) for symbol in text])

    threads = [threading.Thread(target=run, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(logits) == 4
    for row in logits.values():
        assert_same("logits", row, expected, torch.float32)


def test_the_label_is_the_generated_symbol() -> None:
    trained = untrained("next words", cell="gru")
    stream, text = trained.stream(), ["the", "cat"]
    label = stream.read(text)[-1].label
    for symbol in trained.generate(text, length=8, temperature=0):
        assert symbol == label
        label = stream.step(symbol).label


def test_text_is_split_as_in_training() -> None:
    by_letter, by_word = untrained("label"), untrained("words")
    assert len(by_letter.stream().read("abe\u0301")) == 3  # e and its accent are one symbol, as é is
    assert len(by_word.stream().read("the  cat")) == 2
    assert not by_letter.stream().step("e\u0301").unknown
    assert by_word.stream().step("unheard of").unknown


def test_rows_by_name_equal_rows_in_order() -> None:
    trained = untrained("next_row", cell="gru")
    in_order, by_name = trained.stream(), trained.stream()
    for row in ([1.0, 2.0, 3.0], [4, 5, 6]):
        named = dict(zip(("day", "slope", "height"), row[::-1], strict=True))
        assert in_order.step(row).row.tolist() == by_name.step(named).row.tolist()


@pytest.mark.parametrize("settings", [{}, {"bigram_size": 4}])
def test_bidirectional_models_are_refused(settings: dict[str, Any]) -> None:
    trained = untrained("label", bidirectional=True, **settings)
    more = " and `bigram_size=0`" if settings else ""
    with pytest.raises(InputError, match=f"is bidirectional, so it has no output .* `bidirectional=False`{more}$"):
        trained.stream()
    with pytest.raises(InputError, match="is bidirectional"):
        trained.streams(3)


def test_a_forecast_of_whole_series_has_no_stream() -> None:
    with pytest.raises(InputError, match="task is forecast, which reads whole series, so it has no stream"):
        untrained("forecast").stream()


@pytest.mark.parametrize(
    ("symbol", "message"),
    [
        ("ab", r"reads one symbol, and 'ab' is 2: `read` takes many"),
        ("", "the text is empty"),
        ("a" * 1000, "and 'aaaaaaaaaaaaaaaaaaa…' is 1000"),
        ("\ud800", "not UTF-8"),
        ("y", "symbol 'y' was not seen in training; the 8 seen are 'a' 'b'"),
        (7, "a step reads one symbol, not int: give it as a string"),
        (None, "not NoneType"),
    ],
)
def test_wrong_symbols_advance_no_stream(symbol: Any, message: str) -> None:
    trained = untrained("label", unknowns=False)
    streams = trained.streams(2)
    before = [streams.state(key) for key in streams]
    for call in (lambda: streams.step({0: "a", 1: symbol}), lambda: streams.check(symbol)):
        with pytest.raises(InputError, match=message) as caught:
            call()
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError):
        streams.read(1, ["a", symbol])
    assert [streams.state(key) for key in streams] == before


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ([1.0, 2.0], "a row of 3 numbers: height, slope, day"),
        ([1.0, 2.0, float("nan")], "column day is nan, not a finite number"),
        ([float("inf"), 2.0, 3.0], "column height is inf"),
        ([1e300, 2.0, 3.0], r"column height is 1e\+300, not a finite number in range"),
        ([10**400, 2.0, 3.0], "a row of 3 numbers"),
        ("abc", "a row of 3 numbers"),
        ([[1.0], [2.0], [3.0]], "a row of 3 numbers"),
        ({"height": 1, "slope": 2}, "has the columns height, slope, day, not height, slope$"),
        ({"height": 1, "slope": 2, "day": "x"}, "a row of 3 numbers"),
        (None, "a row of 3 numbers"),
    ],
)
def test_wrong_rows_leave_the_state(row: Any, message: str) -> None:
    stream = untrained("next_row").stream()
    before = stream.state()
    with pytest.raises(InputError, match=message):
        stream.step(row)
    assert stream.state() == before


def test_missing_streams_are_refused() -> None:
    trained = untrained("label")
    streams = trained.streams(1)
    streams.leave(0)
    for call in (
        lambda: streams.step({0: "a"}),
        lambda: streams.read(0, "a"),
        lambda: streams.state(0),
        lambda: streams.leave(0),
        lambda: streams.reset(0),
        lambda: streams.steps(0),
        lambda: streams[0],
    ):
        with pytest.raises(InputError, match="there is no stream 0: it left, or never joined"):
            call()
    with pytest.raises(InputError, match="nothing to read"):
        streams.read(streams.join(), [])
    streams.join()
    with pytest.raises(InputError, match="there is no stream True"):
        streams.step({True: "a"})  # not sequence 1


@pytest.mark.parametrize("cell", CELLS)
def test_a_state_continues_in_another_process(cell: str) -> None:
    trained = untrained("next", cell=cell, num_layers=1 if cell.endswith(LOOP) else 2)
    text = sequence(trained, 20)
    stream = trained.stream()
    stream.read(text[:9])
    state = stream.state()
    expected = [stream.step(symbol).logits.tolist() for symbol in text[9:]]
    again = untrained("next", cell=cell, num_layers=1 if cell.endswith(LOOP) else 2).stream()
    again.restore(state)
    assert again.steps == 9
    assert again.state() == state
    assert [again.step(symbol).logits.tolist() for symbol in text[9:]] == expected
    again.reset()
    assert again.state() == trained.stream().state()


def test_a_state_of_another_model_is_refused() -> None:
    state = untrained("next").stream().state()
    for other in (untrained("next", seed=1), untrained("label"), untrained("next", unknowns=False)):
        with pytest.raises(InputError, match=r"^the state belongs to another model, or to other weights of this one$"):
            other.stream().restore(state)


def forge_state(trained: TrainedModel, metadata: dict[str, Any] | None = None, **tensors: Tensor | None) -> bytes:
    """A state with a correct checksum and some wrong contents; None leaves an entry out."""
    L, H = trained.network.settings.num_layers, trained.network.settings.hidden_size
    entries: dict[str, Tensor | None] = {"h": torch.zeros(L, H), "c": torch.zeros(L, H), **tensors}
    header = {"format": FORMAT, "model": trained.identity, "steps": "3", **(metadata or {})}
    present = {name: value for name, value in entries.items() if value is not None}
    return bytes(serialize_tensors(present, {k: v for k, v in header.items() if v is not None}))


@pytest.mark.parametrize(
    ("metadata", "tensors", "message"),
    [
        ({"format": "ohlol stream 2"}, {}, "was not written by a stream of this version"),
        ({"steps": "-1"}, {}, "was not written by a stream"),
        ({"steps": "٣"}, {}, "was not written by a stream"),
        ({"steps": None}, {}, "was not written by a stream"),
        ({"steps": "1" * 19}, {}, "was not written by a stream"),
        ({"model": "0" * 64}, {}, "belongs to another model"),
        ({}, {"h": torch.zeros(2, 11)}, r"h is \(2, 11\) .*; this model has \(1, 11\)"),
        ({}, {"h": torch.zeros(1, 11).double()}, "h is .*float64"),
        ({}, {"c": None}, "the weight 'c' is missing"),
        ({}, {"x": torch.zeros(1)}, "the weight 'x' is unknown"),
        ({}, {"h": torch.full((1, 11), torch.nan)}, "h holds values that are not finite"),
        ({}, {"c": torch.full((1, 11), torch.inf)}, "c holds values that are not finite"),
        ({}, {"h": torch.full((1, 11), 1.01)}, "no sequence of 3 steps leads to"),
        ({}, {"c": torch.full((1, 11), -7.0)}, "no sequence of 3 steps leads to"),
        ({"steps": "0"}, {"c": torch.full((1, 11), 3e38)}, "no sequence of 0 steps leads to"),
        ({"note": "x" * 10**6}, {}, "bytes; one of this model has at most"),
    ],
)
def test_forged_states_are_refused(metadata: dict[str, Any], tensors: dict[str, Any], message: str) -> None:
    trained = untrained("label", cell="lstm")
    stream = trained.stream()
    stream.restore(forge_state(trained))
    assert stream.steps == 3
    before = stream.state()
    with pytest.raises(InputError, match=message) as caught:
        stream.restore(forge_state(trained, metadata, **tensors))
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("the state")
    assert stream.state() == before


def test_damaged_states_are_refused() -> None:
    """Every byte changed, every length truncated, and a file without a checksum."""
    trained = untrained("label", cell="gru", hidden_size=3)
    stream = trained.stream()
    stream.read("abc")
    state = stream.state()
    hostile = [state[:n] for n in range(len(state))]
    hostile += [state[:i] + bytes([state[i] ^ 1 << i % 8]) + state[i + 1 :] for i in range(len(state))]
    hostile += [state + b"\0", b"", b"[]" * 40, (1 << 63).to_bytes(8, "little") + state[8:]]
    hostile.append(save({"h": torch.zeros(1, 3)}, {"format": FORMAT, "model": trained.identity, "steps": "3"}))
    deep = b"[" * 2000
    hostile.append(len(deep).to_bytes(8, "little") + deep)
    for data in hostile:
        with pytest.raises(InputError, match=r"^the state"):
            stream.restore(data)
    assert stream.state() == state


def test_a_saved_state_has_the_specified_format() -> None:
    trained = untrained("label", cell="lstm", num_layers=2)
    stream = trained.stream()
    stream.read("abc")
    state = stream.state()
    header = json.loads(state[8 : 8 + int.from_bytes(state[:8], "little")])
    metadata = header.pop("__metadata__")
    assert metadata | {"sha256": ""} == {"format": FORMAT, "model": trained.identity, "steps": "3", "sha256": ""}
    assert {name: (entry["dtype"], entry["shape"]) for name, entry in header.items()} == {
        "h": ("F32", [2, 11]),
        "c": ("F32", [2, 11]),
    }


def test_the_kernel_refuses_wrong_arguments(kernels: bool) -> None:
    if not kernels:
        pytest.skip("of the kernels only")
    layer = torch.nn.GRU(3, 4)
    stepper = ops.BatchStepper(list(layer.parameters()), ops.LayerSpec("gru"))
    h = torch.zeros(2, 1, 4)
    for slots in ([], [2], [-1]):
        with pytest.raises((ValueError, IndexError), match="there are"):
            stepper.step(slots, torch.zeros(len(slots), 3), h)
    for x in (torch.zeros(1, 4), torch.zeros(1, 3).double(), torch.zeros(1, 6)[:, ::2], [0]):
        with pytest.raises(ValueError, match=r"a step reads \(1, 3\) numbers|there is no table"):
            stepper.step([0], x, h)
    by_id = ops.BatchStepper(list(layer.parameters()), ops.LayerSpec("gru"), torch.zeros(5, 12))
    for ids in ([5], [-1]):
        with pytest.raises(IndexError, match="is out of range: there are 5"):
            by_id.step([0], ids, h)
    with pytest.raises(ValueError, match="2 ids for 1"):
        by_id.step([0], [0, 1], h)
    for wrong in (torch.zeros(2, 2, 4), torch.zeros(2, 1, 4).double(), torch.zeros(2, 1, 8)[:, :, ::2]):
        with pytest.raises(ValueError, match="states are"):
            by_id.step([0], [0], wrong)
    with pytest.raises(ValueError, match="this cell has no cell state"):
        by_id.step([0], [0], h, h)


def test_a_trained_model_streams() -> None:
    trained = ohlol.fit([("hello", "ohlol")], seed=1)
    stream = trained.stream()
    assert "".join(stream.step(symbol).label for symbol in "hello") == "ohlol"
