"""Evaluate a model, and compare its loss with simple baselines."""
