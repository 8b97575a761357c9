"""Run directories: configuration, weights, saved states and the model card."""
