"""A value as HTML for a notebook, or as text for `print`: functions that dispatch on the type of the value.

The packages below `display` must not import it, so that `display` registers here what it can render. A function that is
called for a type that is not registered yet imports these modules by name.
"""

import importlib
from functools import singledispatch

RENDERERS = ("ohlol.display.notebook", "ohlol.display.class_report_text", "ohlol.display.backtest_text")
"""The modules that register an implementation of `to_html` or `to_text` for each type."""


@singledispatch
def to_html(value: object) -> str:
    """Return a value as HTML, for its `_repr_html_`.

    Raises:
        TypeError: no implementation is registered for the type.
    """
    _import_renderers()
    if to_html.dispatch(type(value)) is to_html.dispatch(object):
        raise TypeError(f"{type(value).__name__} cannot be shown as HTML")
    return to_html(value)


@singledispatch
def to_text(value: object) -> str:
    """Return a value as lines of text, for its `__str__`.

    Raises:
        TypeError: no implementation is registered for the type.
    """
    _import_renderers()
    if to_text.dispatch(type(value)) is to_text.dispatch(object):
        raise TypeError(f"{type(value).__name__} cannot be shown as text")
    return to_text(value)


def _import_renderers() -> None:
    for name in RENDERERS:
        importlib.import_module(name)
