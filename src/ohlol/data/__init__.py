"""Data: from files to arrays; files are read by `readers` and encoded corpora are in `corpus`."""
