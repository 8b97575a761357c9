"""What `explain` and `evaluation` find, shown in a terminal, on a page, in a notebook or as a figure."""
