"""Find where inside an exported file its values leave those of the model."""
