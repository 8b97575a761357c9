"""A value is rendered as HTML or as text by the implementation for its type."""

import subprocess
import sys

import pytest

from ohlol.utils.rendering import to_html, to_text


def test_a_type_without_an_implementation_is_refused() -> None:
    with pytest.raises(TypeError, match="int cannot be shown as HTML"):
        to_html(3)
    with pytest.raises(TypeError, match="int cannot be shown as text"):
        to_text(3)


@pytest.mark.parametrize(
    "code",
    [
        "import ohlol; report = ohlol.shapes('rnn')",
        "from ohlol.explain.shapes import shapes; report = shapes('rnn')",
    ],
)
def test_the_renderers_are_loaded_on_the_first_html(code: str) -> None:
    code += (
        "; import sys; assert 'ohlol.display.notebook' not in sys.modules; assert '<b>RNN</b>' in report._repr_html_()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
