"""Read what the recipes learn from: tweets, toy phrases, generated sentences."""
