"""Run directories: configuration, weights, saved states, metrics log and model card."""
