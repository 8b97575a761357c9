"""The text of packed sentences, and the states of language models in it compared with a loop over its characters."""

from copy import deepcopy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import ohlol
from ohlol.config import DataSettings
from ohlol.data.batches import gather
from ohlol.data.codec import Codec
from ohlol.data.codec_encoding import encode_data
from ohlol.data.codec_fitting import fit_codec
from ohlol.data.lines import Place
from ohlol.data.raw_data import RawData
from ohlol.inference.trained_model import TrainedModel
from ohlol.models import contextual
from ohlol.models.contextual import LINE_END, SPACE, ContextualVectors, LanguageModel, arrange_text
from ohlol.models.inputs import PackedInputs, WordChars

SENTENCES = [["a", "cat", "sat"], ["oslo"], ["the", "at", "a", "mat", "hat"], ["tac", "é☃"]]


def pack_words(sentences: list[list[str]]) -> tuple[Codec, PackedInputs, list[int]]:
    """Sentences as a model reads them, and the sentence of each sequence of the batch."""
    places = [Place("s", i) for i in range(len(sentences))]
    labels = [["x"] * len(sentence) for sentence in sentences]
    raw = RawData("label", DataSettings(task="label", level="word"), sentences, labels, places)
    codec = fit_codec(raw, unknowns=True, with_chars=True)
    batch = gather(encode_data(codec, raw), np.arange(len(sentences)))
    return codec, PackedInputs.of(batch), batch.rows.tolist()


def words_of(packed: PackedInputs) -> WordChars:
    assert packed.word_chars is not None
    return packed.word_chars


def steps_of(packed: PackedInputs) -> list[list[int]]:
    """The steps of each sequence of a batch, in order."""
    sizes = packed.batch_sizes.tolist()
    first = np.cumsum(sizes) - sizes
    return [[int(first[t]) + b for t, size in enumerate(sizes) if b < size] for b in range(sizes[0])]


@given(st.lists(st.lists(st.text("abcé", min_size=1, max_size=5), min_size=1, max_size=6), min_size=1, max_size=6))
@settings(max_examples=60, deadline=None)
def test_the_text_is_the_words_in_the_order_of_reading(sentences: list[list[str]]) -> None:
    codec, packed, rows = pack_words(sentences)
    assert codec.chars is not None
    names = dict(enumerate(codec.chars.symbols)) | {LINE_END: "\n", SPACE: " "}
    for is_reversed in (False, True):
        text = arrange_text(words_of(packed), packed.batch_sizes, reversed=is_reversed)
        sizes = text.batch_sizes
        first = np.cumsum(sizes) - sizes
        assert (np.diff(sizes) <= 0).all()
        read = [
            "".join(names[text.chars[first[t] + b]] for t in range(len(sizes)) if b < sizes[t]) for b in range(sizes[0])
        ]
        expected = [
            "\n" + " ".join(sentence) if not is_reversed else "\n" + " ".join(sentence)[::-1] for sentence in sentences
        ]
        assert sorted(read) == sorted(expected)
        ends = [[text.ends[step] for step in steps] for steps in steps_of(packed)]
        for row, own in zip(rows, ends, strict=True):
            last = [word[0] if is_reversed else word[-1] for word in sentences[row]]
            assert [names[text.chars[end]] for end in own] == last


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[TrainedModel]:
    folder = tmp_path_factory.mktemp("text")
    (folder / "text.txt").write_text("the cat sat on the mat\n" * 30)
    common = {"hidden_size": 7, "embedding_size": 5, "epochs": 1, "bptt": 16, "task": "next", "level": "char"}
    return [
        ohlol.fit(folder / "text.txt", cell="lstm", num_layers=2, **common),
        ohlol.fit(
            folder / "text.txt",
            cell="mgu",
            reversed=True,
            embedding_size=0,
            **{k: v for k, v in common.items() if k != "embedding_size"},
        ),
    ]


def plain_states(model: TrainedModel, words: list[str], *, reversed: bool) -> list[torch.Tensor]:
    """The output of a language model after the last character of each word, one character after the other."""
    vocab = model.codec.symbols
    assert vocab is not None
    outputs: list[torch.Tensor] = []
    state = None
    for word in words[::-1] if reversed else words:
        for char in (" " if outputs else "\n") + (word[::-1] if reversed else word):
            step = PackedInputs(torch.tensor([vocab.find(char) or 0]), torch.tensor([1]))
            with torch.no_grad():
                hidden, state = model.network.hidden(model.network.encoder(step), step.batch_sizes, state)
        outputs.append(hidden[0])
    return outputs[::-1] if reversed else outputs


@pytest.mark.parametrize("chunk", [1024, 3])
def test_states_are_those_of_a_plain_loop(
    models: list[TrainedModel], chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contextual, "TIME_CHUNK", chunk)
    codec, packed, rows = pack_words(SENTENCES)
    assert codec.chars is not None
    read: list[LanguageModel] = []
    for model, is_reversed in zip(models, (False, True), strict=True):
        assert model.codec.symbols is not None
        read.append(LanguageModel.of(model.network, is_reversed, codec.chars, model.codec.symbols))
    states = ContextualVectors(read)(words_of(packed), packed.batch_sizes)
    assert states.shape == (sum(map(len, SENTENCES)), 14)
    assert not states.requires_grad
    for row, steps in zip(rows, steps_of(packed), strict=True):
        for model, own in zip(models, states[steps].split(7, dim=1), strict=True):
            expected = torch.stack(plain_states(model, SENTENCES[row], reversed=model is models[1]))
            torch.testing.assert_close(own, expected, atol=1e-6, rtol=1e-5)


def test_a_character_that_a_language_model_has_not_seen_is_its_unknown_symbol(models: list[TrainedModel]) -> None:
    codec, _, _ = pack_words([["cat☃"]])
    assert codec.chars is not None
    vocab = models[0].codec.symbols
    assert vocab is not None
    lm = LanguageModel.of(models[0].network, False, codec.chars, vocab)
    names = [*codec.chars.symbols, SPACE, LINE_END]
    found = dict(zip(names, lm.ids.tolist(), strict=True))
    assert found["☃"] == found["<unk>"] == vocab.unk == 0
    assert [found[c] for c in ("c", "a", "t", SPACE, LINE_END)] == [vocab.find(c) for c in "cat \n"]
    assert lm.ids[LINE_END] == vocab.find("\n")
    assert lm.ids[SPACE] == vocab.find(" ")


def test_language_models_follow_a_model_to_another_dtype(models: list[TrainedModel]) -> None:
    codec, packed, _ = pack_words(SENTENCES)
    assert codec.chars is not None
    assert models[0].codec.symbols is not None
    lm = LanguageModel.of(deepcopy(models[0].network), False, codec.chars, models[0].codec.symbols)
    single = ContextualVectors([lm])(words_of(packed), packed.batch_sizes)
    double = ContextualVectors([lm]).apply(lambda t: t.double() if t.is_floating_point() else t)
    states = double(words_of(packed), packed.batch_sizes)
    assert states.dtype == torch.float64
    torch.testing.assert_close(states.float(), single, atol=1e-6, rtol=1e-5)
