"""What users ask for: check, compare, predict, selftest."""
