"""Hold the values that stand for arrays, and the operations made on them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from verify.errors import UnsupportedError
from verify.model.arrays import Array
from verify.model.dtypes import SINGLE, is_float

Pullback = Callable[[Array], Sequence[Any]]
"""The adjoint of a result, (sweeps, ...) -> those of the operands, arrays or `Part`;
None if unwanted."""


class Part(NamedTuple):
    """Hold the adjoint of some numbers of an operand, which is 0 for the others."""

    items: tuple[Any, ...]
    adjoint: Array


ONE_TO_ONE = "one to one"
"""`Operation.place` of an operation that moves numbers, each to one place at most."""


class NotRecorded(UnsupportedError):
    """Report an operation without a derivative."""


@dataclass(frozen=True, eq=False)
class Operation:
    """Describe one operation of a layer, for those who ask how it rounds.

    Attributes
    ----------
    name : str
        Name of NumPy's function, or of an activation after ``activation:``.
    operands : tuple of array
        What it was given, in float64.
    output : array
    function : callable
        The operation itself, as a function of its operands.
    slopes : callable, or None
        For an operation on single elements: its derivatives with respect to each
        operand, as a function of the operands and the output.
    terms : int
        For a sum: how many numbers are added.
    singles : tuple of array, or empty
        The operands as the same program has them in float32.
    errors : tuple of array or float
        How far float32 moves each operand, for operands that no input has an effect on.
    place : hashable
        The same for operations that round alike, such as a product with one weight at
        every step.
    steps : int
        How many entries of the first axis belong to a row: those of a TimeDistributed
        are recorded as rows.
    by_row : bool
        Whether the function takes any number of rows, each by itself, as the first axis
        of its first operand.
    summed : tuple of int or None, or empty
        For a sum in which terms may follow one another as steps do, because it is over
        another axis than that of the features: this axis of each operand, None for an
        operand without it.
    constants : tuple of bool, or empty
        Which operands are weights, or other numbers that no input has an effect on.
    """

    name: str
    operands: tuple[Array, ...]
    output: Array
    function: Callable[..., Any]
    slopes: Callable[..., Sequence[Any]] | None = None
    terms: int = 0
    singles: tuple[Array, ...] = ()
    errors: tuple[Array | float, ...] = ()
    place: Hashable = None
    steps: int = 1
    by_row: bool = False
    summed: tuple[int | None, ...] = ()
    constants: tuple[bool, ...] = ()

    @cached_property
    def shifts(self) -> tuple[Array | float, ...]:
        """Return how far the rows of each operand are from float32: (rows, 1, ...)."""
        found: list[Array | float] = []
        for one, exact in zip(self.singles, self.operands, strict=True):
            if one is exact or not np.ndim(exact):
                found.append(0.0)
                continue
            with np.errstate(invalid="ignore"):
                apart = np.nan_to_num(np.abs(one - exact), posinf=0.0)
            over = tuple(range(1, exact.ndim))
            found.append(apart.max(axis=over, keepdims=True, initial=0.0))
        return tuple(found)

    @cached_property
    def near_shifts(self) -> tuple[Array | float, ...]:
        """Return how far float32 is from each number of the operands: (rows, ...).

        It is the least of two: the greatest difference in the row, and the greatest
        relative one times the number. One number alone may be right by luck.
        """
        found: list[Array | float] = []
        for one, exact, most in zip(
            self.singles, self.operands, self.shifts, strict=True
        ):
            if not np.ndim(most):
                found.append(most)
                continue
            with np.errstate(all="ignore"):
                size = np.abs(exact)
                relative = np.nan_to_num(np.abs(one - exact) / size, posinf=np.inf)
                over = tuple(range(1, exact.ndim))
                relative = relative.max(axis=over, keepdims=True, initial=0.0)
                found.append(np.fmin(most, relative * size))
        return tuple(found)


@dataclass(frozen=True, eq=False)
class _Entry:
    """Hold one operation of a tape.

    Attributes
    ----------
    results, parents : tuple of int
        Places of its results and of its operands among the values of the tape.
    pullback : callable
    operation : Operation, or None
        None if it does not round.
    """

    results: int
    parents: tuple[int, ...]
    pullback: Pullback
    operation: Operation | None


@dataclass(eq=False)
class Tape:
    """Keep the operations of one call of a layer, in order.

    Attributes
    ----------
    single : bool
        Whether every value is computed in float32 as well.
    shapes : list of tuple of int
        Shape of each value that depends on an input.
    entries : list
        The operations on such values.
    decisions : list of Operation
        Comparisons, which cut a computation into branches.
    steps : int
        `Operation.steps` of what is recorded now.
    unneeded : set of int
        Places of values whose adjoint nobody asks for: inputs of the model that are
        exact, and what is only moved of them.
    """

    single: bool = False
    shapes: list[tuple[int, ...]] = field(default_factory=list)
    entries: list[_Entry] = field(default_factory=list)
    decisions: list[Operation] = field(default_factory=list)
    steps: int = 1
    unneeded: set[int] = field(default_factory=set)
    _silent: int = 0

    def leaf(
        self, value: Array, single: Array | None = None, *, needed: bool = True
    ) -> Recorded:
        """Return a value with respect to which is differentiated, if it is needed."""
        place = self._new(value)
        if not needed:
            self.unneeded.add(place)
        return Recorded(self, value, single, place=place)

    def constant(self, value: Array) -> Recorded:
        """Return a value that no input has an effect on, such as a weight."""
        single = value.astype(np.float32) if self.single else None
        return Recorded(self, value, single)

    def looked_up(self, x: Any) -> Any:
        """Return rows of a table, which every row has others of, as an exact input."""
        constant = isinstance(x, Recorded) and x.place is None
        if not constant or np.any(x.error):
            return x
        return self.leaf(x.value, x.single, needed=False)

    def _new(self, value: Array) -> int:
        self.shapes.append(value.shape)
        return len(self.shapes) - 1

    @contextmanager
    def silent(self) -> Iterator[None]:
        """Record operations without asking how they round."""
        self._silent += 1
        try:
            yield
        finally:
            self._silent -= 1

    @contextmanager
    def merged(self, steps: int) -> Iterator[None]:
        """Record operations on the steps of all rows, each step as a row."""
        before, self.steps = self.steps, self.steps * steps
        try:
            yield
        finally:
            self.steps = before

    def record(
        self,
        operands: Sequence[Any],
        function: Callable[..., Any],
        pullback: Callable[[Array], Pullback],
        *,
        name: str = "",
        slopes: Callable[..., Sequence[Any]] | None = None,
        terms: int = 0,
        place: Hashable = None,
        by_row: bool = False,
        summed: tuple[int | None, ...] = (),
    ) -> Any:
        """Compute an operation, and keep it.

        Parameters
        ----------
        operands : sequence of Recorded, array or number
        function : callable
            Of arrays in place of the operands.
        pullback : callable
            The output -> the operation's `Pullback`.
        name, slopes, terms, place, by_row, summed
            As for `Operation`; without a name the operation does not round.
        """
        exact = [value_of(x) for x in operands]
        output = function(*exact)
        single, singles = None, ()
        if self.single:
            singles = tuple(single_of(x) for x in operands)
            single = function(*singles)
        parents = [getattr(x, "place", None) for x in operands]
        errors = tuple(map(constant_error, operands))
        if all(parent is None for parent in parents):
            error = _constant_error(
                name, exact, output, errors, function, slopes, terms
            )
            return Recorded(self, output, single, error=error)
        operation = None
        if name and self.single and not self._silent:
            operation = Operation(
                name, tuple(map(np.asarray, exact)), output, function, slopes,
                terms, tuple(map(np.asarray, singles)), errors, place, self.steps,
                summed=summed, constants=tuple(p is None for p in parents),
            )  # fmt: skip
        elif name and not self._silent:
            operation = Operation(
                name, (), output, function, terms=terms, steps=self.steps
            )
        kept = [p is not None and p not in self.unneeded for p in parents]
        place_of_result = self._new(output)
        if not name and not any(kept):
            self.unneeded.add(place_of_result)
        back = pullback(output) if any(kept) else None

        def chosen(d: Array) -> Sequence[Any]:
            if back is None:
                return ()
            return [a for a, keep in zip(back(d), kept, strict=True) if keep]

        self.entries.append(
            _Entry(
                place_of_result,
                tuple(
                    p
                    for p, keep in zip(parents, kept, strict=True)
                    if p is not None and keep
                ),
                chosen,
                operation,
            )
        )
        return Recorded(self, output, single, place=place_of_result)

    def decide(self, function: Callable[..., Any], *operands: Any) -> Any:
        """Return a result that is no float, and keep what it was decided by."""
        exact = tuple(np.asarray(value_of(x)) for x in operands)
        if self.single and any(getattr(x, "place", None) is not None for x in operands):
            singles = tuple(np.asarray(single_of(x)) for x in operands)
            self.decisions.append(
                Operation(
                    "decision",
                    exact,
                    exact[0],
                    function,
                    singles=singles,
                    steps=self.steps,
                )
            )
        return function(*exact)

    def counted(
        self, sweeps: int, visit: Callable[[Operation, Array], None]
    ) -> dict[int, Array]:
        """Show each operation that rounds, with zeros in place of its adjoints."""
        for entry in reversed(self.entries):
            if entry.operation is not None:
                shape = sweeps, *self.shapes[entry.results]
                visit(entry.operation, np.broadcast_to(0.0, shape))
        return {}

    def back(
        self,
        adjoints: Mapping[int, Array],
        visit: Callable[[Operation, Array], None] | None = None,
    ) -> dict[int, Array]:
        """Return the adjoints of all values that have one and no operation behind them.

        Parameters
        ----------
        adjoints : mapping of int to (sweeps, ...)
            Place of a value -> its adjoint.
        visit : callable, optional
            Called with each operation that rounds, and the adjoint of its output.
        """
        known = dict(adjoints)
        own: set[int] = set()  # places whose arrays may be written to
        for entry in reversed(self.entries):
            d = known.pop(entry.results, None)
            if d is None:
                continue
            if visit is not None and entry.operation is not None:
                visit(entry.operation, d)
            for parent, found in zip(entry.parents, entry.pullback(d), strict=True):
                if found is None:
                    continue
                before = known.get(parent)
                if isinstance(found, Part):
                    if before is None:
                        before = np.zeros((len(d), *self.shapes[parent]))
                    elif parent not in own:
                        before = before.copy()
                    before[(slice(None), *found.items)] += found.adjoint
                    known[parent] = before
                    own.add(parent)
                elif before is None:
                    known[parent] = found
                elif parent in own:
                    before += found
                else:
                    known[parent] = before + found
                    own.add(parent)
        return known


def value_of(x: Any) -> Any:
    """Return the array in float64 that a value stands for, or what is none as it is."""
    return x.value if isinstance(x, Recorded) else x


def single_of(x: Any) -> Any:
    """Return the array in float32 that a value stands for."""
    if isinstance(x, Recorded):
        return x.value if x.single is None else x.single
    if isinstance(x, np.ndarray) and x.dtype == np.float64:
        return x.astype(np.float32)
    return x


def constant_error(x: Any) -> Any:
    """Return how far float32 moves an operand that no input has an effect on."""
    if isinstance(x, Recorded):
        return x.error
    if isinstance(x, (float, np.floating)) or (
        isinstance(x, np.ndarray) and x.dtype == np.float64
    ):
        with np.errstate(over="ignore", invalid="ignore"):
            apart = np.abs(np.float32(x).astype(np.float64) - x) * (1 + SINGLE)
        return np.nan_to_num(apart, nan=0.0, posinf=0.0)
    return 0.0


def _constant_error(
    name: str,
    exact: Sequence[Any],
    output: Any,
    errors: Sequence[Any],
    function: Callable[..., Any],
    slopes: Callable[..., Sequence[Any]] | None,
    terms: int,
) -> Any:
    """Return how far float32 moves a number that is computed from weights alone."""
    own = SINGLE * np.abs(output) if name else 0.0
    if terms:  # each of which is rounded, whatever is left of their sum
        own = SINGLE * terms * np.abs(function(*map(np.abs, exact)))
    if not any(np.any(error) for error in errors):
        return own
    if slopes is None:
        if not name:  # numbers that are only moved
            pairs = zip(errors, exact, strict=True)
            return np.abs(
                function(*(np.broadcast_to(e, np.shape(x)) for e, x in pairs))
            )
        raise NotRecorded(f"{name} of numbers computed from weights")
    return own + sum(
        np.abs(slope) * error
        for slope, error in zip(slopes(*exact, output), errors, strict=True)
    )


class Recorded(NDArrayOperatorsMixin):
    """Stand for an array, and have a tape keep what is computed from it.

    Attributes
    ----------
    tape : Tape
    value : array
        In float64.
    single : array or None
        What the same operations make of it in float32.
    place : int or None
        Its number among the values of the tape; None if no input has an effect on it.
    error : array or float
        Of such a value: how far float32 moves it.
    """

    __slots__ = ("error", "place", "single", "tape", "value")

    def __init__(
        self,
        tape: Tape,
        value: Array,
        single: Array | None = None,
        *,
        place: int | None = None,
        error: Any = 0.0,
    ) -> None:
        self.tape, self.value, self.single = tape, value, single
        self.place, self.error = place, error

    def __array__(self, *args: Any, **kwargs: Any) -> Array:
        raise NotRecorded("a conversion to a plain array")

    def __array_ufunc__(
        self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any
    ) -> Any:
        from verify.backward.recording.functions import apply_ufunc

        return apply_ufunc(self.tape, ufunc, method, inputs, kwargs)

    def __array_function__(
        self, function: Any, types: Any, args: Any, kwargs: Any
    ) -> Any:
        from verify.backward.recording.functions import apply_function

        return apply_function(self.tape, function, args, kwargs)

    def activated(
        self, name: str, function: Callable[..., Any], args: Any, kwargs: Any
    ) -> Any:
        """Return an activation of this; see `verify.forward.recordable`."""
        from verify.backward.recording.functions import apply_activation

        return apply_activation(self.tape, name, function, self, args, kwargs)

    def summed(
        self, function: Callable[..., Any], pair: Sequence[Any], args: Any, kwargs: Any
    ) -> Any:
        """Return a convolution; see `verify.forward.recordable.sum_of_products`."""
        from verify.backward.recording.convolution import record_convolution

        return record_convolution(self.tape, function, pair, args, kwargs)

    # what is asked of an array, apart from operations

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the shape of the array."""
        return self.value.shape

    @property
    def ndim(self) -> int:
        """Return the number of axes."""
        return self.value.ndim

    @property
    def size(self) -> int:
        """Return how many numbers there are."""
        return self.value.size

    @property
    def dtype(self) -> np.dtype[Any]:
        """Return the dtype in which the layer is evaluated: float64."""
        return self.value.dtype

    @property
    def strides(self) -> tuple[int, ...]:
        """Return the strides of the array in float64."""
        return self.value.strides

    def __len__(self) -> int:
        return len(self.value)

    def __iter__(self) -> Iterator[Any]:
        return (self[k] for k in range(len(self)))

    def __bool__(self) -> bool:
        return bool(self.tape.decide(np.asarray, self))

    # methods of arrays, each as NumPy's function of that name

    def __getitem__(self, key: Any) -> Any:
        from verify.backward.recording.moving import take_items

        return take_items(self.tape, self, key)

    def astype(self, dtype: Any, **kwargs: Any) -> Any:
        """Return floats as they are: all are evaluated in float64."""
        to = np.dtype(dtype)
        if is_float(np.empty(0, to)):
            if to.itemsize < 4:
                raise NotRecorded(f"a rounding to {to.name}")
            return self
        return self.tape.decide(lambda x: x.astype(to), self)

    def reshape(self, *shape: Any, **kwargs: Any) -> Any:
        """Return the same numbers in another shape."""
        sizes = shape[0] if len(shape) == 1 else shape
        return np.reshape(self, sizes, **kwargs)

    def transpose(self, *axes: Any) -> Any:
        """Return the array with its axes in another order."""
        order = axes[0] if len(axes) == 1 else axes or None
        return np.transpose(self, order)

    @property
    def T(self) -> Any:
        """Return the array with its axes in reversed order."""
        return self.transpose()

    def __getattr__(self, name: str) -> Any:
        if name not in METHODS:
            raise AttributeError(name)
        function = getattr(np, name)
        return lambda *args, **kwargs: function(self, *args, **kwargs)


METHODS = frozenset(
    {"sum", "mean", "max", "min", "prod", "swapaxes", "squeeze", "ravel", "repeat"}
    | {"clip", "argmax", "argmin", "copy", "take", "cumsum", "var", "std"}
)
"""Methods of an array that are NumPy's functions of the same name."""
