"""A packed batch equals its sequences computed alone, and chunks with a carried state equal the whole."""

import re
from typing import Any

import numpy as np
import pytest
import torch
from helpers import CELLS, LOOP, cell_settings

from ohlol.config import ModelSettings
from ohlol.data.batches import ContiguousBatches, Dataset, Ragged, gather
from ohlol.evaluation.evaluate import carry_state, prediction_indices
from ohlol.models.inputs import PackedInputs, Sizes
from ohlol.models.reference import unroll_model
from ohlol.models.sequence_model import SequenceModel
from ohlol.nn.regularization import sequences_of_rows
from ohlol.utils.errors import InputError

LENGTHS = [3, 7, 1, 7, 4]
CLOSE = {"rtol": 1e-5, "atol": 1e-5}
KINDS = {
    "onehot": ({"embedding_size": 0}, Sizes(5, 4)),
    "embedding": ({"embedding_size": 6}, Sizes(5, 4)),
    "spelled": ({"embedding_size": 6, "char_rnn_size": 3}, Sizes(5, 4, chars=8)),
    "numbers": ({"head": "regression"}, Sizes(2, 2, numeric=True)),
    "forecasts": ({"head": "quantile"}, Sizes(4, 2, numeric=True, base=2)),
    "whole": ({"embedding_size": 6}, Sizes(5, 3, per_sequence=True)),
    "headless": ({"embedding_size": 6, "head": "identity"}, Sizes(5, 4)),
}
STACKS = [(1, False), (2, False), (1, True), (2, True)]


def dataset(kind: str, lengths: list[int] = LENGTHS) -> Dataset:
    random = np.random.default_rng(0)
    offsets = np.cumsum([0, *lengths], dtype=np.int64)
    total = int(offsets[-1])
    if kind in ("numbers", "forecasts"):
        columns = KINDS[kind][1].inputs
        return Dataset(Ragged(random.normal(size=(total, columns)).astype(np.float32), offsets))
    ids = random.integers(0, 5, total)
    word_chars = None
    if kind == "spelled":
        words = [random.integers(0, 8, n) for n in (2, 5, 1, 3, 3)]
        word_chars = Ragged(np.concatenate(words), np.cumsum([0, *map(len, words)], dtype=np.int64))
    return Dataset(Ragged(ids, offsets), word_ids=ids if word_chars else None, word_chars=word_chars)


def model_of(kind: str, **settings: Any) -> SequenceModel:
    options, sizes = KINDS[kind]
    torch.manual_seed(1)
    model = SequenceModel(ModelSettings(**{"hidden_size": 4, **options, **settings}), sizes)
    return model.eval()


def alone(model: SequenceModel, data: Dataset, row: int) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
    return model(PackedInputs.of(gather(data, np.array([row]))))


@pytest.mark.parametrize(
    ("kind", "cell", "layers", "both"),
    [
        (kind, cell, layers, both)
        for kind in KINDS
        for cell in CELLS[:3]
        for layers, both in STACKS
        if not (kind == "headless" and both)  # two directions would give twice the number of logits
    ],
)
@torch.no_grad()
def test_a_batch_of_a_layer_equals_its_sequences(kind: str, cell: str, layers: int, both: bool) -> None:
    compare(model_of(kind, cell=cell, num_layers=layers, bidirectional=both), dataset(kind))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cell", CELLS[3:])
@torch.no_grad()
def test_a_batch_of_a_loop_equals_its_sequences(kind: str, cell: str) -> None:
    compare(model_of(kind, **cell_settings(cell)), dataset(kind))


def compare(model: SequenceModel, data: Dataset) -> None:
    batch = gather(data, np.arange(len(data)))
    scores, state = model(PackedInputs.of(batch))
    for at, (row, steps) in enumerate(
        zip(batch.rows.tolist(), prediction_indices(batch, per_sequence=False), strict=True)
    ):
        expected, final = alone(model, data, row)
        logits = scores[at : at + 1] if model.sizes.per_sequence else scores[steps]
        torch.testing.assert_close(logits, expected, **CLOSE)
        for ours, theirs in zip(state, final, strict=True):
            torch.testing.assert_close(ours[:, at : at + 1], theirs, **CLOSE)
    assert not torch.allclose(scores[0], scores[-1])  # the sequences differ


@pytest.mark.parametrize("cell", CELLS)
@torch.no_grad()
def test_chunks_with_a_carried_state_equal_the_whole(cell: str) -> None:
    data = dataset("embedding", [38])
    model = model_of("embedding", **cell_settings(cell), num_layers=1 if cell.endswith(LOOP) else 2)
    whole = ContiguousBatches(data, 3, 100)
    assert len(whole) == 1
    expected, final = model(PackedInputs.of(whole[0]))
    chunks = ContiguousBatches(data, 3, 5)
    assert len(chunks) == 3
    state, found = None, {}
    for index in range(len(chunks)):
        batch = chunks[index]
        state = carry_state(state, len(batch.rows)) if batch.continues_previous else None
        scores, state = model(PackedInputs.of(batch), state)
        for row, steps in enumerate(prediction_indices(batch, per_sequence=False)):
            found.setdefault(row, []).append(scores[steps])
    for row, steps in enumerate(prediction_indices(whole[0], per_sequence=False)):
        torch.testing.assert_close(torch.cat(found[row]), expected[steps], **CLOSE)
    assert state is not None
    for ours, theirs in zip(state, final, strict=True):
        torch.testing.assert_close(ours[:, 0], theirs[:, 0], **CLOSE)


