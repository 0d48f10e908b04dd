"""Report on a check: as text, as JSON, as a page."""
