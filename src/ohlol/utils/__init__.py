"""Errors, files, locks, devices, processes and the environment: what every other package uses."""
