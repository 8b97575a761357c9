"""What every other package stands on: errors, files, locks, devices, processes, environment."""
