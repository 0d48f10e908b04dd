"""Run the recurrent layers of RTNeural, by a program that g++ compiles.

RTNEURAL names the folder of its source.
"""

import programs

BOTH = False


def version():
    """Return the commit of the source."""
    return programs.commit(programs.folder("RTNEURAL", "RTNeural"))


def run(cell, arrays, x, both):
    """Return the outputs."""
    batch, steps, inputs = x.shape
    units = arrays["U"].shape[0]
    source = programs.folder("RTNEURAL", "RTNeural")
    program = programs.built(
        "rtneural.cpp", "-std=c++17", f"-I{source}/RTNeural", f"-I{source}"
    )
    head = [int(cell == "GRULayer"), steps, batch, inputs, units]
    found = programs.numbers(program, head, x, arrays["W"], arrays["U"], arrays["b"])
    return [found.reshape(batch, steps, units)]
