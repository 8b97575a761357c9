"""ohlol: recurrent networks you can read, train and ship.

>>> import ohlol
>>> model = ohlol.fit([("hello", "ohlol")], seed=1)
>>> "".join(model.predict("hello").labels)
'ohlol'
"""

from typing import TYPE_CHECKING, Any

from ohlol.utils.version import __version__

if TYPE_CHECKING:
    from ohlol.inference.trained_model import TrainedModel, load
    from ohlol.nn import accelerate
    from ohlol.nn.shape_errors import check_shapes
    from ohlol.training.fit import fit
    from ohlol.tuning.search import tune
    from ohlol.utils.errors import InputError

__all__ = ["InputError", "TrainedModel", "__version__", "accelerate", "check_shapes", "fit", "load", "tune"]

_HOMES = {
    "InputError": "utils.errors",
    "TrainedModel": "inference.trained_model",
    "accelerate": "nn",
    "check_shapes": "nn.shape_errors",
    "fit": "training.fit",
    "load": "inference.trained_model",
    "tune": "tuning.search",
}


def __getattr__(name: str) -> Any:
    """Import an export when it is first asked for, so that `import ohlol` does not wait for torch."""
    import importlib

    if name not in _HOMES:
        raise AttributeError(f"module 'ohlol' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"ohlol.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
