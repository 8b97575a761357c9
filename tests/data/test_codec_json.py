"""A codec is unchanged by a JSON round trip, and damaged JSON is refused in one line."""

import json

import numpy as np
import pytest
from corpora import CORPORA

from ohlol.data.codec_encoding import encode_data
from ohlol.data.codec_fitting import fit_codec
from ohlol.data.codec_json import codec_from_json, codec_to_json
from ohlol.utils.errors import InputError


@pytest.mark.parametrize("unknowns", [False, True])
@pytest.mark.parametrize("name", CORPORA)
def test_json_round_trip(name: str, unknowns: bool) -> None:
    corpus = CORPORA[name]
    codec = fit_codec(corpus, unknowns=unknowns, with_chars=name == "words", with_bigrams=name == "label")
    again = codec_from_json(json.loads(json.dumps(codec_to_json(codec))))
    assert again == codec
    one, two = encode_data(codec, corpus), encode_data(again, corpus)
    assert np.array_equal(one.inputs.values, two.inputs.values)
    assert (one.word_ids is not None) == (name == "words")
    assert (one.bigrams is not None) == (name == "label")


BAD = [
    None,
    [],
    "text",
    {},
    {"task": "label"},
    {"task": "label", "symbols": {"symbols": ["a"], "counts": [1]}},
    {"task": "label", "symbols": {"symbols": ["a"], "counts": []}, "labels": {"symbols": ["a"], "counts": [1]}},
    {"task": "next", "symbols": {"symbols": ["a", "a"], "counts": [1, 1]}},
    {"task": "next", "symbols": {"symbols": [1], "counts": [1]}},
    {"task": "next_row", "columns": [{"name": "a", "mean": 0, "std": 0}], "target_columns": []},
    {"task": "next_row", "columns": [{"name": "a"}], "target_columns": []},
    {"task": "next_row", "columns": 3, "target_columns": []},
]


@pytest.mark.parametrize("data", BAD)
def test_invalid_codecs_are_refused(data: object) -> None:
    with pytest.raises(InputError) as refused:
        codec_from_json(data)
    assert "\n" not in str(refused.value)
