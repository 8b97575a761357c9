"""Heads: one module a head."""

from ohlol.models.heads import (
    absolute,
    crf,
    identity,
    negative_binomial,
    normal,
    quantile,
    regression,
    sigmoid,
    softmax,
    student_t,
)
from ohlol.models.heads.base import HEADS, MEAN_LOSS, Head, LabelHead, LinearHead, LossOptions, register

__all__ = [
    "HEADS", "MEAN_LOSS", "Head", "LabelHead", "LinearHead", "LossOptions", "absolute", "crf", "identity",
    "negative_binomial", "normal", "quantile", "register", "regression", "sigmoid", "softmax", "student_t",
]  # fmt: skip
