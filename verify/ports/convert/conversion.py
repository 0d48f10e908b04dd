"""Convert a model, or its weights, to another framework, and prove it before writing.

Nothing is written until the target has been run, or the weights read back, and the
outputs have passed `verify.compare_outputs` in every probe.
"""

from __future__ import annotations

import io
import json
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from verify.checks.load import load
from verify.data.files import output_path, write_atomically
from verify.errors import (
    DataError,
    UnsupportedError,
    VerifyError,
    did_you_mean,
    install_hint,
    join_and,
    printable,
)
from verify.forward.evaluate import cast_to
from verify.forward.network import Network
from verify.model.arguments import typed
from verify.model.arrays import Array
from verify.model.conventions import find_framework, frameworks
from verify.model.dtypes import POLICIES
from verify.model.spec import ModelSpec
from verify.ports.artefacts.session import open_session
from verify.ports.convert import arrays as named
from verify.ports.convert.c_header import c_header, identifiers, read_header
from verify.ports.convert.proof import Proof, prove, prove_file
from verify.ports.convert.to_onnx.model import OnnxModel, onnx_model
from verify.ports.convert.to_onnx.run import OPENVINO
from verify.ports.probes import Probe

MODEL_FORMATS = ("onnx", "openvino", "tflite", "c")
"""Names of what a model can be converted to, beside arrays for every framework."""

ARRAYS = (".npz", ".safetensors")
"""Suffixes of files of named arrays, which every framework has."""

WHOLE: Mapping[str, str] = {
    "onnxruntime": ".onnx",
    "openvino": ".xml",
    "litert": ".tflite",
}
"""Framework -> the suffix of a file that holds the whole model."""

C_NAMES = ("c", "c header", "h")


@dataclass(frozen=True)
class Conversion:
    """Hold what `convert` has written, and how it was proved.

    Attributes
    ----------
    framework : str
    form : str
        What the file holds, in a few words: ``"the whole model, opset 18"``.
    paths : tuple of Path
        The files, the one that was asked for first.
    notes : tuple of str
        Sentences on how it is written and how it is to be used.
    proof : Proof
    """

    framework: str
    form: str
    paths: tuple[Path, ...]
    notes: tuple[str, ...]
    proof: Proof

    def __str__(self) -> str:
        files = join_and(printable(path) for path in self.paths)
        lines = [f"{files}: {self.form}", *self.notes, f"Proved: {self.proof}"]
        return "\n  ".join(printable(line, 1_000) for line in lines)

    def to_json(self) -> str:
        """Return the same as a JSON document."""
        content = {
            "framework": self.framework,
            "form": self.form,
            "files": [str(path) for path in self.paths],
            "notes": list(self.notes),
            "proof": {
                "how": self.proof.how,
                "probes": {k: v.value for k, v in self.proof.verdicts.items()},
                "greatest_difference": self.proof.difference,
                "greatest_output": self.proof.scale,
            },
        }
        return json.dumps(content, indent=2)


@typed
def convert(
    model: Any,
    to: str,
    out: str | os.PathLike[str],
    *,
    config: str | os.PathLike[str] | None = None,
    semantics: str | None = None,
    backend: str | None = None,
    keras: str | None = None,
    dtype: str | None = None,
) -> Conversion:
    """Write a model, or its weights, in the form of another framework.

    Parameters
    ----------
    model : path to a model file, Network, or keras.Model
    to : str
        ``"onnx"``, ``"openvino"``, ``"c"``, or a name that `verify.conventions` knows,
        such as ``"torch"``.
    out : path
        The file to write, whose suffix decides the form: ``.onnx``, ``.xml`` of
        OpenVINO or ``.tflite`` for the whole model; ``.npz`` or ``.safetensors`` for
        the weights under the framework's names; ``.h`` for C. A file of that name is
        replaced.
    config, semantics, backend, keras
        As for `load`.
    dtype : "float32", optional
        Convert the model as it computes in float32, whatever the policies of its
        layers. Runtimes have many operators in float32 only.

    Returns
    -------
    Conversion

    Raises
    ------
    UnsupportedError
        The framework has no form for a layer or an option, or its runtime is missing.
    NotProven
        The result differs from the model. Nothing is written then.
    DataError
        `out` cannot be written.
    """
    path = require_target(to, out)
    net = load(model, config=config, semantics=semantics, backend=backend, keras=keras)
    if dtype is not None:
        net = _in_dtype(net, dtype)
    net.spec.require_finite()
    suffix = path.suffix.lower()
    if suffix == ".h":
        return _as_header(net, path)
    if suffix == ".onnx":
        return _as_onnx(net, path)
    if suffix == ".xml":
        return _as_openvino(net, path)
    if suffix == ".tflite":
        return _as_litert(net, path)
    return _as_arrays(net, _framework(to), path)


