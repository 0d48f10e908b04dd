"""Represent a model as plain values: layers, options, weights and their graph."""
