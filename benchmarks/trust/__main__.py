"""Measure single layers and whole models, one after the other."""

from benchmarks.trust import single_layers, whole_models

if __name__ == "__main__":
    single_layers.main([])
    whole_models.main([])
