"""Trained models in use: prediction, generation, forecasts and streams."""
