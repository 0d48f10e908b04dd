"""Measure the errors of each activation in float32 on this machine.

    python -m benchmarks.activation_errors

It prints the greatest error of every activation of the installed Keras over about a
million arguments, run eagerly and compiled, in the form of
`verify.tolerance.activation_errors.KNOWN_PLATFORMS`. ``KERAS_BACKEND=jax`` chooses
another backend.
"""

from __future__ import annotations

from verify.keras_bridge import current_platform, measured_activation_errors
from verify.model.dtypes import SINGLE
from verify.tolerance.activation_errors import KNOWN_PLATFORMS


def main() -> None:
    """Print the constants, in the form in which they are kept."""
    name, found = current_platform(), measured_activation_errors()
    print(f"# 1 is {SINGLE:.2g}, the unit roundoff of float32")
    print(f"{name!r}: {{")
    for activation, constant in found.constants.items():
        print(f"    {activation!r}: {constant},")
    print("}")
    if found.relative_to_one:
        print(f"# relative to one: {', '.join(sorted(found.relative_to_one))}")
    kept = KNOWN_PLATFORMS.get(name)
    if kept is None:
        print("# this platform is not known: a check measures it on the spot")
        return
    worse = [k for k, c in found.constants.items() if c > kept.constants[k]]
    print(f"# greater than what is kept: {', '.join(worse) or 'none'}")


if __name__ == "__main__":
    main()
