"""Compute the forward pass in NumPy: equations, time, layers, evaluation."""
