"""Estimators of scikit-learn, which `interop/sklearn.py` defines."""

from ohlol.interop.sklearn import Forecaster, SequenceClassifier, SequenceRegressor, SequenceTagger

__all__ = ["Forecaster", "SequenceClassifier", "SequenceRegressor", "SequenceTagger"]
