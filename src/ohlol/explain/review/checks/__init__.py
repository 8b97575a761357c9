"""The checks; importing this package registers them in the order in which the documentation lists them."""

from ohlol.explain.review.checks import axes, carried_state, final_state, losses, padding, training

__all__ = ["axes", "carried_state", "final_state", "losses", "padding", "running", "training"]
