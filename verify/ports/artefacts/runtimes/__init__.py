"""Run exported files; these modules are imported by the process of a file alone."""