def require_target(to: str, out: str | os.PathLike[str]) -> Path:
    """Return the path to write to, checked before any work is done for it.

    Raises
    ------
    UnsupportedError
        No framework has this name.
    DataError
        The suffix is none of the framework's, or the file cannot be written.
    """
    text = os.fspath(out)
    if to.strip().lower() in C_NAMES:
        return output_path(text, "--out", ".h")
    whole = WHOLE.get(_framework(to))
    return output_path(text, "--out", *(ARRAYS if whole is None else (whole, *ARRAYS)))


def _framework(to: str) -> str:
    """Return the name of a framework as `verify.model.conventions` has it.

    Raises
    ------
    UnsupportedError
        No framework has this name; the message says what can be given.
    """
    try:
        return find_framework(to).name
    except UnsupportedError:
        listed = [(one.name, *one.aliases) for one in frameworks().values()]
        known = [*MODEL_FORMATS, *(name for names in listed for name in names)]
        raise UnsupportedError(
            f"--to: expected {', '.join(MODEL_FORMATS)}, or a framework such as torch. "
            f"{did_you_mean(to, known)}Received: {printable(to, 60) or 'nothing'}; "
            "rnn-verify conventions lists the frameworks"
        ) from None


def _in_dtype(net: Network, dtype: str) -> Network:
    """Return the network with every layer in one dtype."""
    if dtype not in ("float32", "float64"):
        raise DataError(
            f"dtype: expected float32 or float64. Received: {printable(dtype, 40)}"
        )
    spec = replace(net.spec, root=cast_to(net.spec.root, dtype))
    return Network(spec, dtype)


def _precision(net: Network) -> str | None:
    """Return the number format that a converted model computes in; None for float32."""
    computed = {POLICIES[name].compute for name in net.spec.policies}
    halves = sorted(computed & {"float16", "bfloat16"})
    return halves[0] if halves else None


def _as_onnx(net: Network, path: Path) -> Conversion:
    made = onnx_model(net)
    with _scratch() as folder:
        draft = folder / "model.onnx"
        draft.write_bytes(made.content)
        proof = _proved(net, draft, made)
    write_atomically(path, lambda file: file.write(made.content))
    form = f"ONNX, the whole model, opset {made.opset}, {len(made.content):,} bytes"
    return Conversion("onnx", form, (path,), _onnx_notes(made), proof)


def _proved(net: Network, draft: Path, made: OnnxModel, **how: Any) -> Proof:
    try:
        return prove_file(
            net,
            draft,
            made.inputs,
            made.outputs,
            made.states,
            precision=_precision(net),
            **how,
        )
    except VerifyError as error:
        raise _without(error, draft, net) from None


def _without(error: VerifyError, draft: Path, net: Network) -> VerifyError:
    """Return an error without the path of a draft, which is gone when it is read."""
    message = str(error).replace(f"{draft}: ", "").replace(str(draft), "it")
    wide = any(POLICIES[name].compute == "float64" for name in net.spec.policies)
    if wide and "implementation" in message:
        message += ". Many operators run in float32 only: give --dtype float32"
    return type(error)(message)


def _onnx_notes(made: OnnxModel) -> tuple[str, ...]:
    notes = [
        f"inputs {join_and(made.inputs)}; outputs {join_and(made.outputs)}, named as "
        "in the model"
    ]
    notes += [f"{one}" for one in made.how]
    if made.states:
        pairs = join_and(f"{k} -> {v}" for k, v in made.states.items())
        notes.append(
            f"states: give each output as the input of the next call, and zeros to "
            f"begin with: {pairs}"
        )
    return tuple(notes)


def _as_openvino(net: Network, path: Path) -> Conversion:
    made = onnx_model(net, OPENVINO)
    weights = path.with_suffix(".bin")
    with _scratch() as folder:
        source = folder / "model.onnx"
        source.write_bytes(made.content)
        draft = folder / path.name
        try:
            with open_session(source) as session:
                session.ask("openvino_writer.save", {"to": str(draft)})
        except VerifyError as error:
            raise _without(error, source, net) from None
        proof = _proved(net, draft, made)
        parts = [draft.with_suffix(".bin").read_bytes(), draft.read_bytes()]
    # the weights first: an .xml beside weights of another model would be read
    write_atomically(weights, lambda file: file.write(parts[0]))
    write_atomically(path, lambda file: file.write(parts[1]))
    form = f"OpenVINO IR, the whole model, made from ONNX of opset {made.opset}"
    return Conversion("openvino", form, (path, weights), _onnx_notes(made), proof)


