"""What a model is, as plain values: layers, options, weights, the graph."""
