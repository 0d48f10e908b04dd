"""Show how other frameworks store and compute recurrent layers."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from verify.console.tables import markdown_row, markdown_table, text_table
from verify.model.conventions import (
    Convention,
    Framework,
    find_framework,
    frameworks,
)
from verify.model.spec import GATES

ORIENTATIONS = {
    "transposed": "transposed: (gates * units, inputs)",
    "as in Keras": "as in Keras: (inputs, gates * units)",
}
LAYOUTS = {
    "blocks": "",
    "interleaved": ", interleaved: row gates * u + k is gate k of unit u",
    "separate": ", an array for each gate",
    "stacked": "",
}
NOT_RUN = "not run by this project"
"""What stands in place of a difference."""


def convention_tables() -> str:
    """Return tables in Markdown of all frameworks: weights, running, limits.

    ``docs/conventions.md`` holds what this returns.
    """
    known = frameworks().values()
    parts = {
        "Weights": markdown_table(
            ("framework", "layer", "of Keras", "gates", "kernels", "biases",
             "difference", "measured by"),
            [_weights_row(c) for one in known for c in one.conventions],
        ),
        "GRU": markdown_table(
            ("framework", "layer", "of Keras", "z is the", "r is applied"),
            [
                markdown_row(c.title, _code(c.cell), _code(c.keras_text),
                             c.update_gate or "", c.reset_rule or "")
                for one in known
                for c in one.conventions
                if c.keras_layer == "GRU"
            ],
        ),
        "States, lengths, directions": markdown_table(
            ("framework", "states", "past the length", "length 0", "both directions",
             "bias of the forget gate"),
            [
                markdown_row(one.title, *_running(one.conventions[0]).values())
                for one in known
            ],
        ),
        "Limits": _bulleted(known),
        "Expressions": markdown_table(
            ("framework", "layer", "of Keras", "its arrays", "back into Keras's"),
            [
                markdown_row(c.title, _code(c.cell), _code(c.keras_text),
                             _expressions(c.arrays), _expressions(c.keras))
                for one in known
                for c in one.conventions
                if c.arrays is not None
            ],
        ),
    }  # fmt: skip
    return "\n\n".join(f"### {title}\n\n{part}" for title, part in parts.items())


def convention_text(name: str) -> str:
    """Return what is known of one framework, as plain text.

    Raises
    ------
    UnsupportedError
        As `verify.model.conventions.conventions`.
    """
    one = find_framework(name)
    lines = [f"{one.title} {one.version} ({one.name})"]
    for form in one.conventions:
        lines += ["", f"{form.cell} is Keras's {form.keras_text}"]
        lines.append(text_table(_facts(form)))
        if form.arrays is not None:
            rows = [(key, f"= {value}") for key, value in form.arrays.items()]
            lines.append(text_table(rows))
    lines += ["", "in all of them", text_table(_running(one.conventions[0]).items())]
    lines += [f"  limit: {limit}" for limit in one.conventions[0].limits]
    lines += [f"  {refusal}" for refusal in _refusals(one)]
    lines += [
        "",
        "K, R and b are Keras's kernel, recurrent kernel and bias; P puts gates into "
        "the order above, blk(M, k) is gate k",
    ]
    return "\n".join(lines)


def conventions_json(name: str | None = None) -> str:
    """Return the same as one JSON document, of one framework or of all.

    Raises
    ------
    UnsupportedError
        As `verify.model.conventions.conventions`.
    """
    chosen = frameworks().values() if name is None else [find_framework(name)]
    found = {one.name: _plain(one) for one in chosen}
    return json.dumps({"frameworks": found}, indent=1)


def _plain(one: Framework) -> dict[str, Any]:
    return {
        "title": one.title,
        "version": one.version,
        "aliases": list(one.aliases),
        "conventions": [asdict(form) for form in one.conventions],
        "refusals": [asdict(refusal) for refusal in one.refusals],
    }


def _facts(form: Convention) -> list[tuple[str, str]]:
    facts = [
        ("gate order", f"{' '.join(form.gate_order)} (Keras: "
                       f"{' '.join(GATES[form.keras_layer])})"),
        ("kernels", _kernels(form)),
        ("biases", form.bias_rule),
    ]  # fmt: skip
    if form.update_gate is not None:
        facts.append(("z is the", form.update_gate))
        facts.append(("r is applied", form.reset_rule or ""))
    if form.activations is not None:
        has = [f"{key} {' or '.join(v)}" for key, v in form.activations.items()]
        facts.append(("only", "; ".join(has)))
    if form.needs is not None:
        facts.append(("needs", f"{form.needs['reason']}. Instead: "
                               f"{form.needs['instead']}"))  # fmt: skip
    difference, command = _measured(form)
    facts.append(("difference", f"{difference}{f', by {command}' if command else ''}"))
    return facts


def _kernels(form: Convention) -> str:
    orientation = ORIENTATIONS.get(form.orientation, form.orientation)
    return f"{orientation}{LAYOUTS[form.layout]}"


def _measured(form: Convention) -> tuple[str, str]:
    """Return the greatest difference in words, and the command that measured it."""
    if form.measured is None:
        return NOT_RUN, ""
    return f"{form.measured.difference:.1e}", form.measured.command


def _running(form: Convention) -> dict[str, str]:
    return {
        "states": form.state_order,
        "past the length": form.lengths,
        "length 0": form.length_zero,
        "both directions": form.bidirectional,
        "forget bias": form.forget_bias,
    }


def _refusals(one: Framework) -> list[str]:
    return [
        f"no form for {x.keras_text}: {x.reason}. Instead: {x.instead}"
        for x in one.refusals
    ]


def _weights_row(form: Convention) -> str:
    difference, command = _measured(form)
    return markdown_row(
        f"{form.title} {form.version}",
        _code(form.cell),
        _code(form.keras_text),
        " ".join(form.gate_order),
        _kernels(form),
        form.bias_rule,
        difference,
        _code(command) if command else "",
    )


def _expressions(expressions: Mapping[str, str] | None) -> str:
    return "<br>".join(_code(f"{k} = {v}") for k, v in (expressions or {}).items())


def _code(text: str) -> str:
    return f"`{text}`"


def _bulleted(known: Iterable[Framework]) -> str:
    lines = []
    for one in known:
        said = [*one.conventions[0].limits, *_refusals(one)]
        said += [
            f"{form.cell}: {form.needs['reason']}. Instead: {form.needs['instead']}"
            for form in one.conventions
            if form.needs is not None
        ]
        if said:
            lines.append(f"- **{one.title}**")
            lines += [f"  - {text}" for text in said]
    return "\n".join(lines)
