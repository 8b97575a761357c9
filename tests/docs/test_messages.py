"""The catalogue of messages is complete, compiled, and has nothing that the program does not say."""

import ast
import importlib.util
import re
import string
from pathlib import Path
from types import ModuleType

import pytest

pytest.importorskip("babel")

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def messages() -> ModuleType:
    """docs/make_messages.py."""
    spec = importlib.util.spec_from_file_location("make_messages", ROOT / "docs/make_messages.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def places(text: str) -> set[tuple[str, str | None, str | None]]:
    """The placeholders of a template; the plural ending of an English word is left out in other languages."""
    found = ((name, conversion, form) for _, name, form, conversion in string.Formatter().parse(text) if name)
    return {place for place in found if not place[0].endswith("plural")}


def test_the_catalogue_has_the_messages_of_the_program_and_no_others(messages: ModuleType) -> None:
    catalogue = messages.read_catalogue()
    in_program = set(messages.collect_messages())
    in_catalogue = {(message.id, message.context) for message in catalogue if message.id}
    assert in_program - in_catalogue == set(), "run python docs/make_messages.py, and translate what it names"
    assert in_catalogue - in_program == set(), "run python docs/make_messages.py"
    assert messages.PO.read_bytes() == messages.to_po(messages.update(catalogue)), "run python docs/make_messages.py"


def test_the_catalogue_is_compiled(messages: ModuleType) -> None:
    compiled = messages.PO.with_suffix(".mo").read_bytes()
    assert compiled == messages.to_mo(messages.update(messages.read_catalogue())), "run python docs/make_messages.py"


def test_every_message_is_translated(messages: ModuleType) -> None:
    for message in messages.read_catalogue():
        if not message.id:
            continue
        assert message.string, message.id
        assert not message.fuzzy, message.id
        assert not re.search("[\u4e00-\u9fff]", message.id)
        words = re.sub(r"\{[^}]*\}|`[^`]*`", "", message.id)
        if re.search("[A-Za-z]", words) and message.id not in SAME:
            assert re.search("[\u4e00-\u9fff]", message.string), message.id


SAME = {
    "a Parquet",
    "an Arrow",
    "epoch",
    "epoch {epoch}/{epochs}{latest}",
    "epoch {number}",
    "host {host}, port {port}: {error}",
}
"""Messages without a Chinese word."""


def test_a_translation_has_the_placeholders_and_the_settings_of_its_message(messages: ModuleType) -> None:
    for message in messages.read_catalogue():
        if not message.id:
            continue
        assert places(message.id) == places(message.string), message.id
        settings = [sorted(re.findall("`[^`]*`", text)) for text in (message.id, message.string)]
        assert set(settings[0]) == set(settings[1]), message.id
        for text in (message.id, message.string):
            assert text == text.strip() or message.id[0] in " \n" or message.id[-1] == " ", text


def test_no_message_is_put_together_before_it_is_translated(messages: ModuleType) -> None:
    for file in sorted(messages.SOURCES.rglob("*.py")):
        text = file.read_text(encoding="utf-8")
        if not any(f"{name}(" in text for name in messages.FUNCTIONS):
            continue
        for call in ast.walk(ast.parse(text)):
            if not isinstance(call, ast.Call) or not call.args:
                continue
            name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
            place = messages.FUNCTIONS.get(name)
            if place is not None and len(call.args) > place:
                assert not isinstance(call.args[place], ast.JoinedStr | ast.BinOp), f"{file}:{call.lineno}"


def test_the_header_explains_the_terms(messages: ModuleType) -> None:
    comment = messages.read_catalogue().header_comment
    for term in ("hidden state", "time step", "batch size", "learning rate", "checkpoint", "run directory"):
        assert re.search(f"^# (.*, )?{term} ", comment, re.MULTILINE)
