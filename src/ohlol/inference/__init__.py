"""Trained models: prediction, generation, forecasts and streaming."""
