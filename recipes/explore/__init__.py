"""Look inside a trained run: its page, the effect of each word, and exercises."""
