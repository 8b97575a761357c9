"""`ohlol shapes --lengths` as text, page and JSON; bad input is one line."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from ohlol import cli
from ohlol.cli.shapes import parse_lengths
from ohlol.utils.errors import InputError

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            cli.main(["shapes", *arguments])
        assert isinstance(ended.value.code, int)
        return ended.value.code, *capsys.readouterr()

    return call


def test_the_languages(run: Command) -> None:
    status, english, err = run("gru", "--lengths", "2,5,3", "--lang", "en")
    assert (status, err) == (0, "")
    assert english.startswith("GRU: sequences of unequal lengths in one batch\n")
    status, chinese, err = run("gru", "--lengths", "2,5,3", "--lang", "zh")
    assert (status, err) == (0, "")
    assert chinese.startswith("GRU：一个批中的变长序列\n")


def test_json_and_a_page(run: Command, tmp_path: Path) -> None:
    status, out, err = run("rnn", "--lengths", "5,3,2", "--json", "--batch-first")
    assert (status, err) == (0, "")
    assert json.loads(out)["padded"][2] == ["c1", "c2", ".", ".", "."]
    assert run("rnn", "--lengths", "5,3,2", "--html", "a.html", "--lang", "zh")[:2] == (0, "已写入：a.html\n")
    assert '<html lang="zh">' in (tmp_path / "a.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--lengths 5,x", "`--lengths` is '5,x'; give integers separated by commas, such as 5,3,2"),
        ("--lengths 5,0", "`--lengths` has 0; a length is 1 to 16, so that the pictures fit"),
        ("--lengths 5,3 --seq-len 5", "`--seq-len` follows from `--lengths`; give one of them"),
        ("--html a.html", "`--html` is for the report of `--lengths`"),
        ("--lengths 2 --html a.html --json", "`--json` and `--html` exclude each other; give one of them"),
        ("--lengths 2 --html a.png", "a.png: "),
    ],
)
def test_bad_input_is_one_line(run: Command, flags: str, message: str) -> None:
    status, out, err = run("rnn", *flags.split())
    assert (status, out) == (2, "")
    assert message.replace("`", "") in err.replace("`", "")
    assert err.count("\n") == 1


@pytest.mark.parametrize("text", ["", ",", "5,,3", "-1", "5;3", "1.5", "9999999999"])
def test_lengths_that_are_no_integers(text: str) -> None:
    with pytest.raises(InputError, match="such as 5,3,2"):
        parse_lengths(text)
