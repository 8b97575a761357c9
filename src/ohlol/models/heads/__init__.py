"""Heads: one module a head."""

from ohlol.models.heads import absolute, identity, quantile, regression, softmax
from ohlol.models.heads.base import HEADS, MEAN_LOSS, Head, LabelHead, LinearHead, LossOptions, register

__all__ = [
    "HEADS", "MEAN_LOSS", "Head", "LabelHead", "LinearHead", "LossOptions", "absolute", "identity", "quantile",
    "register", "regression", "softmax",
]  # fmt: skip
