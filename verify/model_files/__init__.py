"""Model files to a ModelSpec, without Keras and without trust."""
