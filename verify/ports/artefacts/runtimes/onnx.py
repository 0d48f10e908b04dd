"""Run ONNX files with onnxruntime."""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from verify.errors import ModelFileError, UnsupportedError, printable
from verify.model.arrays import Array
from verify.model.dtypes import dtype_of
from verify.ports.artefacts.errors import RuntimeRefused
from verify.ports.artefacts.kinds import MAX_BYTES
from verify.ports.artefacts.runtimes.base import (
    Opening,
    Runtime,
    at_least,
    missing,
    one_line,
)
from verify.ports.artefacts.signature import Signature, TensorInfo

EXTRA, SUFFIX = "onnx", ".onnx"

DTYPES = {
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(float16)": "float16",
    "tensor(bfloat16)": "bfloat16",
    "tensor(bool)": "bool",
    **{f"tensor({sign}int{n})": f"{sign}int{n}" for sign in ("", "u") for n in (8, 16)},
    **{
        f"tensor({sign}int{n})": f"{sign}int{n}" for sign in ("", "u") for n in (32, 64)
    },
}
"""Types of onnxruntime, and what NumPy calls them."""

BFLOAT16 = 16
"""Number of the type in ONNX. Source: onnx/onnx.proto, TensorProto.DataType."""


def open_file(opening: Opening) -> OnnxFile:
    """Load an ONNX file, after a look at what it refers to.

    Raises
    ------
    UnsupportedError
        onnx or onnxruntime is missing or too old, or lacks an operator.
    ModelFileError
        The file is damaged, or refers to data that is absent or outside its folder.
    """
    try:
        import onnx
    except ImportError as error:
        raise missing("onnx", EXTRA, SUFFIX, error) from None
    try:
        import onnxruntime
    except ImportError as error:
        raise missing("onnxruntime", EXTRA, SUFFIX, error) from None
    at_least("onnxruntime", onnxruntime.__version__, (1, 20), EXTRA, SUFFIX)
    try:
        proto = onnx.load(opening.path, load_external_data=False)
    except Exception as error:
        raise ModelFileError(
            f"{opening.shown} is damaged ({one_line(error)})"
        ) from None
    check_external_data(proto, Path(opening.path), opening.shown)
    return OnnxFile(opening, proto)


def tensors_of(proto: Any) -> Iterator[tuple[str, Any]]:
    """Yield every tensor of a model, with a name that tells where it is.

    Initializers, attributes of nodes, bodies of loops and functions are visited.
    """
    for function in proto.functions:
        for node in function.node:
            yield from _tensors_of_node(node, f"{function.name}/")
    yield from _tensors_of_graph(proto.graph, "")


