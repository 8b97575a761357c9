"""ohlol: recurrent networks you can read, train and ship.

>>> import ohlol
>>> model = ohlol.fit([("hello", "ohlol")], seed=1)
>>> "".join(model.predict("hello").labels)
'ohlol'
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ohlol.errors import InputError
    from ohlol.infer import TrainedModel, load
    from ohlol.nn import accelerate
    from ohlol.recipe import fit
    from ohlol.shape_doctor import doctor
    from ohlol.sweep import tune

__version__ = "0.1.0"
__all__ = ["InputError", "TrainedModel", "__version__", "accelerate", "doctor", "fit", "load", "tune"]

_HOMES = {
    "InputError": "errors",
    "TrainedModel": "infer",
    "accelerate": "nn",
    "doctor": "shape_doctor",
    "fit": "recipe",
    "load": "infer",
    "tune": "sweep",
}


def __getattr__(name: str) -> Any:
    """Import an export when it is first asked for, so that `import ohlol` does not wait for torch."""
    import importlib

    if name not in _HOMES:
        raise AttributeError(f"module 'ohlol' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"ohlol.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
