"""Measure what the checks catch and what a diagnosis names.

    python -m benchmarks.trust

It measures single layers (`single_layers`) and then whole models (`whole_models`), and
writes benchmarks/results/trust.json, trust.md, trust_models.json and trust_models.md;
docs/diagnosis.md shows the tables. Each of the two can be run alone, such as
``python -m benchmarks.trust.whole_models --sample 5``.
"""
