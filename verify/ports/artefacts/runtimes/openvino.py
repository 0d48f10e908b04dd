"""Run OpenVINO's files (.xml with .bin) on the CPU."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from verify.errors import ModelFileError, UnsupportedError, printable
from verify.model.arrays import Array
from verify.ports.artefacts.errors import RuntimeRefused
from verify.ports.artefacts.kinds import MAX_BYTES
from verify.ports.artefacts.runtimes.base import (
    Opening,
    Runtime,
    at_least,
    missing,
)
from verify.ports.artefacts.signature import Signature, TensorInfo

EXTRA, SUFFIX = "openvino", "an OpenVINO .xml"

DEVICE = "CPU"
HINT = "INFERENCE_PRECISION_HINT"
HINTS = {"float32": "f32", "bfloat16": "bf16", "float16": "f16"}
"""Precision by the name of NumPy -> what OpenVINO calls it."""

PRECISIONS = {"float32": "float32", "bfloat16": "bfloat16", "float16": "float16"}

SHAPES_KEPT = 8
"""Number of shapes for which a compiled model is kept, where each needs its own."""


def open_file(opening: Opening) -> OpenVinoFile:
    """Load an .xml and its .bin.

    Raises
    ------
    UnsupportedError
        OpenVINO is missing or too old, or lacks an operation.
    ModelFileError
        The file is damaged, or its weights are absent.
    """
    try:
        import openvino
    except ImportError as error:
        raise missing("openvino", EXTRA, SUFFIX, error) from None
    at_least("openvino", openvino.__version__, (2025, 0), EXTRA, SUFFIX)
    path = Path(opening.path)
    weights = path.with_suffix(".bin")
    if not weights.is_file():
        raise ModelFileError(
            f"{opening.shown}: expected its weights in {printable(weights.name)} "
            "beside it"
        )
    size = path.stat().st_size + weights.stat().st_size
    if size > MAX_BYTES:
        raise ModelFileError(
            f"{opening.shown}: expected at most {MAX_BYTES // 10**9} GB with its "
            f"weights. Received: {size:,} bytes"
        )
    return OpenVinoFile(opening)


class OpenVinoFile(Runtime):
    """Hold a model in OpenVINO, compiled for one thread of the CPU.

    Attributes
    ----------
    opening : Opening
    core : openvino.Core
    model : openvino.Model
        The model as the file has it.
    """

    def __init__(self, opening: Opening) -> None:
        import openvino

        self.opening = opening
        self.runtime = f"OpenVINO {openvino.__version__.partition('-')[0]}"
        self.core = openvino.Core()
        self.model = self.read()
        self.config: dict[str, Any] = {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1}
        notes = [self._set_precision(opening.precision_hint)]
        self._requests: dict[tuple[tuple[int, ...], ...], Any] = {}
        self._request: Any = None
        try:
            self._request = self.compiled(self.model).create_infer_request()
        except Exception as error:
            inputs = self.model.inputs
            if not any(port.get_partial_shape().is_dynamic for port in inputs):
                raise ModelFileError(
                    f"{opening.shown}: {self.runtime} cannot compile it: {_why(error)}"
                ) from None
            notes.append(
                f"{self.runtime} does not compile it with the open axes that it "
                f"declares ({_why(error)}), so it is compiled anew for the shapes of "
                "each call"
            )
        self.signature = Signature(
            tuple(_tensor_info(port) for port in self.model.inputs),
            tuple(_tensor_info(port) for port in self.model.outputs),
            tuple(notes),
        )

    def read(self) -> Any:
        """Return a fresh copy of the model in the file.

        Raises
        ------
        ModelFileError
            OpenVINO refuses the file.
        UnsupportedError
            It lacks an operation of the file.
        """
        try:
            return self.core.read_model(self.opening.path)
        except Exception as error:
            why = _why(error)
            lacking = ("doesn't contain the operation", "Cannot create")
            if any(words in why for words in lacking):
                raise UnsupportedError(
                    f"{self.opening.shown}: {self.runtime} lacks an operation: {why}"
                ) from None
            raise ModelFileError(
                f"{self.opening.shown}: {self.runtime} cannot read it: {why}"
            ) from None

    def compiled(self, model: Any) -> Any:
        """Return a model compiled for the CPU, in the precision that was asked for."""
        return self.core.compile_model(model, DEVICE, self.config)

    def _set_precision(self, wanted: str | None) -> str:
        """Set the precision; return a sentence that says which it is."""
        kind = self.core.get_property(DEVICE, HINT)
        usual = getattr(kind, "get_type_name", lambda: "f32")()
        usual = {short: name for name, short in HINTS.items()}.get(usual, usual)
        if wanted is None:
            return f"OpenVINO computes in {usual}, its choice on this CPU"
        if wanted not in HINTS:
            raise UnsupportedError(
                f"expected one of {', '.join(HINTS)} as the precision. Received: "
                f"{printable(wanted)}"
            )
        self.config[HINT] = HINTS[wanted]
        other = "" if usual == wanted else f"; by default it computes in {usual} here"
        return (
            f"OpenVINO was asked to compute in {wanted} ({HINT}={HINTS[wanted]}){other}"
        )

    @property
    def anew(self) -> bool:
        """Return whether the model is compiled anew for the shapes of each call."""
        return self._request is None

    def renew(self) -> None:
        """Begin again with the state that the file has."""
        self._requests.clear()
        if self._request is not None:
            self._request = self._request.get_compiled_model().create_infer_request()

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Return the outputs by name, given the inputs by name.

        Raises
        ------
        RuntimeRefused
            OpenVINO refuses these inputs.
        """
        arrays = {
            k: np.ascontiguousarray(feeds[port_name(port)])
            for k, port in enumerate(self.model.inputs)
        }
        for k, port in enumerate(self.model.inputs):
            # infer would convert to the dtype of the input without a word
            wanted = port.get_element_type().to_dtype()
            if arrays[k].dtype != wanted:
                raise RuntimeRefused(
                    f"{port_name(port)}: expected dtype {wanted}. "
                    f"Received: {arrays[k].dtype}"
                )
        try:
            request = self._request or self._request_for(arrays)
            found = request.infer(arrays, share_inputs=False, share_outputs=False)
        except Exception as error:
            raise RuntimeRefused(_why(error)) from None
        return {
            port_name(port): np.array(found[k])
            for k, port in enumerate(self.model.outputs)
        }

    def _request_for(self, arrays: Mapping[int, Array]) -> Any:
        """Return what runs the model, compiled for the shapes of these inputs."""
        import openvino

        shapes = tuple(array.shape for array in arrays.values())
        if shapes not in self._requests:
            if len(self._requests) >= SHAPES_KEPT:
                self._requests.clear()
            model = self.read()
            model.reshape(
                {
                    k: openvino.PartialShape(list(shape))
                    for k, shape in enumerate(shapes)
                }
            )
            self._requests[shapes] = self.compiled(model).create_infer_request()
        return self._requests[shapes]

    def constants(self) -> dict[str, Array]:
        """Return every constant of the file by name, bodies of loops included."""
        return {
            name: np.array(node.data)
            for name, node in operations(self.model)
            if node.get_type_name() == "Constant"
            and node.get_element_type().to_dtype().kind in "biufV"
        }


def operations(model: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every operation of a model with its name, bodies of loops included.

    The name of an operation inside a loop begins with that of the loop.
    """
    for node in model.get_ordered_ops():
        name = f"{prefix}{node.get_friendly_name()}"
        yield name, node
        for get in ("get_function", "get_then_body", "get_else_body"):
            if hasattr(node, get):
                yield from operations(getattr(node, get)(), f"{name}/")


def port_name(port: Any) -> str:
    """Return the name of an input or output; one without has that of its operation."""
    names = sorted(port.get_names())
    return str(names[0] if names else port.get_node().get_friendly_name())


def _tensor_info(port: Any) -> TensorInfo:
    """Return an input or output as OpenVINO describes it."""
    sizes = port.get_partial_shape()
    shape = None
    if not sizes.rank.is_dynamic:
        shape = tuple(None if n.is_dynamic else n.get_length() for n in sizes)
    return TensorInfo(
        port_name(port), shape, np.dtype(port.get_element_type().to_dtype()).name
    )


def _why(error: Exception) -> str:
    """Return what OpenVINO says, without the places in its own code."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = [line for line in lines if not line.startswith("Exception from ")]
    return printable(" ".join(said) or type(error).__name__, 400)
