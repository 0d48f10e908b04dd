"""Compare a model with the weights that another framework has for it, from a file."""
