"""Write a pack as a C99 header, in front of which stands ``files/vectors_types.h``.

Names of layers come from a model file and may hold anything. They stand in string
literals alone, escaped, and never in comments or identifiers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from verify.model.arrays import Array
from verify.ports.vectors.document import (
    INFINITY,
    MINUS_INFINITY,
    NAN,
    VERSION,
    number_texts,
)
from verify.ports.vectors.pack import Numbers, Pack, PackedCall, PackedProbe, Stage

C_TYPES = {
    "float32": "float",
    "float64": "double",
    "int32": "int32_t",
    "int64": "int64_t",
    "int8": "int8_t",
    "uint8": "uint8_t",
    "bool": "uint8_t",
}
"""The dtype of an array in a pack -> its C type."""

LINE = 76
"""Characters of a line of numbers, about."""

SPECIAL = {
    f'"{NAN}"': "NAN",
    f'"{INFINITY}"': "INFINITY",
    f'"{MINUS_INFINITY}"': "-INFINITY",
}


def header(pack: Pack, types: str) -> Iterator[str]:
    """Yield the parts of the header.

    Parameters
    ----------
    pack : Pack
    types : str
        The header's beginning: the types, and the functions of a port.
    """
    yield types
    yield "\n#ifdef VECTORS_DATA\n\n"
    writer = _Writer()
    weights = [writer.array(*named) for named in pack.text_weights.items()]
    probes = [_probe(writer, probe) for probe in pack.probes]
    yield from writer.lines
    yield from _table("vectors_array", "vectors_weights", weights)
    yield from _table("vectors_probe", "vectors_probes", probes)
    where = "vectors_weights" if weights else "0"
    yield (
        "const vectors_pack vectors = {\n"
        f"  {VERSION}, {c_string(pack.net.spec.name)},\n"
        f"  {where}, {len(weights)}, vectors_probes, {len(probes)}\n"
        "};\n\n#endif /* VECTORS_DATA */\n\n#endif /* KERAS_RNN_VECTORS_H */\n"
    )


class _Writer:
    """Write constant arrays, each under a name of its own, equal ones once."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._known: dict[tuple[str, tuple[str, ...]], str] = {}

    def constants(self, c_type: str, texts: Sequence[str]) -> str:
        """Return the name of an array of constants; ``0`` if it has none."""
        if not texts:
            return "0"
        place = c_type, tuple(texts)
        if place not in self._known:
            name = f"v{len(self._known)}"
            self._known[place] = name
            self.lines += _definition(c_type, name, texts)
        return self._known[place]

    def array(self, name: str, array: Array) -> str:
        """Return the initialiser of a ``vectors_array``."""
        dtype = array.dtype.name
        texts = [_literal(t, dtype) for t in number_texts(array)]
        data = self.constants(C_TYPES[dtype], texts)
        shape = self.constants("int32_t", [str(n) for n in array.shape])
        return (
            f"{{{c_string(name)}, VECTORS_{dtype.upper()}, {array.ndim}, {shape}, "
            f"{array.size}, {data}}}"
        )

    def numbers(self, numbers: Numbers) -> str:
        """Return the initialiser of a ``vectors_numbers``."""
        expected = self._doubles(numbers.expected)
        allowed = self._doubles(numbers.allowed)
        shape = self.constants("int32_t", [str(n) for n in numbers.expected.shape])
        steps = "0"
        if numbers.steps is not None:
            steps = self.constants("int32_t", [str(n) for n in numbers.steps])
        return (
            f"{{{c_string(numbers.name)}, {c_string(numbers.value)}, "
            f"{c_string(numbers.meaning)}, {numbers.expected.ndim}, {shape}, "
            f"{numbers.expected.size}, {steps}, {numbers.time}, {expected}, {allowed}}}"
        )

    def _doubles(self, array: Array) -> str:
        wide = array.astype(np.float64)
        return self.constants("double", [_literal(t, "float64") for t in
                                         number_texts(wide)])  # fmt: skip

    def table(self, c_type: str, items: Sequence[str]) -> str:
        """Return the name of an array of structures; ``0`` if it has none."""
        return self.constants(c_type, items)


def _probe(writer: _Writer, probe: PackedProbe) -> str:
    calls = [_call(writer, call) for call in probe.calls]
    table = writer.table("vectors_call", calls)
    return f"{{{c_string(probe.name)}, {c_string(probe.why)}, {table}, {len(calls)}}}"


def _call(writer: _Writer, call: PackedCall) -> str:
    inputs = [writer.array(name, array) for name, array in call.inputs.items()]
    outputs = [writer.numbers(n) for n in call.outputs]
    masks = [writer.array(key, mask) for key, mask in call.masks.items()]
    stages = [_stage(writer, stage) for stage in call.stages]
    tables = (
        ("vectors_array", inputs),
        ("vectors_numbers", outputs),
        ("vectors_array", masks),
        ("vectors_stage", stages),
    )
    parts = [f"{writer.table(kind, items)}, {len(items)}" for kind, items in tables]
    return f"{{{', '.join(parts)}}}"


def _stage(writer: _Writer, stage: Stage) -> str:
    items = [writer.numbers(n) for n in (*stage.stepped, *stage.whole)]
    table = writer.table("vectors_numbers", items)
    return (
        f"{{{c_string(stage.layer)}, {c_string(stage.class_name)}, "
        f"{int(stage.backwards)}, {table}, {len(stage.stepped)}, {len(items)}}}"
    )


def _table(c_type: str, name: str, items: Sequence[str]) -> Iterator[str]:
    if items:
        yield from _definition(c_type, name, items)


def _definition(c_type: str, name: str, items: Sequence[str]) -> list[str]:
    lines, line = [f"static const {c_type} {name}[] = {{\n"], ""
    for item in items:
        if line and len(line) + len(item) > LINE:
            lines.append(f"  {line}\n")
            line = ""
        line += f"{item},"
    return [*lines, f"  {line}\n}};\n"]


def _literal(text: str, dtype: str) -> str:
    """Return a number as C writes it."""
    if text in SPECIAL:
        return SPECIAL[text]
    if dtype == "float32":
        return f"{text}f"
    if text == str(np.iinfo(np.int32).min):
        return "INT32_MIN"  # C reads the minus apart from the number
    if dtype == "int64":
        low = text == str(np.iinfo(np.int64).min)
        return "INT64_MIN" if low else f"INT64_C({text})"
    return text


def c_string(text: str) -> str:
    """Return a string literal; what is not plain ASCII stands in octal."""
    shown = (
        chr(byte) if 32 <= byte < 127 and chr(byte) not in '"\\?' else f"\\{byte:03o}"
        for byte in text.encode("utf-8", "surrogatepass")
    )
    return f'"{"".join(shown)}"'
