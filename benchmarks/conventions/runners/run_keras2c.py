"""Run the recurrent layers of the C library of keras2c, in a program that gcc compiles.

KERAS2C names the folder of its source.
"""

import programs

BOTH = False
KINDS = (
    "k2c_lstm",
    "k2c_gru with reset_after=1",
    "k2c_gru with reset_after=0",
    "k2c_simpleRNN",
)


def version():
    """Return the commit of the source."""
    return programs.commit(programs.folder("KERAS2C", "keras2c"))


def run(cell, arrays, x, both):
    """Return the outputs."""
    batch, steps, inputs = x.shape
    units = arrays["recurrent_kernel"].shape[1]
    source = programs.folder("KERAS2C", "keras2c")
    names = ("activations", "recurrent_layers", "helper_functions")
    files = [f"{source}/include/k2c_{name}.c" for name in names]
    program = programs.built("keras2c.c", f"-I{source}/include", "-w", *files)
    weights = [arrays[name] for name in ("kernel", "recurrent_kernel", "bias")]
    head = [KINDS.index(cell), steps, batch, inputs, units]
    found = programs.numbers(program, head, x, *weights)
    return [found.reshape(batch, steps, units)]
