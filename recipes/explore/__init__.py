"""Look inside a trained run: the page, the words that count, the exercises."""
