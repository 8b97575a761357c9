"""The texts by key are in the catalogue in both languages, and every one is used."""

import re
import string
from pathlib import Path

import pytest

from ohlol.display import texts
from ohlol.utils.translation import LANGUAGES

SOURCES = Path(texts.__file__).parents[1]


def places(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


@pytest.mark.parametrize("key", texts.TEXTS)
def test_both_languages_have_the_same_placeholders(key: str) -> None:
    english, chinese = (texts.text(key, lang) for lang in LANGUAGES)
    assert english == texts.TEXTS[key]
    assert places(english) == places(chinese)
    assert re.search("[\u4e00-\u9fff]", chinese) or english == "epoch", f"{key} is not translated"
    assert not re.search("[\u4e00-\u9fff]", english)


def test_every_text_is_used() -> None:
    files = [file for kind in ("*.py", "*.html", "*.js") for file in SOURCES.rglob(kind)]
    code = "\n".join(file.read_text(encoding="utf-8") for file in files if file.name != "texts.py")
    used = set(re.findall(r"[\"'`>]([a-z_]+)[\"'`<]", code))
    used |= {
        key
        for key in texts.TEXTS
        if key.startswith(
            (
                *("loss_", "gate_", "state_", "measure_", "color_", "feature_", "curve_", "baseline", "study_"),
                *("confusion_", "packing_", "forecast_start", "run_start"),
            )
        )
    }  # keys that the code concatenates
    assert set(texts.TEXTS) <= used, sorted(set(texts.TEXTS) - used)


def test_a_context_tells_equal_texts_apart() -> None:
    for key, context in texts.CONTEXTS.items():
        assert context
        assert sum(text == texts.TEXTS[key] for text in texts.TEXTS.values()) > 1, key


def test_the_page_has_the_texts_in_both_languages() -> None:
    both = texts.texts_by_language()
    assert set(both) == set(LANGUAGES)
    assert both["en"] == texts.TEXTS
    assert both["zh"]["step"] == "第 {t} 步"
