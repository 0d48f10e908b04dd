"""Open exported files and run them, each in a process of its own."""
