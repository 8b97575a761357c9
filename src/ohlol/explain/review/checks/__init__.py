"""The checks; importing this package registers them in the order in which the documentation lists them."""

from ohlol.explain.review.checks import final_state, axes, padding, carried_state  # isort: skip
from ohlol.explain.review.checks import losses, training, evaluation, running  # isort: skip

__all__ = ["axes", "carried_state", "evaluation", "final_state", "losses", "padding", "running", "training"]
