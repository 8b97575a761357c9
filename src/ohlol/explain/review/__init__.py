"""Common mistakes in a program with recurrent layers, found in its syntax tree or in the shapes of its tensors."""
