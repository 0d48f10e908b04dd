"""Why a check failed: known mistakes, the search among them, and what hides them."""
