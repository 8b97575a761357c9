"""Search for settings, by optuna."""