@pytest.mark.parametrize("cell", CELLS[:3])
def test_a_loop_equals_the_layer_of_the_same_weights(cell: str) -> None:
    layer, loop = model_of("embedding", cell=cell), model_of("embedding", cell=cell, loop=True)
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    weights = {k: v for k, v in layer.state_dict().items() if not k.startswith("layers.")}
    weights |= {f"layers.cell.{name}": layer.state_dict()[f"layers.{name}_l0"] for name in names}
    loop.load_state_dict(weights)
    batch = gather(dataset("embedding"), np.arange(len(LENGTHS)))
    wanted = torch.arange(sum(LENGTHS)) % 4
    for model in (layer, loop):
        scores, _ = model(PackedInputs.of(batch))
        torch.nn.functional.cross_entropy(scores, wanted).backward()
    with torch.no_grad():
        torch.testing.assert_close(loop(PackedInputs.of(batch))[0], layer(PackedInputs.of(batch))[0], **CLOSE)
    for name in names:
        ours, theirs = getattr(loop.layers.cell, name).grad, getattr(layer.layers, f"{name}_l0").grad
        torch.testing.assert_close(ours, theirs, **CLOSE)


def test_dropout_applies_in_training_only() -> None:
    model = model_of("embedding", dropout=0.5, embedding_dropout=0.5)
    packed = PackedInputs.of(gather(dataset("embedding"), np.arange(len(LENGTHS))))
    torch.testing.assert_close(model(packed)[0], model(packed)[0], rtol=0, atol=0)
    model.train()
    assert not torch.equal(model(packed)[0], model(packed)[0])


@pytest.mark.parametrize("kind", ["embedding", "spelled"])
def test_word_dropout_takes_whole_symbols_of_a_batch(kind: str) -> None:
    """The same symbol is dropped everywhere in the batch, and evaluation drops none; the logits follow the masks."""
    model = model_of(kind, word_dropout=0.5)
    packed = PackedInputs.of(gather(dataset(kind), np.arange(len(LENGTHS))))
    expected, _ = model(packed)
    torch.testing.assert_close(model(packed)[0], expected, rtol=0, atol=0)
    plain = model.encoder.embedding.weight.detach().clone()
    model.train()
    for seed in range(5):
        torch.manual_seed(seed)
        dropped, _ = model(packed)
        torch.manual_seed(seed)
        mask = torch.nn.functional.dropout(torch.ones(5, 1), 0.5)
        model.eval()
        with torch.no_grad():
            model.encoder.embedding.weight.copy_(plain * mask)
            torch.testing.assert_close(model(packed)[0], dropped, **CLOSE)
            model.encoder.embedding.weight.copy_(plain)
        model.train()
        assert not torch.allclose(dropped, expected)


@pytest.mark.parametrize("cell", [*CELLS[:3], "mgu", "reset_gru"])
def test_weight_dropout_changes_recurrent_weights_in_training_only(cell: str) -> None:
    model = model_of("embedding", cell=cell, weight_dropout=0.5)
    packed = PackedInputs.of(gather(dataset("embedding"), np.arange(len(LENGTHS))))
    torch.testing.assert_close(model(packed)[0], model_of("embedding", cell=cell)(packed)[0])
    model.train()
    logits, _ = model(packed)
    assert not torch.equal(logits, model(packed)[0])
    logits.sum().backward()
    shares = {name: float((p.grad == 0).float().mean()) for name, p in model.layers.named_parameters()}
    recurrent = {name for name in shares if re.search(r"hh_l|\.h[fhn]\.", name) and "bias" not in name}
    assert recurrent
    for name, share in shares.items():
        assert (share > 0.2) == (name in recurrent), (name, share)


def test_locked_dropout_has_the_same_mask_at_all_steps() -> None:
    model = model_of("embedding", dropout=0.5, locked_dropout=True).train()
    seen = []
    packed = PackedInputs.of(gather(dataset("embedding"), np.arange(len(LENGTHS))))
    model(packed, None, lambda hidden, dropped: seen.append((hidden, dropped)))
    ((hidden, dropped),) = seen
    zero = dropped == 0
    torch.testing.assert_close(dropped, torch.where(zero, 0.0, 2 * hidden))
    sequences = sequences_of_rows(packed.batch_sizes)
    for row, sequence in enumerate(sequences.tolist()):
        assert torch.equal(zero[row], zero[sequence])
    assert 0.2 < zero.float().mean() < 0.8
    assert model.encoder.dropout.locked


