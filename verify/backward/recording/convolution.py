"""Record convolutions, each as one sum of products."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from verify.backward.recording.tape import Recorded, Tape, value_of
from verify.forward.convolution import convolve, dilated_size, pad_width, spread
from verify.model.arrays import Array


def record_convolution(
    tape: Tape,
    function: Callable[..., Any],
    pair: Sequence[Any],
    args: Sequence[Any],
    kwargs: Any,
) -> Any:
    """Record ``function(x, kernel)``, one of `verify.forward.convolution`."""
    x, kernel = map(value_of, pair)
    wanted = [isinstance(one, Recorded) and one.place is not None for one in pair]
    backs = {"convolve": _back_through_convolve, "spread": _back_through_spread}
    both = backs[function.__name__](x, kernel, kwargs)

    def pullback(output: Array) -> Callable[[Array], list[Array | None]]:
        return lambda d: [
            back(d) if want else None for back, want in zip(both, wanted, strict=True)
        ]

    return tape.record(
        pair,
        lambda a, b: function(a, b, *args, **kwargs),
        pullback,
        name="products",
        terms=kernel.size // min(kernel.shape[-2:]),
        place=id(kernel),
        by_row=True,
    )


Back = Callable[[Array], Array]
"""The adjoint of a result -> that of an operand."""


def _back_through_convolve(x: Array, kernel: Array, how: Any) -> tuple[Back, Back]:
    windows = Windows(x.shape, kernel.shape, **how)
    return (
        lambda d: windows.towards_x(d, kernel),
        lambda d: windows.towards_kernel(d, x),
    )


def _back_through_spread(x: Array, kernel: Array, how: Any) -> tuple[Back, Back]:
    """Return the ways back through the adjoint of a convolution: the convolution."""
    span = dilated_size(kernel.shape[:-2], how["dilation"])
    reached = tuple(
        slice((n - 1) * s + r)
        for n, s, r in zip(x.shape[1:-1], how["strides"], span, strict=True)
    )

    def towards_x(d: Array) -> Array:
        used = d[(slice(None), slice(None), *reached)]
        rows = used.reshape(-1, *used.shape[2:])
        return convolve(rows, kernel, padding="valid", **how).reshape(len(d), *x.shape)

    def towards_kernel(d: Array) -> Array:
        found = []
        for one in d[(slice(None), slice(None), *reached)]:
            windows = Windows(one.shape, kernel.shape, padding="valid", **how)
            found.append(windows.towards_kernel(x[None], one)[0])
        return np.stack(found)

    return towards_x, towards_kernel


class Windows:
    """Go back through one convolution, tap by tap of its kernel.

    Parameters
    ----------
    shape : tuple of int
        Of the input: (batch, spatial..., channels).
    kernel_shape : tuple of int
        (kernel_size..., channels / groups, filters).
    strides, padding, dilation, groups
        As for `verify.forward.convolution.convolve`.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        kernel_shape: tuple[int, ...],
        *,
        strides: Sequence[int],
        padding: str,
        dilation: Sequence[int],
        groups: int = 1,
    ) -> None:
        self.shape, self.kernel_shape, self.groups = shape, kernel_shape, groups
        self.strides, self.dilation = strides, dilation
        span = dilated_size(kernel_shape[:-2], dilation)
        self.widths = [
            pad_width(n, r, s, padding)
            for n, r, s in zip(shape[1:-1], span, strides, strict=True)
        ]

    def taps(
        self, counts: Sequence[int]
    ) -> Iterator[tuple[tuple[int, ...], tuple[slice, ...]]]:
        """Yield each tap of the kernel, and which numbers of padded rows it meets."""
        for offset in np.ndindex(*self.kernel_shape[:-2]):
            places = zip(offset, self.dilation, self.strides, counts, strict=True)
            yield (
                offset,
                tuple(
                    slice(j * d, j * d + (n - 1) * s + 1, s) for j, d, s, n in places
                ),
            )

    def towards_x(self, d: Array, kernel: Array) -> Array:
        """Return the adjoint of x; `d` is (sweeps, batch, windows..., filters)."""
        lengths = [
            n + sum(w) for n, w in zip(self.shape[1:-1], self.widths, strict=True)
        ]
        found = spread(
            d.reshape(-1, *d.shape[2:]), kernel, lengths,
            strides=self.strides, dilation=self.dilation, groups=self.groups,
        )  # fmt: skip
        inside = tuple(
            slice(w[0], w[0] + n)
            for n, w in zip(self.shape[1:-1], self.widths, strict=True)
        )
        x_shape = (d.shape[1], *self.shape[1:])
        return found[(slice(None), *inside)].reshape(len(d), *x_shape)

    def towards_kernel(self, d: Array, x: Array) -> Array:
        """Return the adjoint of the kernel; `d` as for `towards_x`."""
        *counts, filters = d.shape[2:]
        padded = np.pad(x, [(0, 0), *self.widths, (0, 0)])
        flat = d.reshape(len(d), -1, self.groups, filters // self.groups)
        found = np.zeros((len(d), *self.kernel_shape))
        for offset, at in self.taps(counts):
            met = padded[(slice(None), *at)].reshape(flat.shape[1], self.groups, -1)
            part = np.einsum("ngi,sngf->sigf", met, flat, optimize=True)
            place: Any = (slice(None), *offset)
            found[place] = part.reshape(found.shape[0], -1, filters)
        return found
