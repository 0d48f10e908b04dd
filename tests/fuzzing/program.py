"""A random model as a program: lines of Keras code that can be run, and cut down.

A model is kept as source text rather than as objects, so that what fails can be handed
to a person as it is, and made smaller line by line and option by option.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

OWN_DTYPE = "keras.DTypePolicy('float32')"
"""Of a layer whose policy is not that of the model, such as the last one of many."""

WORDS = ("the", "cat", "sat", "Mat", "é", "a b", "dog", "")
NUMBERS = (30, -4, 7, 0, 12, 5, 100)
TEXTS = (
    "The cat SAT, on the Mat!", "É é dog's\x0b  dæy\tx", "", "a\xa0b the the dog",
    "(sat) on ... the é",
)  # fmt: skip
"""List what inputs of words, numbers and texts hold; layers know some of it."""

HEADER = "import keras\nfrom keras import layers, ops\n"


@dataclass(frozen=True)
class Line:
    """``targets = template`` with ``{options}`` filled in.

    Attributes
    ----------
    targets : tuple of str
        Variables that the line makes.
    template : str
        An expression; ``{options}`` stands for the keyword arguments.
    options : dict of str to str
        Keyword arguments and their source.
    uses : tuple of str
        Variables that the expression reads.
    like : str
        A variable that may stand for the first target if the line is cut out, because
        it has the same shape; empty if there is none.
    """

    targets: tuple[str, ...]
    template: str
    options: dict[str, str] = field(default_factory=dict)
    uses: tuple[str, ...] = ()
    like: str = ""

    def __str__(self) -> str:
        options = ", ".join(f"{k}={v}" for k, v in self.options.items())
        return (
            f"{', '.join(self.targets)} = {self.template.replace('{options}', options)}"
        )


@dataclass(frozen=True)
class Program:
    """A whole model.

    Attributes
    ----------
    policy : str
        The dtype policy it is built under.
    lines : tuple of Line
    inputs, outputs : tuple of str
    shapes : dict
        Input -> (kind, shape), the batch left out; kinds are ids, floats, mask, words,
        numbers and texts.
    batch_size : int or None
        Fixed in the model.
    sequential : bool
        Whether it is a keras.Sequential: then the first line is the input, and each
        other line calls one layer on what the line before it made.
    refused : str
        Empty, or what in it must be refused.
    quantized : bool
        Whether its Dense, EinsumDense and Embedding layers are turned to int8.
    """

    policy: str
    lines: tuple[Line, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    shapes: dict[str, tuple[str, tuple[int | None, ...]]]
    batch_size: int | None = None
    sequential: bool = False
    refused: str = ""
    quantized: bool = False

    @property
    def source(self) -> str:
        """Python that makes ``model``."""
        after = '\nmodel.quantize("int8")' if self.quantized else ""
        if self.sequential:
            first, *rest = (str(line).partition(" = ")[2] for line in self.lines)
            layers = ", ".join([first, *(text.rpartition("(")[0] for text in rest)])
            policy = f"keras.config.set_dtype_policy({self.policy!r})"
            return f"{HEADER}\n{policy}\nmodel = keras.Sequential([{layers}]){after}"
        made = ", ".join(self.inputs)
        outputs = ", ".join(self.outputs)
        inputs = f"[{made}]" if len(self.inputs) > 1 else made
        outputs = f"[{outputs}]" if len(self.outputs) > 1 else outputs
        return "\n".join(
            [
                HEADER,
                f"keras.config.set_dtype_policy({self.policy!r})",
                *map(str, self.lines),
                f"model = keras.Model({inputs}, {outputs}){after}",
            ]
        )

    def build(self) -> Any:
        """The Keras model."""
        scope: dict[str, Any] = {"__name__": "program"}
        exec(compile(self.source, "<program>", "exec"), scope)
        return scope["model"]

    def data(self, seed: int, rows: int = 5, time: int = 7) -> list[np.ndarray]:
        """Inputs with padding: right, left, holes, and a row of nothing else."""
        rng = np.random.default_rng(seed)
        rows = self.batch_size * 2 if self.batch_size else rows
        arrays = []
        for name in self.inputs:
            kind, shape = self.shapes[name]
            size = (rows, *(time if s is None else s for s in shape))
            drawn = {"words": WORDS, "numbers": NUMBERS, "texts": TEXTS}.get(kind)
            if drawn is not None:
                x = rng.choice(np.asarray(drawn), size=size)
            elif kind == "mask":
                x = rng.random(size=size) < 0.6
                x[0] = False
            elif kind == "ids":
                x = rng.integers(0, 9, size=size)
                x[rng.random(size=size) < 0.2] = 0
                x[1 % rows] = 0
            else:
                x = rng.normal(size=size)
                if x.ndim > 2:
                    x[rng.random(size=size[:2]) < 0.3] = 0
                    x[2 % rows, size[1] // 2 :] = 0
                    x[3 % rows, : size[1] // 2] = 0
                    x[4 % rows] = 0
            arrays.append(x)
        return arrays

    def smaller(self) -> Iterator[Program]:
        """Programs with one thing less, the boldest cuts first."""
        for k in range(len(self.outputs)):
            if len(self.outputs) > 1:
                rest = self.outputs[:k] + self.outputs[k + 1 :]
                yield replace(self, outputs=rest).tidied()
        for line in reversed(self.lines):  # an earlier tensor as the only output
            if line.uses and set(line.targets) & set(self.outputs):
                for name in line.uses:
                    if name not in self.inputs:
                        yield replace(self, outputs=(name,)).tidied()
        for line in self.lines:
            if line.like:
                yield self._without(line).tidied()
        for k, line in enumerate(self.lines):
            for option in line.options:
                fewer = {o: v for o, v in line.options.items() if o != option}
                changed = replace(line, options=fewer)
                lines = (*self.lines[:k], changed, *self.lines[k + 1 :])
                yield replace(self, lines=lines)
        if self.quantized:
            yield replace(self, quantized=False)
        if self.policy != "float64":
            yield replace(self, policy="float64")

    def _without(self, gone: Line) -> Program:
        old, new = gone.targets[0], gone.like

        def renamed(name: str) -> str:
            return new if name == old else name

        lines = []
        for line in self.lines:
            if line is gone:
                continue
            template = line.template
            for mark in "(),[] ":
                for other in "(),[] ":
                    template = template.replace(
                        f"{mark}{old}{other}", f"{mark}{new}{other}"
                    )
            lines.append(
                replace(
                    line,
                    template=template,
                    uses=tuple(map(renamed, line.uses)),
                    like=renamed(line.like),
                )
            )
        return replace(
            self, lines=tuple(lines), outputs=tuple(map(renamed, self.outputs))
        )

    def tidied(self) -> Program:
        """Without lines and inputs that no output needs."""
        needed = set(self.outputs)
        for line in reversed(self.lines):
            if needed & set(line.targets):
                needed |= set(line.uses)
        lines = tuple(x for x in self.lines if needed & set(x.targets))
        return replace(
            self, lines=lines, inputs=tuple(x for x in self.inputs if x in needed)
        )
