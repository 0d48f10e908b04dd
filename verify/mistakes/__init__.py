"""Known mistakes: the catalogue, the search for the one that explains, what hides them."""
