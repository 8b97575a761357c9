"""The results of `explain` and `evaluation`, shown on a terminal, on a page, in a notebook or as a figure."""
