"""Write test vectors that prove a port in any language.

`pack` decides what is in them, `allowances` how far a port may be from each number.
`document`, `header` and `readme` put them into words and numbers, `write` into files.
What is the same in every folder of test vectors stands in ``files/``.
"""
