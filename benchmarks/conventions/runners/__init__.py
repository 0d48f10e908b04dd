"""Run the recurrent layers of one framework each, from arrays by their own names.

Every module has ``version()`` and ``run(cell, arrays, x, both)``. The arrays are what
`verify.model.conventions.to_framework` makes; `x` is (batch, time, inputs) of float32;
`both` asks for a layer of both directions. Returned are the outputs, (batch, time,
units), and the final states in Keras's order. The modules import NumPy and their
framework only, so that they run in an environment without this project, too.
"""
