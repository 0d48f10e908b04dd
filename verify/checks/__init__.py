"""Do what users ask for: check, compare, predict, selftest; here or with Dask."""
