"""Run a module of this folder in an interpreter of its own, with arrays in files.

Python 3.8 and NumPy 1 are enough: some frameworks need them.
"""

import sys
from importlib import import_module

import numpy as np


def main() -> None:
    """Read cases from one file, and write what they gave to another.

    Arguments: the name of the module, the file to read and the file to write.
    """
    name, source, target = sys.argv[1:]
    module = import_module(name)
    found = {"version": np.array(module.version())}
    with np.load(source, allow_pickle=False) as held:
        for k, (cell, both) in enumerate(zip(held["cells"], held["both"])):  # noqa: B905
            start = f"{k} "
            arrays = {
                key[len(start) :]: held[key]
                for key in held.files
                if key.startswith(start) and key != start + "x"
            }
            outputs = module.run(str(cell), arrays, held[start + "x"], bool(both))
            for n, array in enumerate(outputs):
                found[f"{k} {n}"] = np.asarray(array)
    np.savez(target, **found)


if __name__ == "__main__":
    main()
