"""What is said of a check: text, JSON, a page."""
