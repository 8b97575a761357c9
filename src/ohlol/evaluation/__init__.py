"""Metrics, and the evaluation of a model on encoded data."""
