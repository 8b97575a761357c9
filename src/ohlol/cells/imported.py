"""Cells of the user, imported by name: `package.module:Class`.

Importing runs code, so it happens only where the caller gives the name; a name that was read from a file is looked up
among the cells that are registered.
"""

import inspect
import os
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import Any, cast

import torch

from ohlol.cells.base import CELLS, CellSpec, register
from ohlol.utils.errors import InputError, describe_user_error, shorten
from ohlol.utils.translation import join_list


def import_cell(name: str) -> CellSpec:
    """Import a cell and register it under this name; a cell that is registered already is returned.

    The module is imported with the current directory first on `sys.path`. Its states are named by `name_states`.

    Args:
        name: the name of a registered cell, or `package.module:Class`. `Class(input_size, hidden_size)` makes the cell,
            a module with `forward(x, state)`, as `ohlol.nn.Recurrent` takes it.

    Raises:
        InputError: the name has another form, the import fails, or there is no such class.

    >>> import_cell("gru") is CELLS["gru"]
    True
    """
    check_cell_name(name)
    if name in CELLS:
        return CELLS[name]
    module_name, _, attribute = name.partition(":")
    module = _import_module(name, module_name)
    make: Any = getattr(module, attribute, None)
    if make is None:
        where = f" ({module.__file__})" if getattr(module, "__file__", None) else ""
        raise InputError(
            "`cell` {name}: the module {module_name}{where} has no {attribute}",
            name=name,
            module_name=module_name,
            where=where,
            attribute=attribute,
        )
    if isinstance(make, type) and not issubclass(make, torch.nn.Module):
        raise InputError("`cell` {name}: {attribute} is not a class of torch.nn.Module", name=name, attribute=attribute)
    if isinstance(make, torch.nn.Module) or not callable(make):
        raise InputError(
            "`cell` {name}: {attribute} is an object of type {type}, not a class of torch.nn.Module",
            name=name,
            attribute=attribute,
            type=type(make).__name__,
        )
    try:
        inspect.signature(make).bind("input_size", "hidden_size")  # pyright: ignore[reportUnknownArgumentType]
    except TypeError as error:
        raise InputError(
            "`cell` {name} cannot be made as {attribute}(input_size, hidden_size): {error}",
            name=name,
            attribute=attribute,
            error=error,
        ) from None
    except ValueError:  # a builtin without a signature
        pass
    make = cast("Callable[[int, int], torch.nn.Module]", make)
    return register(CellSpec(name=name, module=make, states=()))


def select_cell(name: str) -> CellSpec:
    """The cell of a name that was read from a file; it is never imported.

    Raises:
        InputError: it is not registered; the message says how to name a cell that has to be imported.
    """
    check_cell_name(name)
    if name not in CELLS:
        raise InputError(
            "the cell {name} is code outside of ohlol, and reading a run imports none by itself: give `cell={name}`",
            name=name,
        )
    return CELLS[name]


def check_cell_name(name: str) -> None:
    """Check that a name is that of a registered cell, or has the form package.module:Class; raises InputError."""
    if name not in CELLS and not is_import_path(name):
        raise InputError(
            "`cell` is {name}; it must be one of {cells}, or package.module:Class",
            name=shorten(repr(name)),
            cells=join_list(CELLS),
        )


def is_import_path(name: str) -> bool:
    """Whether a name has the form package.module:Class.

    >>> is_import_path("cells.peephole:Peephole"), is_import_path("gru"), is_import_path("../x:y")
    (True, False, False)
    """
    module, separator, attribute = name.partition(":")
    return bool(separator) and attribute.isidentifier() and all(part.isidentifier() for part in module.split("."))


def _import_module(name: str, module: str) -> ModuleType:
    try:
        with _current_directory_on_path():
            return import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise _import_error(name, module, error) from error
        raise InputError(
            "`cell` {name}: there is no module {error_name} in the current directory or among the installed packages",
            name=name,
            error_name=error.name,
        ) from None
    except (Exception, SystemExit) as error:
        raise _import_error(name, module, error) from error


def _import_error(name: str, module: str, error: BaseException) -> InputError:
    return InputError(
        "`cell` {name}: importing {module} raised {error}", name=name, module=module, error=describe_user_error(error)
    )


@contextmanager
def _current_directory_on_path() -> Generator[None]:
    """Within it, modules of the current directory can be imported, as with `python -m`."""
    directory = os.getcwd()
    sys.path.insert(0, directory)
    try:
        yield
    finally:
        sys.path.remove(directory)
