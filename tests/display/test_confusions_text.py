"""The table of confusions."""

import io

from rich.console import Console

from ohlol.display.confusions_text import print_confusions


def test_confusions_are_printed_as_a_table() -> None:
    out = io.StringIO()
    print_confusions([("NOUN", "VERB", 12, 0.5), ("\n", " ", 3, 0.125)], Console(file=out, width=80))
    lines = [line.split() for line in out.getvalue().splitlines() if line.strip()]
    assert lines[0] == ["target", "predicted", "count", "of", "the", "target"]
    assert ["NOUN", "VERB", "12", "50.0", "%"] in lines
    assert ["\\n", "3", "12.5", "%"] in lines


def test_labels_are_not_markup() -> None:
    out = io.StringIO()
    print_confusions([("[/b]", "[bold]", 1, 1.0), (":smile:", "[link=x]y[/link]", 1, 1.0)], Console(file=out, width=80))
    rows = [line.split()[:2] for line in out.getvalue().splitlines() if line.strip()]
    assert ["[/b]", "[bold]"] in rows
    assert [":smile:", "[link=x]y[/link]"] in rows
