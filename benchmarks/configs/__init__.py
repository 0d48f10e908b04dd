"""Read the configs that every release line of Keras writes, class by class."""