def _as_litert(net: Network, path: Path) -> Conversion:
    from verify import keras_bridge  # slow to import, and needs TensorFlow

    rows = net.spec.batch_size or 1
    inputs, outputs = net.input_names, net.output_names
    content = keras_bridge.litert_file(net.spec, inputs, outputs, rows)
    with _scratch() as folder:
        draft = folder / "model.tflite"
        draft.write_bytes(content)
        try:
            proof = prove_file(net, draft, inputs, outputs, {}, batch=rows)
        except VerifyError as error:
            raise _without(error, draft, net) from None
    write_atomically(path, lambda file: file.write(content))
    notes = (
        f"signature: inputs {join_and(inputs)}; outputs {join_and(outputs)}",
        f"it takes {rows} row(s) in a call",
    )
    form = (
        f"TensorFlow Lite, the whole model by TensorFlow's own converter, "
        f"{len(content):,} bytes"
    )
    return Conversion("litert", form, (path,), notes, proof)


def _as_arrays(net: Network, framework: str, path: Path) -> Conversion:
    found = named.name_weights(net.spec, framework)
    safe = path.suffix.lower() == ".safetensors"
    content = _safetensors(found) if safe else _npz(found.arrays)
    read = _read_safetensors(content) if safe else _read_npz(content)
    spec = named.restored(net.spec, framework, read)
    title = find_framework(framework).title
    proof = _read_back(net, spec, f"read back from the names and shapes of {title}")
    write_atomically(path, lambda file: file.write(content))
    form = f"the weights as {title} names them, {len(found.arrays)} arrays"
    return Conversion(framework, form, (path,), found.notes, proof)


def _as_header(net: Network, path: Path) -> Conversion:
    content = c_header(net.spec)
    read, names = read_header(content), identifiers(net.spec)
    spec = net.spec
    for layer_path, layer in list(spec.walk()):
        weights = {
            key: read[names[layer_path, key]].reshape(value.shape)
            for key, value in layer.weights.items()
        }
        if weights:
            spec = spec.with_layer(
                replace(spec[layer_path], weights=weights), layer_path
            )
    proof = _read_back(net, spec, "read back from the text of the header")
    write_atomically(path, lambda file: file.write(content.encode("ascii")))
    form = f"a C header of the weights, {len(names)} arrays in Keras's layout"
    notes = ("the order of the gates stands in the comments; it needs no other file",)
    return Conversion("c", form, (path,), notes, proof)


def _read_back(net: Network, spec: ModelSpec, how: str) -> Proof:
    """Compare the model whose weights were read back with the model itself."""
    other = Network(spec, net.floatx)

    def answers(probe: Probe) -> Sequence[Array]:
        states: dict[str, tuple[Array, ...]] = {}
        parts = [other.flat(x, states=states) for x in probe.calls]
        return [np.concatenate(outputs) for outputs in zip(*parts, strict=True)]

    return prove(net, answers, how, precision=_precision(net))


def _npz(arrays: Mapping[str, Array]) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **dict(arrays))  # type: ignore[arg-type]
    return buffer.getvalue()


def _read_npz(content: bytes) -> dict[str, Array]:
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        return dict(file)


def _safetensors(found: named.NamedWeights) -> bytes:
    save: Callable[..., bytes] = _safetensors_module().save
    metadata = {"framework": found.framework, "format": "pt"}
    return save(dict(found.arrays), metadata=metadata)


def _read_safetensors(content: bytes) -> dict[str, Array]:
    return dict(_safetensors_module().load(content))


def _safetensors_module() -> Any:
    try:
        import safetensors.numpy
    except ImportError:
        raise UnsupportedError(
            "a .safetensors file needs the package safetensors. "
            f"{install_hint('safetensors')}; or write .npz"
        ) from None
    return safetensors.numpy


class _scratch:
    """Make a folder for drafts, and remove it."""

    def __enter__(self) -> Path:
        self._folder = tempfile.TemporaryDirectory(prefix="keras-rnn-verify-")
        return Path(self._folder.name)

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()
