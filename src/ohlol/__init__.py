"""ohlol: recurrent networks you can read, train and ship.

>>> import ohlol
>>> model = ohlol.fit([("hello", "ohlol")], seed=1)
>>> "".join(model.predict("hello").labels)
'ohlol'
"""

from typing import TYPE_CHECKING, Any

from ohlol.utils.version import __version__

if TYPE_CHECKING:
    from ohlol import cells, explain, nn
    from ohlol.data.sequences import interpret
    from ohlol.explain.equivalence import compare as prove
    from ohlol.explain.shapes import shapes
    from ohlol.explain.trace import trace
    from ohlol.inference.trained_model import TrainedModel, load
    from ohlol.nn import accelerate, restore
    from ohlol.nn.shape_errors import check_shapes
    from ohlol.training.callbacks import Callback
    from ohlol.training.fit import fit
    from ohlol.tuning.search import tune
    from ohlol.utils.errors import InputError

__all__ = [
    "Callback",
    "InputError",
    "TrainedModel",
    "__version__",
    "accelerate",
    "cells",
    "check_shapes",
    "explain",
    "fit",
    "interpret",
    "load",
    "nn",
    "prove",
    "restore",
    "shapes",
    "trace",
    "tune",
]

_MODULES = {
    "Callback": "training.callbacks",
    "InputError": "utils.errors",
    "TrainedModel": "inference.trained_model",
    "accelerate": "nn",
    "check_shapes": "nn.shape_errors",
    "fit": "training.fit",
    "interpret": "data.sequences",
    "load": "inference.trained_model",
    "prove": "explain.equivalence",
    "restore": "nn",
    "shapes": "explain.shapes",
    "trace": "explain.trace",
    "tune": "tuning.search",
}
"""The module of each export, imported on first use, so that `import ohlol` does not import torch."""
_PACKAGES = ("cells", "explain", "nn")
"""Packages that are exports themselves."""
_RENAMED = {"prove": "compare"}
"""Exports that have another name in their module."""


def __getattr__(name: str) -> Any:
    """Import an export on first use."""
    import importlib

    if name in _PACKAGES:
        return importlib.import_module(f"ohlol.{name}")
    if name not in _MODULES:
        raise AttributeError(f"module 'ohlol' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"ohlol.{_MODULES[name]}"), _RENAMED.get(name, name))
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public API, including exports that are not imported yet."""
    return sorted(__all__)
