"""Exported files that are none: a NumPy function with a signature, for the tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from support.graphs import given, rnn
from support.graphs import net as network
from support.nets import INPUTS

from verify import Network
from verify.forward.evaluable import Inputs
from verify.model.graph import TensorRef
from verify.ports.artefacts.errors import RuntimeRefused
from verify.ports.artefacts.signature import Signature, TensorInfo
from verify.ports.exported import Allowed, _Comparison
from verify.ports.matching import match

Port = Callable[[Inputs, dict[str, Any]], list[np.ndarray]]
"""A port: inputs of the model, and a dict that lives as long as an interpreter."""


class FakeSession:
    """Stands in for what `open_session` returns: a port that is a function."""

    path, kind, runtime = Path("port.pb"), "saved_model", "a function 1.0"

    def __init__(
        self,
        net: Network,
        port: Port,
        *,
        batch: int | None = None,
        constants: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        self.net, self.port, self.batch = net, port, batch
        self.kept: dict[str, Any] = {}
        self._constants = dict(constants or weights_of(net))
        self.signature = Signature(
            tuple(
                TensorInfo(
                    name, (None, *layer.options["batch_shape"][1:]), _dtype(layer)
                )
                for name, layer in zip(net.input_names, net.spec.inputs, strict=True)
            ),
            tuple(TensorInfo(name, None, "float32") for name in net.output_names),
        )

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        x = Inputs(feeds[name] for name in self.net.input_names)
        if self.batch not in (None, x.rows):
            raise RuntimeRefused(f"{self.path}: takes {self.batch} row(s)")
        outputs = [y.astype(np.float32) for y in self.port(x, self.kept)]
        return dict(zip(self.net.output_names, outputs, strict=True))

    def renew(self) -> None:
        self.kept.clear()

    def constants(self) -> dict[str, np.ndarray]:
        return self._constants

    def ask(self, *_: Any) -> Any:
        return {}, {}

    def close(self) -> None:
        pass


def _dtype(layer: Any) -> str:
    return str(layer.options["dtype"])


def weights_of(net: Network) -> dict[str, np.ndarray]:
    """Return every weight of a model by its path."""
    return {
        f"{path}/{key}": np.array(value)
        for path, layer in net.spec.walk()
        for key, value in layer.weights.items()
    }


def report_on(
    net: Network,
    port: Port,
    x: Any = None,
    *,
    seconds: float = 3,
    tolerance: float | None = None,
    **options: Any,
) -> Any:
    """Return the report on a port that is a function."""
    session: Any = FakeSession(net, port, **options)
    matching = match(net, session.signature)
    allowed = Allowed(tolerance, diagnosis_seconds=seconds)
    return _Comparison(net, session, matching, allowed, lambda text: None).run(x)


def two_of_each() -> Network:
    """Two inputs of one shape, and an LSTM on each, whose outputs have one shape."""
    return Network(
        network(
            [
                given("a", 6, INPUTS),
                given("b", 6, INPUTS),
                rnn("LSTM", "one", INPUTS, 4, seed=1),
                rnn("LSTM", "two", INPUTS, 4, seed=7),
            ],
            {"one": "a", "two": "b"},
            ["one", "two"],
        )
    )


def with_states() -> Network:
    """An LSTM whose mask and initial states are inputs, and its states outputs."""
    return Network(
        network(
            [
                given("x", 6, INPUTS),
                given("keep", 6, dtype="bool"),
                given("h", 4),
                given("c", 4),
                rnn("LSTM", "lstm", INPUTS, 4, seed=3, return_state=True),
            ],
            {"lstm": ("x", {"mask": "keep", "initial_state": ["h", "c"]})},
            [TensorRef("lstm", 0, k) for k in range(3)],
        )
    )