def _tensors_of_graph(graph: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    for tensor in graph.initializer:
        yield f"{prefix}{tensor.name}", tensor
    for sparse in graph.sparse_initializer:
        yield f"{prefix}{sparse.values.name}", sparse.values
        yield f"{prefix}{sparse.values.name}/indices", sparse.indices
    for node in graph.node:
        yield from _tensors_of_node(node, prefix)


def _tensors_of_node(node: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    name = node.output[0] if node.output else node.name
    for attribute in node.attribute:
        if attribute.HasField("t"):
            end = "" if node.op_type == "Constant" else f"/{attribute.name}"
            yield f"{prefix}{name}{end}", attribute.t
        for k, tensor in enumerate(attribute.tensors):
            yield f"{prefix}{name}/{attribute.name}/{k}", tensor
        graphs = [attribute.g] if attribute.HasField("g") else []
        for graph in (*graphs, *attribute.graphs):
            inner = f"{prefix}{node.name or name}/{attribute.name}/"
            yield from _tensors_of_graph(graph, inner)


def check_external_data(proto: Any, path: Path, shown: str) -> None:
    """Require that everything a model refers to is a file in its own folder.

    Raises
    ------
    ModelFileError
        Data is absent, lies outside the folder or is shorter than the model says, or
        model and data together are too large.
    """
    folder = path.parent.resolve()
    sizes = {path.name: path.stat().st_size}
    for name, tensor in tensors_of(proto):
        if tensor.data_location != tensor.EXTERNAL:
            continue
        entries = {entry.key: entry.value for entry in tensor.external_data}
        location = entries.get("location", "")
        where = f"{shown}: the data of {printable(name, 80)} "
        outside = ModelFileError(
            f"{where}lies outside the folder of the file ({printable(location)})"
        )
        if not location or os.path.isabs(location) or "\\" in location:
            raise outside
        if ".." in Path(location).parts or "\0" in location:
            raise outside
        found = folder / location
        if not found.exists():
            raise ModelFileError(f"{where}is absent ({printable(location)})")
        # a link out of the folder, or a folder on the way that is one
        if not found.resolve().is_relative_to(folder):
            raise outside
        if not found.is_file():
            raise ModelFileError(f"{where}is not a file ({printable(location)})")
        sizes[location] = found.stat().st_size
        try:
            offset = int(entries.get("offset", "0"))
            length = int(entries.get("length", "0"))
        except ValueError:
            offset = -1
        if offset < 0 or length < 0 or offset + length > sizes[location]:
            raise ModelFileError(
                f"{where}is not within the {sizes[location]:,} bytes of "
                f"{printable(location)}"
            )
    total = sum(sizes.values())
    if total > MAX_BYTES:
        raise ModelFileError(
            f"{shown}: expected at most {MAX_BYTES // 10**9} GB with its data. "
            f"Received: {total:,} bytes"
        )


class OnnxFile(Runtime):
    """Hold an ONNX file in onnxruntime, on one thread of the CPU.

    Attributes
    ----------
    proto : onnx.ModelProto
        The model as the file has it; external data is not loaded.
    session : onnxruntime.InferenceSession
    """

    def __init__(self, opening: Opening, proto: Any) -> None:
        import onnxruntime

        self.opening = opening
        self.proto = proto
        self.runtime = f"onnxruntime {onnxruntime.__version__}"
        self.renew()
        self.signature = Signature(
            tuple(map(_tensor_info, self.session.get_inputs())),
            tuple(map(_tensor_info, self.session.get_outputs())),
        )
        for info in (*self.signature.inputs, *self.signature.outputs):
            if info.dtype not in DTYPES.values():
                raise UnsupportedError(
                    f"expected tensors of numbers. Received: {info.name} of type "
                    f"{info.dtype}"
                )

    def renew(self) -> None:
        """Begin again with the state that the file has."""
        self.session = self.session_of(self.opening.path)

    def session_of(self, model: str | bytes) -> Any:
        """Return an onnxruntime session for a path, or for the bytes of a model.

        Raises
        ------
        ModelFileError
            onnxruntime refuses the model.
        UnsupportedError
            It lacks an operator of the model.
        """
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        try:
            return onnxruntime.InferenceSession(
                model, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            reason = _without_code(one_line(error))
            lacking = ("NOT_IMPLEMENTED", "not a registered", "No Op registered")
            if any(words in str(error) for words in lacking):
                raise UnsupportedError(
                    f"{self.opening.shown}: {self.runtime} lacks an operator: {reason}"
                ) from None
            raise ModelFileError(
                f"{self.opening.shown}: {self.runtime} cannot load it: {reason}"
            ) from None

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Return the outputs by name, given the inputs by name."""
        return run_session(self.session, feeds)

    def constants(self) -> dict[str, Array]:
        """Return every constant of the file by name, sub-graphs included."""
        from onnx import TensorProto, numpy_helper

        found: dict[str, Array] = {}
        folder = os.path.dirname(self.opening.path)
        for name, tensor in tensors_of(self.proto):
            if tensor.data_type == TensorProto.STRING:
                continue
            found[name] = np.asarray(numpy_helper.to_array(tensor, base_dir=folder))
        return found


def run_session(session: Any, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """Run an onnxruntime session.

    Raises
    ------
    RuntimeRefused
        onnxruntime refuses the inputs.
    """
    import onnxruntime

    names = [info.name for info in session.get_outputs()]
    try:
        values = {
            name: onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(
                array.view(np.uint16), BFLOAT16
            )
            if array.dtype.name == "bfloat16"
            else onnxruntime.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(array))
            for name, array in feeds.items()
        }
        outputs = session.run_with_ort_values(names, values)
        return {name: _array(value) for name, value in zip(names, outputs, strict=True)}
    except Exception as error:
        raise RuntimeRefused(_without_code(one_line(error))) from None


def _array(value: Any) -> Array:
    """Return a copy of an OrtValue's numbers; onnxruntime has no form for bfloat16."""
    if value.data_type() != "tensor(bfloat16)":
        return np.asarray(value.numpy())
    shape = tuple(value.shape())
    data = ctypes.string_at(value.data_ptr(), 2 * int(np.prod(shape)))
    return np.frombuffer(data, dtype_of("bfloat16")).reshape(shape)


def _tensor_info(info: Any) -> TensorInfo:
    """Return an input or output as onnxruntime describes it."""
    shape = tuple(
        axis if isinstance(axis, int) and axis >= 0 else None for axis in info.shape
    )
    return TensorInfo(info.name, shape, DTYPES.get(info.type, info.type))


def _without_code(message: str) -> str:
    """Leave out what says where in onnxruntime an error arose, and the file's path.

    Such as ``[ONNXRuntimeError] : 2 : INVALID_ARGUMENT :``, and then
    ``Load model from PATH failed:/onnxruntime_src/FILE:LINE SIGNATURE``. What is left
    is the same wherever the file lies.
    """
    parts = message.split(" : ", 3)
    if message.startswith("[ONNXRuntimeError]") and len(parts) == 4:
        message = parts[3].strip()
    message = re.sub(r"^Load model from \S.*? failed:", "", message)
    return re.sub(r"^/onnxruntime_src/\S+:\d+ [^(]+\(.*?\)(?: const)? ", "", message)
