"""The language is that of the environment or of the context, and messages follow it."""

import os
import subprocess
import sys
import threading

import pytest

from ohlol.utils.errors import InputError
from ohlol.utils.translation import (
    LANGUAGES,
    choose_language,
    join_list,
    join_phrases,
    message_id,
    translate,
    use_language,
)

NO_FILE = "{path}: no such file"


@pytest.mark.parametrize(
    ("environment", "lang"),
    [
        ({}, "en"),
        ({"LANG": "zh_CN.UTF-8"}, "zh"),
        ({"LANG": "zh_TW"}, "zh"),
        ({"LANG": "de_DE.UTF-8"}, "en"),
        ({"LC_ALL": "C.UTF-8", "LANG": "zh_CN.UTF-8"}, "en"),
        ({"LC_ALL": "", "LC_MESSAGES": "zh_CN", "LANG": "en_US"}, "zh"),
        ({"OHLOL_LANG": "zh", "LC_ALL": "en_US.UTF-8"}, "zh"),
        ({"OHLOL_LANG": "en", "LANG": "zh_CN.UTF-8"}, "en"),
    ],
)
def test_the_environment_selects_the_language(environment: dict[str, str], lang: str) -> None:
    assert choose_language(None, environment) == lang
    assert choose_language("en", environment) == "en"


def test_an_unknown_language_is_refused() -> None:
    with pytest.raises(ValueError, match="`lang` is 'fr'; it must be one of en, zh"):
        choose_language("fr")
    with pytest.raises(ValueError, match="`lang` is 'fr'"), use_language("fr"):
        pass


def test_a_message_is_in_the_language_of_its_context() -> None:
    assert translate(NO_FILE, path="a.csv", lang="zh") == "a.csv: 没有此文件"
    assert translate(NO_FILE, path="a.csv") == "a.csv: no such file"
    with use_language("zh"):
        assert translate(NO_FILE, path="a.csv") == "a.csv: 没有此文件"
        assert str(InputError(NO_FILE, path="a.csv")) == "a.csv: 没有此文件"
        with use_language("en"):
            assert translate(NO_FILE, path="a.csv") == "a.csv: no such file"
        with use_language(None):
            assert choose_language() == "zh"
    assert choose_language() == "en"


def test_threads_and_processes_have_the_same_language() -> None:
    found: list[str] = []
    code = "from ohlol.utils.translation import choose_language; print(choose_language())"
    with use_language("zh"):
        thread = threading.Thread(target=lambda: found.append(choose_language()))
        thread.start()
        thread.join()
        found.append(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip())
    assert found == ["zh", "zh"]


def test_the_environment_is_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OHLOL_LANG", "en")
    with pytest.raises(KeyError), use_language("zh"):
        raise KeyError
    assert os.environ["OHLOL_LANG"] == "en"


def test_an_unknown_message_stays_english() -> None:
    assert [translate("not a message of ohlol", lang=lang) for lang in LANGUAGES] == ["not a message of ohlol"] * 2
    assert str(InputError("braces {stay} without values")) == "braces {stay} without values"


def test_a_value_that_is_a_message_is_translated_with_the_message() -> None:
    what = message_id("a PDF document: extract its text first")
    values: dict[str, object] = {"path": "a.pdf", "what": what}
    assert translate("{path}: is {what}", **values, lang="en") == "a.pdf: is a PDF document: extract its text first"
    with use_language("zh"):
        texts = [translate("{path}: is {what}", **values), str(InputError("{path}: is {what}", **values))]
        assert texts[0] == texts[1]
        assert translate(what) in texts[0]
        assert translate(what) != what
    count = message_id("Train", "a button")
    assert translate("{path}: is {what}", path="x", what=count, lang="zh").endswith("开始训练")


def test_lists_have_the_punctuation_of_the_language() -> None:
    assert (join_phrases("ab"), join_list("ab")) == ("a, b", "a, b")
    with use_language("zh"):
        assert (join_phrases("ab"), join_list("ab")) == ("a，b", "a、b")


def test_a_context_selects_a_translation() -> None:
    texts = {context: translate("Train", lang="zh", context=context) for context in ("a heading", "a button")}
    assert texts == {"a heading": "训练", "a button": "开始训练"}
    assert message_id("Train", "a button") == "Train"
