"""Write the weights of a model as a C header, and read one back."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import numpy as np

from verify.errors import DataError, UnsupportedError, printable
from verify.forward.layers import REGISTRY
from verify.model.arrays import Array
from verify.model.dtypes import is_float
from verify.model.spec import LayerSpec, ModelSpec

PER_LINE = 8

TYPES: Mapping[str, str] = {
    "float32": "float", "float64": "double", "int8": "signed char", "int32": "int",
    "uint8": "unsigned char",
}  # fmt: skip
"""dtype -> the type of C; 16-bit floats are widened to float."""

KEYWORDS = frozenset(
    (  # noqa: SIM905 - a list of 32 strings is harder to read
        "auto break case char const continue default do double else enum extern float "
        "for goto if inline int long register restrict return short signed sizeof "
        "static struct switch typedef union unsigned void volatile while"
    ).split()
)

ARRAY = re.compile(
    r"static const (?P<type>[a-z ]+) (?P<name>\w+)(?P<shape>(?:\[\d+\])+) ="
    r"(?P<values>[^;]*);",
    re.DOTALL,
)


def identifiers(spec: ModelSpec) -> dict[tuple[str, str], str]:
    """Return (path of a layer, weight) -> the name of its array in C."""
    found: dict[tuple[str, str], str] = {}
    taken: set[str] = set()
    for path, layer in spec.walk():
        for key in layer.weights:
            base = re.sub(r"\W", "_", f"{path}_{key}", flags=re.ASCII)
            if base[0].isdigit() or base in KEYWORDS or base.startswith("_"):
                base = f"w_{base}"
            name, count = base, 1
            while name in taken:
                count += 1
                name = f"{base}_{count}"
            taken.add(name)
            found[path, key] = name
    return found


def c_header(spec: ModelSpec) -> str:
    """Return a header with every weight as a static array, in Keras's layout.

    Raises
    ------
    UnsupportedError
        A weight has a dtype that C has no type for.
    DataError
        The model has no weights.
    """
    names = identifiers(spec)
    if not names:
        raise DataError("expected a model with weights. Received: one without")
    guard = re.sub(r"\W", "_", f"{spec.name}_WEIGHTS_H", flags=re.ASCII).upper()
    lines = [
        f"/* Weights of the Keras model '{_comment(spec.name)}', in Keras's layout:",
        "   kernels are (inputs, gates * units), x @ kernel, row after row. */",
        f"#ifndef KERAS_{guard}",
        f"#define KERAS_{guard}",
    ]
    for path, layer in spec.walk():
        if not layer.weights:
            continue
        notes = REGISTRY[layer.class_name].notes(layer)
        lines += ["", f"/* {_comment(path)}: {layer.class_name}"]
        lines += [f"   {_comment(note)}" for note in notes]
        lines[-1] += " */"
        for key, value in layer.weights.items():
            lines += _array(layer, names[path, key], value)
    lines += ["", "#endif", ""]
    return "\n".join(lines)


def _comment(text: str) -> str:
    """Return a text that may stand in a comment of C."""
    clean = printable(text, 200).encode("ascii", "replace").decode()
    return clean.replace("*/", "* /").replace("/*", "/ *").replace("\\", "/")


def _array(layer: LayerSpec, name: str, value: Array) -> Iterator[str]:
    if is_float(value) and value.dtype.itemsize < 4:
        value = value.astype(np.float32)
    kind = TYPES.get(value.dtype.name)
    if kind is None:
        raise UnsupportedError(f"{layer}: {value.dtype} has no form in the C header")
    shape = value.shape or (1,)
    sizes = "".join(f"[{size}]" for size in shape)
    yield f"static const {kind} {name}{sizes} ="
    *inner, last = _braces(value.reshape(shape), kind)
    yield from inner
    yield f"{last};"


def _braces(value: Array, kind: str, indent: str = "  ") -> Iterator[str]:
    """Yield the lines of an initialiser, a pair of braces for each axis."""
    if value.ndim > 1:
        yield f"{indent}{{"
        for part in value:
            *inner, last = _braces(part, kind, f"{indent}  ")
            yield from inner
            yield f"{last},"
        yield f"{indent}}}"
        return
    numbers = [_number(item, kind) for item in value]
    lines = [
        ", ".join(numbers[start : start + PER_LINE])
        for start in range(0, len(numbers), PER_LINE)
    ]
    gap = f",\n{indent} "
    yield f"{indent}{{{gap.join(lines)}}}"


def _number(item: object, kind: str) -> str:
    """Return a number that reads back as exactly the same."""
    if kind not in ("float", "double"):
        return str(item)
    value = float(item)  # type: ignore[arg-type]
    if not np.isfinite(value):
        raise DataError(f"expected finite weights. Received: {value}")
    text = f"{value:.9g}" if kind == "float" else f"{value:.17g}"
    if not set(text) & set(".e"):
        text += ".0"
    return f"{text}f" if kind == "float" else text


def read_header(text: str) -> dict[str, Array]:
    """Return the arrays of a header that `c_header` has written, by their names."""
    dtypes = {kind: name for name, kind in TYPES.items()}
    found = {}
    for match in ARRAY.finditer(text):
        shape = [int(size) for size in re.findall(r"\d+", match["shape"])]
        dtype = np.dtype(dtypes[match["type"]])
        numbers = re.findall(r"-?[\d.]+(?:e[+-]?\d+)?", match["values"])
        found[match["name"]] = (
            np.array(numbers, dtype=np.float64).astype(dtype).reshape(shape)
        )
    return found
