"""Find where inside an exported file its values leave those of the model."""

from verify.ports.locate.follow import Location, locate
from verify.ports.locate.weights import FoundWeights, find_weights

__all__ = ["FoundWeights", "Location", "find_weights", "locate"]
