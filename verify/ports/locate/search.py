"""Look for values of a model among all tensors of a file."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from verify.forward.evaluate import LayerTrace
from verify.model.arrays import Array
from verify.ports.locate.differences import (
    Agreement,
    Difference,
    first_of,
    goes_backwards,
    mask_of,
)
from verify.ports.locate.inside import Inside
from verify.ports.locate.pool import Pool

FEW = 8
"""Fewer numbers than this are not looked for inside larger tensors, where they may
stand by chance."""


class Search:
    """Look for values of a model among all tensors of a file."""

    def __init__(self, agreement: Agreement, inside: Inside) -> None:
        self.agreement = agreement
        self.tensors = {t.name: t.value for t in inside.tensors}
        self.pool = Pool(self.tensors)

    def holds(self, value: Array) -> bool:
        """Return whether a tensor holds a value, its axes perhaps in another order."""
        if not isinstance(value, np.ndarray) or value.dtype.kind != "f":
            return True
        if value.size >= FEW:
            return self._found(value) is not None
        wanted = np.sort(value, axis=None)
        return any(
            tensor.size == value.size
            and self.agreement.same(np.sort(tensor, axis=None), wanted)
            for tensor in self.tensors.values()
        )

    def _found(self, value: Array) -> str | None:
        forms = [value]
        if value.ndim == 3:
            forms += [np.swapaxes(value, 0, 1), value[:, ::-1]]
        for form in forms:
            plain = np.squeeze(form)
            for name, tensor in self.tensors.items():
                if tensor.size == form.size:
                    there = np.squeeze(tensor)
                    if self.agreement.same(there, plain):
                        return name
        for form in forms:
            flat = form.reshape(-1, form.shape[-1]) if form.ndim else form.reshape(1, 1)
            places = self.pool.places(
                flat, relative=0.0, absolute=self.agreement.allowed(value), strides=(1,)
            )
            if places and not places[0].wrong:
                return places[0].array
        return None

    def nearest(self, expected: Array, name: str) -> tuple[str, Array] | None:
        """Return the tensor that comes closest to the output of a layer.

        It is the last one of this shape whose name says that it is the layer's, or else
        one of which at least half the numbers agree.

        Returns
        -------
        str
            Name of the tensor.
        ndarray
            Its value, with the axes of `expected`.
        """
        found = None
        for tensor, value in self.tensors.items():
            words = tensor.replace(":", "/").split("/")
            own = any(w == name or w.startswith(f"{name}_") for w in words)
            if own and value.shape == expected.shape:
                found = tensor, value
        if found is not None or expected.size < FEW:
            return found
        fewest = expected.size // 2
        for tensor, value in self.tensors.items():
            forms = [value]
            if value.ndim == 3:
                forms.append(np.swapaxes(value, 0, 1))  # time first
            for form in forms:
                if form.shape != expected.shape:
                    continue
                wrong = int(np.count_nonzero(self.agreement.bad(form, expected)))
                if wrong <= fewest:
                    found, fewest = (tensor, form), wrong
        return found

    def unrolled(self, traced: LayerTrace) -> Difference | None:
        """Return the first gate of a layer that no tensor holds, step by step.

        A gate that no step shows is not a tensor of its own in this file.
        """
        values = traced.values
        steps = next(iter(values.values())).shape[1]
        mask = mask_of(traced)
        backwards = goes_backwards(traced.layer)
        order = list(reversed(range(steps)) if backwards else range(steps))
        shown: set[str] = set()
        for t in order:
            keep = None if mask is None else mask[:, t]
            kept = slice(None) if keep is None else keep
            there = {
                name: self._found(value[kept, t]) is not None
                for name, value in values.items()
                if value[kept, t].size
            }
            states = [n for n in there if n.rpartition("/")[2] in ("h", "c")]
            missing = [name for name, found in there.items() if not found]
            near = {
                name: self._near(values[name][:, t])
                for name in missing
                if keep is None or keep.all()
            }
            first = next((name for name in missing if near.get(name)), "")
            if not first and all(there[n] for n in states):
                shown |= {name for name, found in there.items() if found}
                continue
            first = first or next(
                n for n in missing if n in shown or t == order[0] or n in states
            )
            seen = order[: order.index(t)]
            why = []
            if seen:
                why.append(
                    f"time step{'s' if len(seen) > 1 else ''} {_range(seen)} "
                    f"{'agree' if len(seen) > 1 else 'agrees'}"
                )
            expected = values[first][:, t]
            nearest = near.get(first) or self._near(expected)
            if nearest is None:
                why.append(f"no tensor of the file holds this value for time step {t}")
                return Difference(first, t, None, None, "", np.nan, np.nan, tuple(why))
            tensor, found = nearest
            at = first_of(self.agreement.bad(found, expected))
            return Difference(
                first, t, at[0], at[-1], tensor, float(found[at]), float(expected[at]),
                tuple(why),
            )  # fmt: skip
        return None

    def _near(self, value: Array) -> tuple[str, Array] | None:
        """Return the tensor that holds most numbers of a value, and what it has."""
        flat = value.reshape(-1, value.shape[-1])
        places = self.pool.places(
            flat, relative=0.0, absolute=self.agreement.allowed(value), strides=(1,)
        )
        if not places:
            return None
        place = places[0]
        return place.array, self.pool.at(place, flat.shape).reshape(value.shape)


def _range(steps: Sequence[int]) -> str:
    return f"{min(steps)}" if len(steps) == 1 else f"{min(steps)} to {max(steps)}"
