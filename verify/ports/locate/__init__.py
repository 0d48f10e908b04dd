"""Find where inside an exported file its values leave those of the model."""

from verify.ports.locate.weights import FoundWeights, find_weights

__all__ = ["FoundWeights", "find_weights"]
