"""Heads: one module a head."""

from ohlol.models.heads import absolute, crf, identity, quantile, regression, sigmoid, softmax
from ohlol.models.heads.base import HEADS, MEAN_LOSS, Head, LabelHead, LinearHead, LossOptions, register

__all__ = [
    "HEADS", "MEAN_LOSS", "Head", "LabelHead", "LinearHead", "LossOptions", "absolute", "crf", "identity",
    "quantile", "register", "regression", "sigmoid", "softmax",
]  # fmt: skip
