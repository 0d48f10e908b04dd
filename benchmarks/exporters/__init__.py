"""Measure what exporters of Keras models keep, lose and refuse: ``make exporters``."""
