"""Recognition: the reader selected for a file, and its reason."""

import pytest

from data.reading import Write
from ohlol.config import DataSettings
from ohlol.data.lines import Lines
from ohlol.data.readers.base import READERS, Reader, default_reader, default_task, infer_reader
from ohlol.data.readers.columns import CLASS, SERIES
from ohlol.data.targets import TARGET_KINDS, TargetKind
from ohlol.utils.errors import InputError


@pytest.mark.parametrize(
    ("name", "content", "chosen", "format", "reason"),
    [
        ("a.tsv", "ab\tcd\n", {}, "pairs", "its first row has two columns of equal length"),
        ("a.conll", "ab\tcd\n", {}, "conll", "its name ends in .conll"),
        ("a.csv", "ab\tcd\n", {}, "columns", "its name ends in .csv"),
        ("a.arrow", "", {"task": "next"}, "columns", "its name ends in .arrow"),
        ("a.tsv", "ab\tcde\n", {}, "columns", "its name ends in .tsv"),
        ("a.txt", "ab\tcde\n", {}, "text", "it has the form of no other format"),
        ("a.txt", "ab\tcde\n", {"input": "1"}, "columns", "columns are chosen and its rows have columns"),
        ("a.txt", "ab\tcde\n", {"task": "label"}, "pairs", "the task label reads pairs"),
        ("a.txt", "ab\n", {"task": "classify"}, "columns", "the task classify reads columns"),
        ("a.conll", "ab\tcd\n", {"task": "next"}, "text", "it has the form of no other format"),
        ("a.jsonl", '{"input": "ab", "target": "cd"}', {}, "pairs", "its first object has an input and a target of"),
        ("a.jsonl", '{"input": "ab", "target": "c"}', {}, "columns", "its rows are JSON objects and not pairs"),
        ("a.txt", "\t".join("1bcdefghij"), {}, "conll", "its first row has the ten columns of CoNLL-U"),
    ],
)
def test_the_reader_and_the_reason(
    write: Write, name: str, content: str, chosen: dict[str, str], format: str, reason: str
) -> None:
    lines = Lines(write(name, content))
    reader, confidence = infer_reader(lines, DataSettings(**chosen))
    assert reader.name == format
    assert confidence.reason.startswith(reason)
    if name != "a.arrow":
        assert "\n".join(line.text for line in lines) == content.rstrip("\n")  # no line was consumed


def test_each_kind_of_targets_has_a_task_and_a_reader() -> None:
    assert (default_task(TargetKind()), default_reader("label").name) == ("label", "pairs")
    assert (default_task(CLASS), default_reader("classify").name) == ("classify", "columns")
    assert (default_task(SERIES), default_reader("next_row").name) == ("next_row", "columns")
    assert default_reader("next").name == "text"
    assert [name for name in READERS if READERS[name].serves("next")] == ["text"]


def test_a_reader_must_define_examples(write: Write) -> None:
    class Incomplete(Reader):
        name = "incomplete"
        targets = (TargetKind(),)

    reader = Incomplete()
    lines = Lines(write("a.txt", "x\n"))
    assert reader.recognize(lines, DataSettings()) is None
    assert reader.render(["a"], ["b"]) is None
    with pytest.raises(NotImplementedError, match="Incomplete does not define `examples`"):
        reader.open(lines, DataSettings(), with_targets=True)


def test_a_file_that_no_reader_of_the_task_recognizes(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    kind = TargetKind(per_sequence=True, numeric=True)
    monkeypatch.setattr(TARGET_KINDS, "_members", {**TARGET_KINDS, "regress texts": kind})
    with pytest.raises(InputError, match="its format is not recognized; choose it with `format`: pairs, conll"):
        infer_reader(Lines(write("a.txt", "x\n")), DataSettings(task="regress texts"))
