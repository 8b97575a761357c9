"""The catalogue is complete in every language, and every text in it is used."""

import re
import string
from pathlib import Path

import pytest

from ohlol.display import translations
from ohlol.utils.errors import InputError

SOURCES = Path(translations.__file__).parents[1]


def places(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


@pytest.mark.parametrize("key", translations.TEXTS)
def test_both_languages_have_the_same_placeholders(key: str) -> None:
    english, chinese = translations.TEXTS[key]
    assert english.strip()
    assert chinese.strip()
    assert places(english) == places(chinese)
    assert re.search("[\u4e00-\u9fff]", chinese), f"{key} is not translated"
    assert not re.search("[\u4e00-\u9fff]", english)


def test_every_text_is_used() -> None:
    files = [file for kind in ("*.py", "*.html", "*.js") for file in SOURCES.rglob(kind)]
    code = "\n".join(file.read_text(encoding="utf-8") for file in files if file.name != "translations.py")
    used = set(re.findall(r"[\"'`>]([a-z_]+)[\"'`<]", code))
    used |= {
        key
        for key in translations.TEXTS
        if key.startswith(
            (
                *("loss_", "gate_", "state_", "measure_", "color_", "feature_", "curve_", "baseline", "study_"),
                *("confusion_", "packing_", "forecast_start", "run_start"),
            )
        )
    }  # keys that the code concatenates
    assert set(translations.TEXTS) <= used, sorted(set(translations.TEXTS) - used)


def test_the_page_has_the_same_catalogue() -> None:
    both = translations.catalogue()
    assert set(both) == set(translations.LANGUAGES)
    for k, lang in enumerate(translations.LANGUAGES):
        assert both[lang] == {key: texts[k] for key, texts in translations.TEXTS.items()}


@pytest.mark.parametrize(
    ("environment", "lang"),
    [
        ({}, "en"),
        ({"LANG": "zh_CN.UTF-8"}, "zh"),
        ({"LANG": "zh_TW"}, "zh"),
        ({"LANG": "de_DE.UTF-8"}, "en"),
        ({"LC_ALL": "C.UTF-8", "LANG": "zh_CN.UTF-8"}, "en"),
        ({"LC_ALL": "", "LC_MESSAGES": "zh_CN", "LANG": "en_US"}, "zh"),
    ],
)
def test_the_environment_selects_the_language(environment: dict[str, str], lang: str) -> None:
    assert translations.language(None, environment) == lang
    assert translations.language("en", environment) == "en"


def test_an_unknown_language_is_refused() -> None:
    with pytest.raises(InputError, match="`lang` is 'fr'; it must be one of en, zh"):
        translations.language("fr")
