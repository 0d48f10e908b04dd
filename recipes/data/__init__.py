"""Read what the recipes learn from: tweets, toy phrases, sentences of a small grammar."""
