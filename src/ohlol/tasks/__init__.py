"""Tasks: what should come out of a sequence, and how good it is; one module a task."""
