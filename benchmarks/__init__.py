"""Measure what the documentation quotes: speed, memory, tolerances and diagnoses."""
