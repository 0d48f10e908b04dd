"""Measure how exactly the conventions of other frameworks are those of the data.

``python -m benchmarks.conventions`` runs them; ``make frameworks`` does so in an
environment of their own.
"""
