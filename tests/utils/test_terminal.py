"""Control characters in text for a terminal."""

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.table import Table

from ohlol.utils.terminal import CONTROLS, EscapeHook, escape_controls, escape_symbol, print_data, print_message


class Terminal(io.StringIO):
    """A stream that claims to be a terminal."""

    def isatty(self) -> bool:
        return True


@given(st.text(st.characters(exclude_categories=[])))
def test_no_control_character_remains(text: str) -> None:
    assert not CONTROLS.search(escape_controls(text))
    assert all(c.isprintable() or c in "\u200c\u200d" for c in escape_symbol(text))
    escape_controls(text).encode("utf-8")


@given(st.text(st.characters(exclude_categories=["Cc", "Zl", "Zp", "Cs", "Cf"])))
def test_other_text_is_unchanged(text: str) -> None:
    assert escape_controls(text) == text


@given(st.text(st.characters(exclude_categories=[])))
def test_escaped_json_has_the_same_value(text: str) -> None:
    assert json.loads(escape_controls(json.dumps({"label": text}, ensure_ascii=False))) == {"label": text}


def test_data_are_escaped_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    file, terminal = io.StringIO(), Terminal()
    print_data("a\x1b[2J", file, end="")
    print_data("a\x1b[2J", terminal, end="")
    assert (file.getvalue(), terminal.getvalue()) == ("a\x1b[2J", "a\\x1b[2J")
    monkeypatch.setattr("sys.stdout", file := io.StringIO())
    print_message("a\x1b]0;title\x07")
    assert file.getvalue() == "a\\x1b]0;title\\x07\n"


def test_a_console_keeps_its_own_codes_and_escapes_those_in_data() -> None:
    terminal = Terminal()
    console = Console(file=terminal, force_terminal=True, color_system="standard", width=60)
    console.push_render_hook(EscapeHook())
    table = Table()
    table.add_column("label", style="green")
    table.add_row("x\x1b[31my")
    console.print(table)
    console.print("z\x9b1m", soft_wrap=True)
    assert "x\\x1b[31my" in terminal.getvalue()
    assert "z\\u009b1m" in terminal.getvalue()
    assert "\x1b[32m" in terminal.getvalue()
