"""Heads: one module a head."""

from ohlol.models.heads import identity, regression, softmax
from ohlol.models.heads.base import HEADS, Head, LabelHead, LinearHead, register

__all__ = ["HEADS", "Head", "LabelHead", "LinearHead", "identity", "register", "regression", "softmax"]
