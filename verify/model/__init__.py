"""What a model is, as plain values: layers, options, weights, how they are connected."""
