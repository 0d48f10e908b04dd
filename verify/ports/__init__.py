"""Follow a model out of Keras: exported files, weights, and test vectors for ports."""
