"""Heads: one module a head."""

from ohlol.models.heads import absolute, identity, normal, quantile, regression, softmax, student_t
from ohlol.models.heads.base import HEADS, MEAN_LOSS, Head, LabelHead, LinearHead, LossOptions, register

__all__ = [
    "HEADS", "MEAN_LOSS", "Head", "LabelHead", "LinearHead", "LossOptions", "absolute", "identity", "normal",
    "quantile", "register", "regression", "softmax", "student_t",
]  # fmt: skip
