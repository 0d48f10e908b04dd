"""Read model files into a ModelSpec, without Keras and without trusting the file."""
