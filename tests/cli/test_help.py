"""Every command takes `--lang`; under zh its help, its output and its errors are Chinese, and `--json` is not."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from ohlol import cli
from ohlol.cli import app
from ohlol.cli.flags import commands_of
from ohlol.cli.help import default_text, range_text, translate_usage_error, value_name
from ohlol.utils.translation import use_language

Run = Callable[..., tuple[int, str, str]]
SENTENCE = re.compile(r"[A-Za-z][a-z']+(?: [a-z]{2,}){3}")
"""Four English words in a row, which are no name in a program."""
FOREIGN = re.compile(r"^Predicted string: .*$|(?:Runtime|Value)Error:[^→\u4e00-\u9fff]*", re.MULTILINE)
"""The tutorial's own line, and the errors of torch."""


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")

    def run(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as exit:
            cli.main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return int(exit.value.code or 0), out, err

    return run


def is_chinese(text: str) -> bool:
    return bool(re.search("[\u4e00-\u9fff]", text)) and not SENTENCE.search(FOREIGN.sub("", text))


@pytest.mark.parametrize("command", ["", *commands_of(app)])
def test_the_help_is_chinese_and_complete(run: Run, command: str) -> None:
    status, out, err = run("--lang", "zh", *filter(None, [command]), "--help")
    assert (status, err) == (0, "")
    assert is_chinese(out)
    assert "…" not in out  # nothing is cut off
    assert "--lang TEXT" in out
    text = re.sub(r"\W", "", out)
    with use_language("zh"):
        parameters = commands_of(app)[command].params if command else []
    for parameter in parameters:
        assert parameter.opts[0] in out or parameter.param_type_name == "argument"
        assert re.sub(r"\W", "", parameter.help)[:8] in text


@pytest.mark.parametrize("command", ["", *commands_of(app)])
def test_the_help_has_every_name_and_no_broken_note(run: Run, command: str) -> None:
    status, out, err = run(*filter(None, [command]), "--help")
    assert (status, err) == (0, "")
    assert "-h, --help " in out
    assert "...]..." not in out
    assert "…" not in out
    parameters = commands_of(app)[command].params if command else []
    for parameter in parameters:
        assert value_name(parameter) in out
        assert all(name in out for name in (*parameter.opts, *parameter.secondary_opts) if name.startswith("-"))
        for note in (range_text(parameter), default_text(parameter) and f"default: {default_text(parameter)}"):
            assert not note or f"[{note}]" in out


def test_the_last_language_of_several_counts(run: Run) -> None:
    assert run("--lang", "zh", "shapes", "rnn", "--lang", "en") == run("shapes", "rnn")


def test_the_option_may_stand_before_or_after_the_command(run: Run) -> None:
    chinese = run("--lang", "zh", "shapes", "rnn")
    assert run("shapes", "rnn", "--lang", "zh") == run("shapes", "rnn", "--lang=zh") == chinese
    assert is_chinese(chinese[1])
    assert run("--lang", "en", "shapes", "rnn") == run("shapes", "rnn") != chinese


def test_a_language_alone_shows_the_commands_as_nothing_does(run: Run) -> None:
    for language in ("en", "zh"):
        status, out, err = run("--lang", language)
        assert (status, err) == (2, "")
        assert out == run("--lang", language, "--help")[1]


def test_a_language_that_is_none_is_refused(run: Run) -> None:
    for arguments in (("--lang", "fr", "shapes", "rnn"), ("shapes", "rnn", "--lang", "fr")):
        assert run(*arguments) == (2, "", "ohlol: --lang is 'fr'; it must be one of en, zh\n")


def test_the_environment_chooses_the_language(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OHLOL_LANG", "zh")
    assert run("train", "missing.tsv") == (2, "", "ohlol: missing.tsv: 没有此文件\n")
    assert run("--lang", "en", "train", "missing.tsv")[2] == "ohlol: missing.tsv: no such file\n"


def test_the_main_commands_speak_chinese(run: Run) -> None:
    words = "\n".join(["word,language", *(f"{word},{kind}" for word, kind in ROWS)])
    Path("words.csv").write_text(words + "\n")
    columns = ("--input", "word", "--target", "language")
    commands: list[tuple[object, ...]] = [
        ("train", "--seed", 1, "--out", "r1"),
        ("train", "words.csv", *columns, "--epochs", 2, "--hidden-size", 4, "--out", "r2", "--deterministic"),
        ("evaluate", "r2", "words.csv"),
        ("explain", "r1", "hello"),
        ("explain", "r1", "hello", "--step", 1),
        ("data", "words.csv", *columns),
        ("shapes", "lstm", "--num-layers", 2, "--bidirectional"),
        ("shapes", "grucell"),
        ("shapes", "gru", "--lengths", "3,1,2"),
        ("plot", "r1"),
        ("prove", "--cell", "gru"),
    ]
    for command in commands:
        status, out, err = run(*command, "--lang", "zh")
        assert status == 0, err
        assert is_chinese(out), f"{command}: {out}"
        assert not SENTENCE.search(err), err


ROWS = [("hello", "en"), ("world", "en"), ("haus", "de"), ("baum", "de"), ("chien", "fr"), ("chat", "fr")] * 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("train", "--lr", "0"), "--lr 为 0.0；必须大于 0"),
        (("train", "--qq"), "没有这个选项：--qq"),
        (("nonsense",), "没有这个命令：'nonsense'。"),
        (("evaluat",), "没有这个命令：'evaluat'。你是否要输入 'evaluate'？"),
        (("evaluate",), "缺少参数 'RUN'。"),
        (("train", "--epochs", "x"), "'--epochs' 的值无效：应为整数，无法解析输入"),
        (("predict", "r", "--n-best", "0"), "'--n-best' 的值无效：应不小于 1"),
        (("train", "--lr"), "选项 '--lr' 需要一个值。"),
        (("shapes", "rnn", "--lengths", "0"), "--lengths 中有 0；为了图能放下，长度应为 1 到 16"),
    ],
)
def test_errors_are_chinese_and_name_flags(run: Run, arguments: tuple[str, ...], message: str) -> None:
    assert run("--lang", "zh", *arguments) == (2, "", f"ohlol: {message}\n")


def test_data_for_machines_are_not_translated(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "zh_CN.UTF-8")
    Path("words.csv").write_text("word,language\n" + "\n".join(map(",".join, ROWS)) + "\n")
    status, out, _ = run("data", "words.csv", "--input", "word", "--target", "language", "--json")
    assert status == 0
    assert json.loads(out)["reading"].startswith("words.csv: columns (its name ends in .csv), task classify")
    Path("wrong.py").write_text(
        "import torch\nrnn = torch.nn.LSTM(4, 3, bidirectional=True)\n"
        "output, (h, c) = rnn(torch.zeros(5, 2, 4))\nlast = torch.cat([h[-1], h[-1]], dim=1)\n"
    )
    (finding,) = json.loads(run("review", "wrong.py", "--json")[1])["findings"]
    assert finding["message"].startswith("Both halves are the same direction.")
    (finding,) = json.loads(run("review", "wrong.py", "--json", "--lang", "zh")[1])["findings"]
    assert finding["message"].startswith("两半取的是同一个方向。")


def test_a_message_of_typer_that_is_not_known_stays() -> None:
    with use_language("zh"):
        assert translate_usage_error("Something else.") == "Something else."