def test_bigrams_are_used() -> None:
    model = SequenceModel(
        ModelSettings(hidden_size=4, embedding_size=6, bigram_size=3, bidirectional=True), Sizes(5, 4, 0, 7)
    )
    ids, sizes = torch.tensor([1, 2, 3]), torch.tensor([1, 1, 1])
    one, two = torch.zeros(3, 2, dtype=torch.int64), torch.ones(3, 2, dtype=torch.int64)
    assert not torch.allclose(
        model(PackedInputs(ids, sizes, None, one))[0], model(PackedInputs(ids, sizes, None, two))[0]
    )
    with pytest.raises(ValueError, match="bigrams"):
        model(PackedInputs(ids, sizes))


def test_tied_weights_are_one_tensor() -> None:
    model = SequenceModel(ModelSettings(hidden_size=6, embedding_size=6, tie_weights=True), Sizes(5, 5))
    assert model.head.weight is model.encoder.embedding.weight
    assert sum(p.numel() for p in model.parameters()) == 5 * 6 + 5 + 4 * 6 * (6 + 6 + 2)


@pytest.mark.parametrize(
    ("settings", "sizes", "said"),
    [
        (
            {"cell": "gru", "loop": True, "num_layers": 2},
            Sizes(5, 4),
            "`cell` gru with `loop` runs one layer in one direction",
        ),
        ({"cell": "rnn", "loop": True, "bidirectional": True}, Sizes(5, 4), "runs one layer in one direction"),
        ({"head": "identity"}, Sizes(5, 4), "set `head` to softmax, or `hidden_size` to 4 in one direction"),
        ({"head": "regression"}, Sizes(5, 4), "`head` regression does not fit this task; it must be one of"),
        (
            {"head": "identity", "hidden_size": 4, "bidirectional": True},
            Sizes(5, 4),
            "the 8 hidden units are the logits",
        ),
        ({"tie_weights": True, "embedding_size": 5, "hidden_size": 6}, Sizes(5, 5), "`embedding_size` must be 6"),
        (
            {"tie_weights": True, "embedding_size": 6, "hidden_size": 6, "head": "identity"},
            Sizes(5, 6),
            "`head` a linear one",
        ),
        ({"embedding_size": 0, "char_rnn_size": 3}, Sizes(5, 4, chars=7), "set `embedding_size`"),
        ({"bigram_size": 3}, Sizes(5, 4, bigrams=7), "set `bidirectional=True`"),
        ({"word_dropout": 0.1, "embedding_size": 0}, Sizes(5, 4), "`word_dropout` drops symbols from an embedding"),
        ({"word_dropout": 0.1}, Sizes(5, 4, numeric=True, per_sequence=True), "and this model has none"),
        ({"weight_dropout": 0.1, "loop": True}, Sizes(5, 4), "`loop` calls a cell: leave one of them out"),
        ({"weight_dropout": 0.1, "cell": "mingru"}, Sizes(5, 4), "and `cell` mingru names none: leave it out"),
        (
            {"tie_weights": True, "embedding_size": 6, "hidden_size": 3},
            Sizes(5, 5),
            "must be 3 (output size times directions)",
        ),
    ],
)
def test_incompatible_settings_are_refused(settings: dict[str, Any], sizes: Sizes, said: str) -> None:
    with pytest.raises(InputError) as refused:
        SequenceModel(ModelSettings(**settings), sizes)
    assert said in str(refused.value)


def test_a_model_that_reads_characters_requires_them() -> None:
    with pytest.raises(ValueError, match="give PackedInputs with `word_chars`"):
        model_of("spelled")(PackedInputs.of(gather(dataset("embedding"), np.array([0]))))


@pytest.mark.parametrize("cell", [*CELLS[:3], "loop"])
@pytest.mark.parametrize("kind", ["onehot", "embedding"])
def test_wrong_ids_and_batch_sizes_are_refused(kind: str, cell: str) -> None:
    model = model_of(kind, **({"loop": True} if cell == "loop" else cell_settings(cell)))
    ids, sizes = torch.zeros(8, dtype=torch.int64), torch.tensor([3, 3, 2])
    assert model(PackedInputs(ids, sizes))[0].shape == (8, 4)
    for id in (5, 10**6, -1):
        with pytest.raises((IndexError, RuntimeError)):
            model(PackedInputs(torch.full_like(ids, id), sizes))
    for wrong in ([2, 4, 2], [2, 4, 0, 2], [2, 2, 2, 2, 2], [10, -2]):
        with pytest.raises((ValueError, RuntimeError)):
            model(PackedInputs(ids, torch.tensor(wrong)))


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_the_equations_add_the_forecasts_of_the_input(cell: str) -> None:
    torch.manual_seed(0)
    settings, sizes = KINDS["forecasts"]
    model = SequenceModel(ModelSettings(cell=cell, hidden_size=5, **settings), sizes).eval()
    x = torch.randn(6, sizes.inputs)
    expected, _ = model(PackedInputs(x, torch.ones(6, dtype=torch.int64)))
    logits, _ = unroll_model(model, x.double())
    torch.testing.assert_close(logits.float(), expected, **CLOSE)
    assert not torch.allclose(expected, model.head(model.hidden(x, torch.ones(6, dtype=torch.int64), None)[0]))
