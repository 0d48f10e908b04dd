"""What users ask for: check, compare, predict, selftest; here or on a Dask cluster."""
