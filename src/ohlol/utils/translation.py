"""The messages of the program in the user's language, from the catalogue in `locale`.

A message is written in English where it is used, as the argument of `translate`, or of `message_id` where it is
translated later. `docs/make_messages.py` collects the messages in `locale/zh/LC_MESSAGES/ohlol.po`, which holds their
translations, and compiles that file. An English plural ending is a placeholder whose name ends in `plural`, which a
translation leaves out. Data for machines, such as JSON, column names and keys, are never translated.
"""

import os
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from functools import cache
from gettext import GNUTranslations, NullTranslations
from pathlib import Path

LANGUAGES = ("en", "zh")
VARIABLES = ("OHLOL_LANG", "LC_ALL", "LC_MESSAGES", "LANG")
"""The environment variables that choose the language; the first that is set and not empty counts."""
CATALOGUES = Path(__file__).parent / "locale"


def choose_language(lang: str | None = None, environment: Mapping[str, str] | None = None) -> str:
    """Return `lang`, or the language of the environment where it is None.

    A Chinese locale gives Chinese, any other one English.

    Raises:
        ValueError: `lang` is not one of `LANGUAGES`.

    >>> choose_language(None, {"LANG": "zh_CN.UTF-8"}), choose_language(None, {"LC_ALL": "C", "LANG": "zh_CN"})
    ('zh', 'en')
    >>> choose_language("zh")
    'zh'
    """
    if lang is not None:
        if lang not in LANGUAGES:
            raise ValueError(f"`lang` is {lang!r}; it must be one of {', '.join(LANGUAGES)}")
        return lang
    environment = os.environ if environment is None else environment
    locale = next((environment[name] for name in VARIABLES if environment.get(name)), "")
    return "zh" if locale.lower().startswith("zh") else "en"


@contextmanager
def use_language(lang: str | None) -> Generator[None]:
    """Within it, messages are in this language, those of other threads and of processes that it starts, too.

    Args:
        lang: "en" or "zh"; None leaves the choice as it is.

    Raises:
        ValueError: `lang` is not one of `LANGUAGES`.
    """
    if lang is None:
        yield
        return
    name, before = VARIABLES[0], os.environ.get(VARIABLES[0])
    os.environ[name] = choose_language(lang)
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def translate(message: str, /, *, lang: str | None = None, context: str | None = None, **values: object) -> str:
    """Return a message in the user's language, with its placeholders filled in.

    Args:
        message: the English message, as a template of `str.format` where `values` are given.
        lang: "en" or "zh"; None is the language that `choose_language` returns.
        context: tells apart messages with the same English text and different translations.
        values: what the placeholders stand for, by name; those made by `message_id` are translated, too.

    >>> translate("{path}: no such file", path="data.csv", lang="en")
    'data.csv: no such file'
    """
    return fill_in(message, values, lang, context)


def fill_in(message: str, values: Mapping[str, object], lang: str | None = None, context: str | None = None) -> str:
    """Return a translated message with values, as `translate` does."""
    catalogue = _load_catalogue(choose_language(lang))
    context = message.context if context is None and isinstance(message, Message) else context
    text = catalogue.gettext(message) if context is None else catalogue.pgettext(context, message)
    shown = {name: fill_in(value, {}, lang) if isinstance(value, Message) else value for name, value in values.items()}
    return text.format(**shown) if shown else text


class Message(str):
    """An English message of the catalogue, which is translated where it is used or a value of another message."""

    context: str | None = None


def message_id(message: str, /, context: str | None = None) -> str:
    """Return the message as it is; it is collected for the catalogue, and translated where it is used.

    >>> translate("{path}: is {what}", path="a.xls", what=message_id("a PDF document"), lang="en")
    'a.xls: is a PDF document'
    """
    result = Message(message)
    result.context = context
    return result


def join_phrases(phrases: Iterable[str]) -> str:
    """Phrases with the comma of the user's language between them."""
    return translate(", ").join(phrases)


def join_list(names: Iterable[str]) -> str:
    """Names as a list in the user's language."""
    return translate(message_id(", ", "between names")).join(names)


@cache
def _load_catalogue(lang: str) -> NullTranslations:
    path = CATALOGUES / lang / "LC_MESSAGES" / "ohlol.mo"
    if lang == LANGUAGES[0]:
        return NullTranslations()
    with path.open("rb") as file:
        return GNUTranslations(file)
