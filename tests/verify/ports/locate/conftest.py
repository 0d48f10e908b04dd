"""Files with a planted mistake, and a session that runs them in this process."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
import pytest

from verify import Network, load
from verify.model.arrays import Array
from verify.ports.artefacts import kinds
from verify.ports.artefacts.process import answer
from verify.ports.artefacts.runtimes.base import Opening
from verify.ports.artefacts.session import Session
from verify.ports.convert.to_onnx.model import onnx_model
from verify.ports.locate import Location, locate

EXPORTED = Path(__file__).parents[3] / "data" / "exported"
Change = Callable[[Any], None]


class Here:
    """A session without a process of its own, which takes a third of a second."""

    def __init__(self, path: Path) -> None:
        self.path, self.kind = path, kinds.recognise(path)
        module = importlib.import_module(f"verify.ports.artefacts.runtimes.{self.kind}")
        opening = Opening(self.kind, str(path), path.name, "float32")
        self.runtime: Any = module.open_file(opening)
        self.signature = self.runtime.signature

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """As the session does."""
        return dict(self.runtime.run(feeds))

    def renew(self) -> None:
        """As the session does."""
        self.runtime.renew()

    def constants(self) -> dict[str, Array]:
        """As the session does."""
        return dict(self.runtime.constants())

    def ask(self, request: str, arguments: Any = None, arrays: Any = None) -> Any:
        """As the session does."""
        header = {"request": request, "arguments": arguments or {}}
        return answer(self.runtime, header, dict(arrays or {}))


def located(path: Path, net: Network, x: Any) -> Location | None:
    """Where a file leaves a model, inputs and outputs matched by their places."""
    session = cast(Session, Here(path))
    rows = net.prepare(x)
    inputs = [info.name for info in session.signature.inputs]
    outputs = [info.name for info in session.signature.outputs]
    return locate(
        session,
        net,
        rows,
        dict(zip(inputs, rows, strict=True)),
        dict(zip(net.output_names, outputs, strict=False)),
    )


def place(location: Location | None) -> tuple[str | None, str | None, int | None, Any]:
    """Layer, gate, step and unit."""
    assert location is not None
    return location.layer, location.gate, location.step, location.unit


@pytest.fixture
def planted(tmp_path: Path) -> Callable[..., Location | None]:
    """Write a network as ONNX, change the file, and locate the difference."""

    def run(net: Network, x: Any, *changes: Change) -> Location | None:
        proto = onnx.ModelProto.FromString(onnx_model(net).content)
        for change in changes:
            change(proto)
        path = tmp_path / "model.onnx"
        onnx.save(proto, path)
        return located(path, net, x)

    return run


@pytest.fixture
def patched(tmp_path: Path) -> Callable[..., Location | None]:
    """Change one number of a weight inside an exported file, and locate it."""

    def run(name: str, suffix: str, x: Any, weight: str, *at: int) -> Location | None:
        net = load(EXPORTED / f"{name}.keras")
        path = tmp_path / f"{name}{suffix}"
        for each in {suffix, ".bin" if suffix == ".xml" else suffix}:
            content = (EXPORTED / f"{name}{each}").read_bytes()
            if weight and (suffix != ".xml" or each == ".bin"):
                layer, _, key = weight.rpartition("/")
                value = np.float32(net.spec[layer].weights[key][at])
                changed = np.float32(value + np.float32(0.3)).tobytes()
                assert value.tobytes() in content
                content = content.replace(value.tobytes(), changed)
            path.with_suffix(each).write_bytes(content)
        return located(path, net, x)

    return run
