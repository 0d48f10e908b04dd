"""Arrays out of HDF5 files, by h5py, without trusting the file.

Keras writes weights in two ways. A ``.weights.h5`` file, which is also what a
``.keras`` archive holds, follows the attributes of the layers:
``layers/lstm_1/cell/vars/0``, where ``lstm_1`` is the second LSTM of the model,
whatever its name. A legacy ``.h5`` file has one group a layer, under the layer's name,
whose attribute ``weight_names`` lists its arrays.

Sources: keras/src/saving/saving_lib.py, keras/src/legacy/saving/legacy_h5_format.py.
"""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from verify.dtypes import dtype_of
from verify.spec import Array, ModelFileError, VerifyError, plain

if TYPE_CHECKING:
    import h5py

MAGIC = b"\x89HDF\r\n\x1a\n"
CONTAINERS = ("layers", "_layer_checkpoint_dependencies")
"""What the group of a model's layers is called; the second by Keras 2.12 to 2.14."""

DTYPES = (
    "float64",
    "float32",
    "float16",
    "bfloat16",
    "int8",
    "int32",
    "int64",
    "uint8",
)


@contextlib.contextmanager
def opened(source: Path | bytes, shown: str) -> Iterator[h5py.File]:
    """An HDF5 file, from a path or from the bytes of one.

    Raises
    ------
    ModelFileError
        It is damaged, or what is read from it inside the ``with`` is.
    """
    import h5py  # here: importing it takes longer than everything else in verify

    try:
        content = io.BytesIO(source) if isinstance(source, bytes) else source
        with h5py.File(content, "r") as file:
            yield file
    except VerifyError:
        raise
    except Exception as error:  # h5py reports damage as OSError, KeyError, RuntimeError
        raise ModelFileError(f"{shown} is damaged ({plain(error)})") from None


def snake_case(class_name: str) -> str:
    """``SimpleRNN`` -> ``simple_rnn``: how Keras names a layer's weight group."""
    split = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", class_name))
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", split).lower()


class SavedWeights:
    """The arrays of one layer in a ``.weights.h5``; see `verify.reader.Weights`."""

    def __init__(self, file: h5py.File, shown: str, place: str = "") -> None:
        self.file = file
        self.shown = shown
        self.place = place

    def own(self, group: str) -> list[Array]:
        """Those under ``vars``, by their numbers."""
        import h5py

        found = self.file.get(_joined(self.place, group, "vars"))
        if found is None and group:  # Keras 2 kept the underscore of an attribute
            found = self.file.get(_joined(self.place, f"_{group}", "vars"))
        if not isinstance(found, h5py.Group):
            return []
        return [read_dataset(found, str(k), self.shown) for k in range(len(found))]

    def inside(
        self, container: str, key: str, class_name: str, number: int
    ) -> SavedWeights:
        """By attribute, or by class and number in a list of layers."""
        if container:
            if container == "layers":
                names = (c for c in CONTAINERS if _joined(self.place, c) in self.file)
                container = next(names, container)
            key = snake_case(class_name) + (f"_{number}" if number else "")
        return SavedWeights(self.file, self.shown, _joined(self.place, container, key))


def _joined(*parts: str) -> str:
    return "/".join(part for part in parts if part)


def legacy_arrays(file: h5py.File, shown: str) -> dict[str, list[Array]]:
    """Layer name -> its arrays, in the order of ``weight_names``."""
    import h5py

    group = file.get("model_weights", file)
    if not isinstance(group, h5py.Group):
        raise ModelFileError(f"{shown}: 'model_weights' is not a group")
    found = {}
    for name in _names(group, "layer_names", shown):
        layer = group.get(name)
        if not isinstance(layer, h5py.Group):
            raise ModelFileError(
                f"{shown}: there is no group for layer '{plain(name)}'"
            )
        found[name] = [
            read_dataset(layer, weight, shown)
            for weight in _names(layer, "weight_names", shown)
        ]
    return found


def _names(group: h5py.Group, attribute: str, shown: str) -> list[str]:
    """A list of names in an attribute, which Keras splits when it is long."""
    values: list[Any] = []
    if attribute in group.attrs:
        values = list(np.ravel(group.attrs[attribute]))
    else:
        k = 0
        while f"{attribute}{k}" in group.attrs:
            values += list(np.ravel(group.attrs[f"{attribute}{k}"]))
            k += 1
        if not k:
            raise ModelFileError(f"{shown}: {plain(group.name)} has no '{attribute}'")
    return [v.decode() if isinstance(v, bytes) else str(v) for v in values]


def read_dataset(group: h5py.Group, name: str, shown: str) -> Array:
    """One array, after a look at what it claims to be.

    Raises
    ------
    ModelFileError
    """
    import h5py

    data = group.get(name)
    where = f"{shown}: {plain(group.name).strip('/')}/{plain(name)}"
    if not isinstance(data, h5py.Dataset):
        raise ModelFileError(f"{where}: expected an array there")
    if data.is_virtual or data.external or data.file.filename != group.file.filename:
        raise ModelFileError(f"{where} lies outside the file")
    # Keras writes arrays uncompressed; zlib at its best packs 1,000 to 1.
    if data.nbytes > 1000 * data.id.get_storage_size() + 4096:
        raise ModelFileError(
            f"{where} claims {data.nbytes:,} bytes that the file does not hold"
        )
    stored = data.attrs.get("dtype")
    if stored == "bfloat16" and data.dtype.itemsize == 2:
        return np.asarray(data[()]).view(dtype_of("bfloat16"))
    if data.dtype.name not in DTYPES:
        raise ModelFileError(
            f"{where}: expected numbers ({', '.join(DTYPES)}). Received: {data.dtype}"
        )
    return np.asarray(data[()])
