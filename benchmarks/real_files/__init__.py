"""Public model files that nobody here wrote, put to `describe` and `check`."""
