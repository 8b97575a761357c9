"""HTML for a notebook: one function that dispatches on the type of the value."""

import importlib
from functools import singledispatch

RENDERERS = "ohlol.display.notebook"
"""The module that registers an implementation of `to_html` for each type; it is imported on the first call."""


@singledispatch
def to_html(value: object) -> str:
    """Return a value as HTML, for its `_repr_html_`.

    The package `explain` must not import `display`, so that `display` registers what it can render here, and this
    function, which is called for a type that is not registered yet, imports it by name.

    Raises:
        TypeError: no implementation is registered for the type.
    """
    importlib.import_module(RENDERERS)
    if to_html.dispatch(type(value)) is to_html.dispatch(object):
        raise TypeError(f"{type(value).__name__} cannot be shown as HTML")
    return to_html(value)
