"""Write the weights of a model, or the model, in the form of another framework."""
