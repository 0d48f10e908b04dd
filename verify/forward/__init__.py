"""The forward pass in NumPy: equations, time, layers, evaluation."""
