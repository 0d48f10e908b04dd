"""Say how far two correct programs may differ: comparison, noise floor, error bound."""
