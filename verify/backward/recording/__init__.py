"""Record what a layer computes in NumPy, so that any layer has a way back.

A layer type is evaluated on `Recorded` values in place of arrays. They stand for arrays
in NumPy's own functions, and a `Tape` keeps each operation with its derivative. Going
back over the tape gives the adjoints of what the layer was given (reverse-mode
differentiation), and shows every operation that rounds to a visitor. So a layer needs
no second set of equations; only those that are called at every time step have one, in
`verify.backward.cells`, because it takes less time.

An operation that is not known here raises `NotRecorded`. Nothing is lost in silence: a
`Recorded` refuses to become a plain array.
"""

from verify.backward.recording.tape import NotRecorded, Operation, Recorded, Tape

__all__ = ["NotRecorded", "Operation", "Recorded", "Tape"]
