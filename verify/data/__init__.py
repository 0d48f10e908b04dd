"""Read and write arrays and texts in files."""
