"""Arrays and texts, in and out of files."""
