"""Run LiteRT files (.tflite) with the interpreter of ai-edge-litert."""

from __future__ import annotations

import importlib
import importlib.metadata
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from verify.errors import ModelFileError, UnsupportedError, join_and, printable
from verify.model.arrays import Array
from verify.ports.artefacts.errors import RuntimeRefused
from verify.ports.artefacts.runtimes.base import (
    Opening,
    Runtime,
    at_least,
    missing,
    one_line,
)
from verify.ports.artefacts.signature import Signature, TensorInfo
from verify.ports.artefacts.wire import DTYPES

EXTRA, SUFFIX, PACKAGE = "litert", ".tflite", "ai-edge-litert"

USUAL_SIGNATURE = "serving_default"
"""Signature that is run if a file has several."""

CUSTOM = 32
"""Number of the operator CUSTOM, whose name stands beside it. Source:
tflite/schema/schema.fbs, BuiltinOperator."""


def open_file(opening: Opening) -> LiteRtFile:
    """Load a LiteRT file.

    Raises
    ------
    UnsupportedError
        ai-edge-litert is missing or too old, or lacks an operator.
    ModelFileError
        The file is damaged.
    """
    try:
        importlib.import_module("ai_edge_litert.interpreter")
    except ImportError as error:
        raise missing(PACKAGE, EXTRA, SUFFIX, error) from None
    at_least(PACKAGE, importlib.metadata.version(PACKAGE), (2, 0), EXTRA, SUFFIX)
    return LiteRtFile(opening)


