"""Write the README.md of a pack: all that the author of a port needs to know."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from verify.console.tables import markdown_row, markdown_table
from verify.errors import printable
from verify.ports.vectors.document import Document
from verify.ports.vectors.pack import Pack


def readme(pack: Pack, about: Document, template: str) -> str:
    """Return the text of README.md.

    Parameters
    ----------
    pack : Pack
    about : dict
        The document of the pack, from `verify.ports.vectors.document.document`.
    template : str
        The text with ``@name@`` in place of what depends on the pack.
    """
    parts = {name: text.rstrip() for name, text in _parts(pack, about)}
    return re.sub(r"@(\w+)@", lambda found: parts[found[1]], template)


def _parts(pack: Pack, about: Document) -> Iterator[tuple[str, str]]:
    model = about["model"]
    yield "name", code(model["name"])
    yield "probes", f"{len(pack.probes)}"
    yield "calls", f"{sum(len(probe.calls) for probe in pack.probes)}"
    yield "numbers", f"{pack.numbers:,}"
    yield "made_by", about["made_by"]
    yield "seed", f"{pack.seed}"
    notes = "".join(f"\n- {plain_text(note)}" for note in pack.notes)
    yield "notes", f"What to know of this pack:\n{notes}" if notes else ""
    yield (
        "inputs",
        _table(
            ("input", "shape", "dtype"),
            (
                (code(x["name"]), code(_shape(x["shape"])), code(x["dtype"]))
                for x in model["inputs"]
            ),
        ),
    )
    yield "outputs", ", ".join(code(name) for name in model["outputs"])
    stateful = "The model is stateful: a call goes on from the call before it."
    yield "stateful", stateful if model["stateful"] else ""
    yield "graph", _graph(model["calls"])
    formulas = (f"- {code(k)}: {v}" for k, v in model["activations"].items())
    heading = "### Activations\n\n" if model["activations"] else ""
    yield "activations", heading + "\n".join(formulas)
    layers = [line for layer in model["layers"] for line in _layer(pack, layer)]
    yield "layers", "\n".join(layers) + "\n"
    yield (
        "probe_table",
        _table(
            ("probe", "calls", "rows", "inputs"),
            (
                (
                    code(probe.name),
                    str(len(probe.calls)),
                    str(len(next(iter(probe.calls[0].inputs.values())))),
                    plain_text(probe.why),
                )
                for probe in pack.probes
            ),
        ),
    )


def _layer(pack: Pack, layer: Document) -> Iterator[str]:
    path = layer["path"]
    yield f"#### {code(path)} ({layer['class']})\n"
    for line in layer["equations"]:
        formula = " = " in line and "`" not in line
        yield f"- {code(line, 500) if formula else plain_text(line)}"
    if layer["options"]:
        set_ones = {k: v for k, v in layer["options"].items() if v is not None}
        options = ", ".join(f"{k}={v!r}" for k, v in set_ones.items())
        yield f"- options: {code(options, 2000)}"
    if layer["policy"] != "float32":
        yield f"- dtype policy: {code(layer['policy'])}"
    if layer["receives_a_mask"]:
        yield f"- It is given a mask. {layer['masked_steps']}".rstrip()
    if layer["calls"]:
        yield f"- It is a model of its own:\n\n{_graph(layer['calls'])}"
    yield ""
    columns = {gate["value"]: gate["columns"] for gate in layer["gates"]}
    if len(columns) > 1:
        yield _table(
            ("gate", "columns of `kernel`, `recurrent_kernel` and `bias`"),
            ((code(k), f"{a} up to {b}, {b} not included") for k, (a, b) in
             columns.items()),
        )  # fmt: skip
        yield ""
    weights = [name for name in layer["weights"] if name in pack.weights]
    if weights:
        yield _table(
            ("weight", "shape", "dtype"),
            (
                (
                    code(name),
                    code(_shape(pack.weights[name].shape)),
                    code(pack.weights[name].dtype.name),
                )
                for name in weights
            ),
        )
        yield ""
    values = {
        n.name: (n, stage)
        for probe in pack.probes
        for call in probe.calls
        for stage in call.stages
        for n in (*stage.stepped, *stage.whole)
        if stage.layer == path
    }
    if values:
        yield _table(
            ("numbers to hand over", "what they are", "axes"),
            (
                (
                    code(name),
                    n.meaning or _whole_meaning(n.value, stage.backwards, n.steps),
                    ", ".join(n.axes),
                )
                for name, (n, stage) in values.items()
            ),
        )
        yield ""


def _whole_meaning(value: str, backwards: bool, steps: object) -> str:
    if value == "logits":
        return "before the activation"
    if not value.startswith("output"):
        return ""
    order = backwards and steps is not None
    text = "output of the layer" + (", in the order of processing" if order else "")
    number = value.removeprefix("output").removeprefix(".")
    return f"{text}, number {int(number) + 1}" if number else text


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    return markdown_table(head, [markdown_row(*row) for row in rows])


def _graph(calls: Iterable[str]) -> str:
    lines = (printable(line, 1000).replace("```", "'''") for line in calls)
    return "\n".join(["```text", *lines, "```"])


def _shape(sizes: Iterable[Any]) -> str:
    shown = ["any" if size is None else str(size) for size in sizes]
    return f"({', '.join(shown)}{',' if len(shown) == 1 else ''})"


def code(text: object, limit: int = 200) -> str:
    """Return a text as a code span that stays one, whatever a file calls its layers."""
    return f"`{printable(text, limit).replace('`', chr(39)).replace('|', '¦')}`"


def plain_text(text: object) -> str:
    """Return a text of one line that Markdown shows as it is."""
    shown = printable(text, 1000)
    for mark in "\\*_<|":
        shown = shown.replace(mark, f"\\{mark}") if "`" not in shown else shown
    return shown
