"""The comparison of shown and real output, on small cases: it must detect every kind of difference."""

import pytest
from transcripts import Entry, differs, entries, shorten, with_blocks_of


@pytest.mark.parametrize(
    ("shown", "real"),
    [
        ("a\n...\nz", "a\nb\nc\nz"),
        ("loss 0.5000", "loss 0.5001"),
        ("... steps/s", "12,345 steps/s"),
        ("", ""),
    ],
)
def test_matching_output_is_accepted(shown: str, real: str) -> None:
    assert differs(Entry("console", "ohlol train", shown, 1), real) is None


@pytest.mark.parametrize(
    ("shown", "real"),
    [
        ("a\n...\nz", "a\nb\nc"),
        ("loss 0.5000", "loss 0.5100"),
        ("ohlol", "ohlox"),
        ("", "something"),
        ("a.b", "axb"),
    ],
)
def test_different_output_is_reported(shown: str, real: str) -> None:
    assert differs(Entry("console", "ohlol train", shown, 1), real)


def test_long_trainings_may_differ_a_little() -> None:
    entry = Entry("console", "ohlol train examples/words.csv --input word", "accuracy 80.00 %", 1)
    assert differs(entry, "accuracy 75.00 %") is None
    assert differs(entry, "accuracy 35.00 %")


def test_timings_may_differ_and_their_table_may_not() -> None:
    entry = Entry("console", "ohlol bench", " T  cell  torch, ms\n ───\n 5  rnn         1.23\n", 1)
    assert differs(entry, " T   cell   torch, ms\n ─────\n 15  rnn         12.3") is None
    assert differs(entry, " T   cell   torch, ms\n ─────\n 15  gru         12.3")


def test_new_output_is_shortened_where_the_old_one_was() -> None:
    old = "model: 10 weights\n...\nbest loss 0.5\n...\nsaved: runs/x"
    new = "model: 12 weights\nepoch 1\nepoch 2\nbest loss 0.4\nguessing 1.0\nsaved: runs/x"
    assert shorten(old, new) == "model: 12 weights\n...\nbest loss 0.4\n...\nsaved: runs/x\n"
    assert shorten("", "loss 1   1,234 steps/s") == "loss 1 ... steps/s\n"


def test_entries_are_parsed_and_copied_into_the_translation() -> None:
    text = "hello\n```console\n$ one\nx\n$ two\n```\n```python\nprint(1)  # 1\n```\n```\nnot run\n```\n"
    assert [(e.code, e.shown) for e in entries(text)] == [("one", "x\n"), ("two", ""), ("print(1)  # 1\n", "1\n")]
    assert with_blocks_of("你好\n```console\n$ old\n```\n", text) == "你好\n```console\n$ one\nx\n$ two\n```\n"