class LiteRtFile(Runtime):
    """Hold a LiteRT file in an interpreter with one thread.

    A file with signatures is run by the names of one; a file without, by the names of
    its tensors.

    Attributes
    ----------
    opening : Opening
    interpreter : ai_edge_litert.interpreter.Interpreter
    signature_name : str or None
    """

    def __init__(self, opening: Opening) -> None:
        self.opening = opening
        self._said = ""
        self.runtime = f"{PACKAGE} {importlib.metadata.version(PACKAGE)}"
        self.interpreter = self.interpreter_of()
        names = list(self.interpreter.get_signature_list())
        usual = USUAL_SIGNATURE if USUAL_SIGNATURE in names else None
        self.signature_name = usual or next(iter(names), None)
        notes = []
        if len(names) > 1:
            notes.append(
                f"the signature {printable(self.signature_name)} is run, of "
                f"{join_and(printable(name) for name in names)}"
            )
        ends = {**self.inputs(), **self.outputs()}
        for name, (scale, zero_point) in quantised(ends).items():
            notes.append(
                f"{printable(name, 60)} is {np.dtype(ends[name]['dtype']).name} in the "
                f"file, for numbers by the scale {scale:g} and the zero point "
                f"{zero_point}: they are converted here, as the file declares it"
            )
        if not names:
            notes.append("it has no signature, so tensors go by their own names")
        self.signature = Signature(
            tuple(_tensor_info(name, info) for name, info in self.inputs().items()),
            tuple(_tensor_info(name, info) for name, info in self.outputs().items()),
            tuple(notes),
        )

    def interpreter_of(self, preserve_all_tensors: bool = False) -> Any:
        """Return a fresh interpreter, ready to run.

        Parameters
        ----------
        preserve_all_tensors : bool, optional
            Keep every tensor of a run to be read afterwards; this runs without the
            delegate that otherwise computes.

        Raises
        ------
        ModelFileError
            The interpreter refuses the file.
        UnsupportedError
            It lacks an operator of the file.
        """
        from ai_edge_litert.interpreter import Interpreter

        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                interpreter = Interpreter(
                    model_path=self.opening.path,
                    num_threads=1,
                    experimental_preserve_all_tensors=preserve_all_tensors,
                )
                interpreter.allocate_tensors()
        except Exception as error:
            reason = one_line(error)
            lacking = "custom op" in reason or "Select TensorFlow" in reason
            custom = self._custom_operators() if lacking else []
            if custom:
                raise UnsupportedError(
                    f"{self.opening.shown}: {self.runtime} lacks the operators "
                    f"{join_and(custom)}"
                    + (
                        "; export it for a fixed batch, which needs none of "
                        "TensorFlow's (Flex)"
                        if any(name.startswith("Flex") for name in custom)
                        else ""
                    )
                ) from None
            raise ModelFileError(
                f"{self.opening.shown}: {self.runtime} cannot load it: {reason}"
            ) from None
        return interpreter

    def inputs(self) -> dict[str, dict[str, Any]]:
        """Return what the interpreter says of each input, by name."""
        if self.signature_name is not None:
            runner = self.interpreter.get_signature_runner(self.signature_name)
            found: dict[str, dict[str, Any]] = runner.get_input_details()
            return found
        return _by_name(self.interpreter.get_input_details())

    def outputs(self) -> dict[str, dict[str, Any]]:
        """Return what the interpreter says of each output, by name."""
        if self.signature_name is not None:
            runner = self.interpreter.get_signature_runner(self.signature_name)
            found: dict[str, dict[str, Any]] = runner.get_output_details()
            return found
        return _by_name(self.interpreter.get_output_details())

    def renew(self) -> None:
        """Begin again with the state that the file has."""
        self.interpreter = self.interpreter_of()

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Return the outputs by name, given the inputs by name."""
        return self.run_with(self.interpreter, feeds)

    def run_with(
        self, interpreter: Any, feeds: Mapping[str, Array]
    ) -> dict[str, Array]:
        """Run an interpreter of this file, its inputs resized to what they are given.

        Inputs and outputs that are whole numbers by a scale and a zero point are floats
        here.

        Raises
        ------
        RuntimeRefused
            The interpreter refuses these inputs.
        """
        declared = self.inputs()
        kept = quantised(declared)
        feeds = {
            name: _quantise(array, *kept[name], declared[name]["dtype"])
            if name in kept
            else array
            for name, array in feeds.items()
        }
        outputs = self._outputs_of(interpreter, feeds)
        for name, (scale, zero_point) in quantised(self.outputs()).items():
            numbers = outputs[name].astype(np.float64) - zero_point
            outputs[name] = (scale * numbers).astype(np.float32)
        return outputs

    def _outputs_of(
        self, interpreter: Any, feeds: Mapping[str, Array]
    ) -> dict[str, Array]:
        before = self._said
        try:
            if self.signature_name is not None:
                runner = interpreter.get_signature_runner(self.signature_name)
                return {
                    name: np.array(array) for name, array in runner(**feeds).items()
                }
            details = _by_name(interpreter.get_input_details())
            for name, array in feeds.items():
                # strict: only what the file leaves open may have another size
                interpreter.resize_tensor_input(
                    details[name]["index"], array.shape, strict=True
                )
            interpreter.allocate_tensors()
            for name, array in feeds.items():
                interpreter.set_tensor(details[name]["index"], array)
            interpreter.invoke()
            return {
                name: np.array(interpreter.get_tensor(info["index"]))
                for name, info in _by_name(interpreter.get_output_details()).items()
            }
        except Exception as error:
            # the interpreter says again what it has said of earlier inputs
            said, self._said = str(error), str(error)
            new = said.removeprefix(before) or said
            raise RuntimeRefused(one_line(new)) from None

    def constants(self) -> dict[str, Array]:
        """Return every constant of the file by name, those of loops included.

        A name that comes again gets its sub-graph and number: ``name#2.5``.
        """
        found: dict[str, Array] = {}
        for subgraph, index, name, array in self.constant_tensors():
            found[f"{name}#{subgraph}.{index}" if name in found else name] = array
        return found

    def constant_tensors(self) -> Iterator[tuple[int, int, str, Array]]:
        """Yield each constant: sub-graph, number there, name and array.

        Constants of types that NumPy does not know are left out.
        """
        from ai_edge_litert import schema_py_generated as schema

        names = {
            number: name.lower()
            for name, number in vars(schema.TensorType).items()
            if isinstance(number, int)
        }
        data = Path(self.opening.path).read_bytes()
        model = schema.Model.GetRootAs(data, 0)
        for s in range(model.SubgraphsLength()):
            subgraph = model.Subgraphs(s)
            for index in range(subgraph.TensorsLength()):
                tensor = subgraph.Tensors(index)
                buffer = model.Buffers(tensor.Buffer())
                dtype = names[tensor.Type()]
                if buffer.DataLength() == 0 or dtype not in DTYPES:
                    continue
                shape = tuple(tensor.Shape(k) for k in range(tensor.ShapeLength()))
                array = np.frombuffer(buffer.DataAsNumpy(), np.dtype(dtype))
                if array.size != int(np.prod(shape)):
                    raise ModelFileError(
                        f"{self.opening.shown} is damaged (tensor {index} of sub-graph "
                        f"{s} has {array.size} numbers, not {int(np.prod(shape))})"
                    )
                yield s, index, (tensor.Name() or b"").decode(), array.reshape(shape)

    def _custom_operators(self) -> list[str]:
        """Return the names of the operators that are not of LiteRT itself."""
        from ai_edge_litert import schema_py_generated as schema

        model = schema.Model.GetRootAs(Path(self.opening.path).read_bytes(), 0)
        codes = [model.OperatorCodes(k) for k in range(model.OperatorCodesLength())]
        return sorted(
            printable((code.CustomCode() or b"").decode(errors="replace"), 80)
            for code in codes
            if CUSTOM in (code.BuiltinCode(), code.DeprecatedBuiltinCode())
        )


def _by_name(details: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {str(info["name"]): info for info in details}


def quantised(details: Mapping[str, Mapping[str, Any]]) -> dict[str, tuple[float, int]]:
    """Return scale and zero point of each tensor that stands for floats by them.

    Parameters
    ----------
    details : mapping
        What the interpreter says of each tensor, by name.
    """
    return {
        name: (float(info["quantization"][0]), int(info["quantization"][1]))
        for name, info in details.items()
        if np.dtype(info["dtype"]).kind in "iu" and info["quantization"][0]
    }


def _quantise(x: Array, scale: float, zero_point: int, dtype: Any) -> Array:
    """Return the nearest whole numbers that stand for these, cut off at the ends."""
    limits = np.iinfo(dtype)
    numbers = np.rint(np.asarray(x, np.float64) / scale) + zero_point
    return np.clip(numbers, limits.min, limits.max).astype(dtype)


def _tensor_info(name: str, info: Mapping[str, Any]) -> TensorInfo:
    """Return an input or output as the interpreter describes it."""
    sizes = info["shape_signature"] if len(info["shape_signature"]) else info["shape"]
    shape = tuple(None if size < 0 else int(size) for size in sizes)
    whole = not quantised({name: info})
    return TensorInfo(name, shape, np.dtype(info["dtype"]).name if whole else "float32")
