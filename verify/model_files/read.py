"""Read a model file into a ModelSpec, using zipfile, json and h5py only.

Keras is not imported, and nothing in the file is executed. Three kinds of files are
read: ``.keras`` archives, packed or not, legacy ``.h5`` files of Keras 1 to 3, and
``.weights.h5`` files, one or several, together with the config of the model as JSON.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from verify.data.file_kinds import KERAS, file_kind
from verify.data.files import found_instead, meant_instead, named_path
from verify.errors import ModelFileError, UnsupportedError, error_prefix, printable
from verify.forward.layers import REGISTRY
from verify.model.arrays import Array, shape_text
from verify.model.spec import ModelSpec
from verify.model_files.base_classes import take_base_classes, without_additions
from verify.model_files.config import (
    WeightsDisagree,
    WeightSource,
    all_places,
    read_architecture,
    read_model,
    require_entries,
    shapes_fit,
)
from verify.model_files.folders import MEMBERS, Members, is_unpacked, members_of
from verify.model_files.foreign import said_of
from verify.model_files.hdf5 import (
    HDF5_MAGIC,
    Hdf5Contents,
    SavedWeights,
    legacy_arrays,
    legacy_names,
    read_hdf5,
    unclaimed_weights,
    with_slashes,
)
from verify.model_files.keras1_config import is_keras1, upgrade_keras1
from verify.model_files.keras1_weights import (
    STORED_DEVIATIONS,
    keras2_arrays,
    written_on_theano,
)
from verify.model_files.keras2_config import (
    KERAS2,
    KERAS3,
    UpgradedConfig,
    is_legacy,
    upgrade_config,
)
from verify.model_files.keras2_weights import (
    LegacyWeights,
    notes_on_lora,
    under_names_of,
)
from verify.model_files.plain_values import plain
from verify.model_files.shards import index_of, is_shard_index, read_shards
from verify.model_files.vocabularies import read_assets

MAX_CONFIG_BYTES = 64 * 2**20
"""Greatest size of a config, in bytes, far above that of any real model. An archive may
claim any size for what it holds."""

MAX_WEIGHT_BYTES = 8 * 2**30
"""Greatest size of the weights in an archive, in bytes, because they are unpacked into
memory."""

SHOWN_GROUPS = 4
"""Groups of weights that one message lists, at most."""

EXPECTED_FILES = "expected a model file (.keras, .h5, or .weights.h5 with its config)"


def read_file(
    path: str | os.PathLike[str],
    *,
    config: str | os.PathLike[str] | None = None,
    semantics: str | None = None,
    partial: bool = False,
    base_classes: Mapping[str, str] | str | None = None,
) -> ModelSpec:
    """Read a model file.

    Parameters
    ----------
    path : path
        A ``.keras``, legacy ``.h5`` or ``.weights.h5`` file, or the ``.weights.json``
        that names the files of sharded weights. The content decides which
        of them it is, not the name.
    config : path, optional
        For a file with weights only: the JSON that ``model.to_json()`` returns, or a
        ``.keras`` file of the same layers, whose config is taken.
    semantics : "keras2", "keras3" or None
        The version of Keras whose meaning is given to settings that changed their
        meaning; by default the version that wrote the file.
    partial : bool
        Whether layers that are not supported are marked as unread instead of refused;
        see `verify.model.spec.LayerSpec.unread`.
    base_classes : mapping of str to str, "auto" or None
        Custom classes, and the classes of Keras as which they are taken; see
        `verify.model_files.base_classes`.

    Raises
    ------
    ModelFileError
        The file is missing, truncated, not a Keras file, or contradicts itself.
    UnsupportedError
        The model, a layer or an option is not supported; the message names it.
    """
    path = named_path(path, EXPECTED_FILES, ModelFileError)
    shown = printable(path)
    how = _How(semantics, partial, base_classes)
    with _refusing_excess(shown), error_prefix(path):
        if is_unpacked(path) or _is_archive(path, shown):
            if config is not None:
                raise ModelFileError(
                    f"{shown}: has a config of its own; leave --config out"
                )
            return _read_archive(path, shown, how)
        contents = weight_contents(path)
        if contents is not None:
            return _read_hdf5(contents, path, config, how)
    raise _refusal(path, shown)


@dataclass(frozen=True)
class _How:
    """Hold how a file is to be read; see `read_file`."""

    semantics: str | None = None
    partial: bool = False
    base_classes: Mapping[str, str] | str | None = None

    @property
    def reading(self) -> dict[str, Any]:
        """Return the arguments of `upgraded_config`."""
        return vars(self)


@contextlib.contextmanager
def _refusing_excess(shown: str) -> Iterator[None]:
    """Report nesting and sizes that no model has as a ModelFileError, in one line."""
    try:
        yield
    except RecursionError:
        raise ModelFileError(f"{shown}: its config is nested too deeply") from None
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        # a text, or a config itself, in place of a name
        raise ModelFileError(f"{shown}: {error.strerror}") from None
    except MemoryError:
        raise ModelFileError(
            f"{shown}: it asks for more memory than there is"
        ) from None


def first_bytes(path: Path, shown: str) -> bytes:
    """Return the first bytes of a file, which show its format."""
    if path.exists() and not path.is_file():
        raise _refusal(path, shown)
    try:
        with path.open("rb") as file:
            return file.read(len(HDF5_MAGIC))
    except FileNotFoundError:
        raise ModelFileError(
            f"{shown}: {EXPECTED_FILES}. No such file{meant_instead(path)}"
        ) from None
    except OSError as error:
        raise ModelFileError(f"{shown}: cannot be read ({error.strerror})") from None


def _is_archive(path: Path, shown: str) -> bool:
    """Return whether a file is a ``.keras``, or a zip archive too damaged to say."""
    if not first_bytes(path, shown).startswith(b"PK\x03\x04"):
        return False
    return file_kind(path).key in ("keras", "damaged")


def _refusal(path: Path, shown: str) -> ModelFileError:
    """Return the error for a file or a folder that is no model."""
    try:
        found = said_of(path)
    except OSError as error:
        return ModelFileError(f"{shown}: cannot be read ({error.strerror})")
    return ModelFileError(f"{shown}: {EXPECTED_FILES}. Received: {found}")


def _read_archive(path: Path, shown: str, how: _How) -> ModelSpec:
    try:
        with members_of(path) as archive:
            members = {name: _member(archive, name, shown) for name in MEMBERS}
            assets = read_assets(archive, shown)
    except (zipfile.BadZipFile, EOFError, OSError, NotImplementedError) as error:
        raise ModelFileError(
            f"{shown}: expected a .keras file. Received: a damaged archive ({error}); "
            "copy or download it again"
        ) from None
    metadata = _json(members["metadata.json"], f"{shown}: metadata.json")
    version = metadata.get("keras_version") if isinstance(metadata, dict) else None
    upgraded = upgraded_config(
        _json(members["config.json"], f"{shown}: config.json"), version, **how.reading
    )
    # refuses a model before its weights are read
    read_architecture(upgraded.config, partial=how.partial)
    weights = f"{shown}: model.weights.h5"
    contents = with_slashes(read_hdf5(members["model.weights.h5"], weights))
    return _spec(
        upgraded, SavedWeights(contents, assets=assets), path, version, how.partial
    )


def weight_contents(path: Path) -> Hdf5Contents | None:
    """Return the contents of an HDF5 file, or of all files of sharded weights.

    None is returned for a file that is neither.

    Raises
    ------
    ModelFileError
        The file is missing or damaged, or it is one of several files alone.
    """
    shown = printable(path)
    head = first_bytes(path, shown)
    if head == HDF5_MAGIC:
        index = index_of(path)
        if index is not None:
            raise ModelFileError(
                f"{shown}: is one of several files with the weights of a model; give "
                f"{printable(index)}, which names them all"
            )
        return read_hdf5(path, shown)
    if not head.lstrip().startswith(b"{") or path.stat().st_size > MAX_CONFIG_BYTES:
        return None
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return None
    return read_shards(path, content, shown) if is_shard_index(content) else None


def _read_hdf5(
    contents: Hdf5Contents,
    path: Path,
    config: str | os.PathLike[str] | None,
    how: _How,
) -> ModelSpec:
    shown = contents.shown
    inside = contents.attributes[""].get("model_config")
    version = contents.attributes[""].get("keras_version")
    if inside is not None and config is None:
        content = _json(str(inside), f"{shown}: model_config")
    elif config is not None:
        content, version = _read_config(Path(config), version)
    else:
        raise ModelFileError(
            f"{shown}: expected a model. Received: weights without a config; give the "
            "JSON of model.to_json() as --config, or begin with rnn-verify guess-config"
        )
    return _with_config(contents, content, version, path, how)


def read_weights(
    contents: Hdf5Contents,
    content: Any,
    version: Any,
    path: Path,
    *,
    partial: bool = False,
) -> ModelSpec:
    """Read a model from the contents of an HDF5 file, given its config.

    `partial` is that of `read_file`.

    Raises
    ------
    ModelFileError, UnsupportedError
        As `read_file`.
    """
    return _with_config(contents, content, version, path, _How(partial=partial))


def _with_config(
    contents: Hdf5Contents, content: Any, version: Any, path: Path, how: _How
) -> ModelSpec:
    shown = contents.shown
    require_entries(content)
    if is_keras1(content, version):
        return _read_keras1(content, version, contents, how, path)
    upgraded = upgraded_config(content, version, **how.reading)
    structure = read_architecture(upgraded.config, partial=how.partial)
    weights: WeightSource = SavedWeights(with_slashes(contents))
    old = any(name.startswith("layer_names") for name in contents.attributes[""])
    if old or "model_weights" in {*contents.attributes, *contents.arrays}:
        arrays: Mapping[str, list[Array]] = legacy_arrays(contents)
        if "model_config" not in contents.attributes[""]:
            arrays, notes = under_names_of(structure, arrays)
            upgraded = replace(upgraded, notes=(*upgraded.notes, *notes))
        notes = notes_on_lora(structure)
        upgraded = replace(upgraded, notes=(*upgraded.notes, *notes))
        names = legacy_names(contents) if how.partial else {}
        weights = LegacyWeights(structure, arrays, shown, names)
    return _spec(upgraded, weights, path, version, how.partial)


def _read_keras1(
    content: Any,
    version: Any,
    contents: Hdf5Contents,
    how: _How,
    path: Path,
) -> ModelSpec:
    """Read a file of Keras 1: first into the form of Keras 2, then like one."""
    taken: tuple[str, ...] = ()
    if how.base_classes is not None:
        content, taken = take_base_classes(content, how.base_classes)
    theano = written_on_theano(contents)
    arrays = legacy_arrays(contents)
    try:
        first = upgrade_keras1(plain(content), version, theano, arrays)
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise ModelFileError(
            f"{contents.shown}: its config of Keras 1 cannot be read "
            f"({type(error).__name__})"
        ) from None
    upgraded = upgrade_config(
        first.config, how.semantics or KERAS2, partial=how.partial
    )
    config, dropped = without_additions(upgraded.config)
    notes = (*taken, *dropped, *first.notes, *upgraded.notes)
    upgraded = replace(upgraded, config=config, notes=notes)
    structure = read_architecture(upgraded.config, partial=how.partial)
    turned = keras2_arrays(
        first.layers,
        arrays,
        theano=theano,
        deviations=version in STORED_DEVIATIONS,
        shown=contents.shown,
    )
    weights = LegacyWeights(structure, turned, contents.shown)
    return _spec(upgraded, weights, path, version, how.partial)


def _read_config(path: Path, version: Any) -> tuple[Any, Any]:
    """Return the config in a JSON file or a .keras, and the version of Keras in it."""
    shown = printable(path)
    wanted = f"{shown}: expected a config in JSON, or a .keras that has it"
    if not path.is_file():
        raise ModelFileError(f"{wanted}. Received: {found_instead(path)}")
    kind = file_kind(path)
    if kind == KERAS:
        with zipfile.ZipFile(path) as archive:
            metadata = _json(_member(archive, "metadata.json", shown), shown)
            content = _json(_member(archive, "config.json", shown), shown)
        if isinstance(metadata, dict):
            version = metadata.get("keras_version", version)
        return content, version
    if kind.key not in ("json", "keras_config"):
        raise ModelFileError(f"{wanted}. Received: {kind}")
    if path.stat().st_size > MAX_CONFIG_BYTES:
        raise ModelFileError(
            f"{shown}: has {path.stat().st_size:,} bytes; {MAX_CONFIG_BYTES:,} are "
            "supported"
        )
    content = _json(path.read_bytes(), shown)
    if not isinstance(content, dict) or not {"class_name", "config"} <= content.keys():
        raise ModelFileError(
            f"{wanted}. Received: JSON without class_name and config; model.to_json() "
            "gives them"
        )
    return content, content.get("keras_version", version)


def upgraded_config(
    content: Any,
    version: Any,
    semantics: str | None = None,
    *,
    partial: bool = False,
    base_classes: Mapping[str, str] | str | None = None,
) -> UpgradedConfig:
    """Return a config in the form of Keras 3, as the version that wrote it meant it.

    The other parameters are those of `read_file`.

    Raises
    ------
    ModelFileError, UnsupportedError
        It cannot be read; the message says why.
    """
    require_entries(content)
    taken: tuple[str, ...] = ()
    if base_classes is not None:
        content, taken = take_base_classes(content, base_classes)
    if isinstance(version, str) and version.startswith("0."):
        raise UnsupportedError(
            f"written by Keras {printable(version, 20)}; files from before Keras 1 are "
            "not read. Build the model again and copy its weights"
        )
    old = is_legacy(content, version)
    meaning = semantics or (KERAS2 if old and not _from_keras3(version) else KERAS3)
    changed = old or semantics == KERAS2
    upgraded = (
        upgrade_config(content, meaning, partial=partial)
        if changed
        else UpgradedConfig(content)
    )
    if not taken:
        return upgraded
    config, dropped = without_additions(upgraded.config)
    return replace(upgraded, config=config, notes=(*taken, *dropped, *upgraded.notes))


def _from_keras3(version: Any) -> bool:
    return isinstance(version, str) and not version.startswith(("0.", "1.", "2."))


def _spec(
    upgraded: UpgradedConfig,
    weights: WeightSource,
    path: Path,
    version: Any,
    partial: bool,
) -> ModelSpec:
    try:
        return read_model(
            upgraded.config,
            weights,
            source=str(path),
            keras_version=printable(version or "unknown", 20),
            notes=upgraded.notes,
            legacy=upgraded.legacy,
            partial=partial,
        )
    except WeightsDisagree as error:
        if not isinstance(weights, SavedWeights):
            raise
        more = _unclaimed(upgraded.config, weights, error.expected, partial)
        raise WeightsDisagree(f"{error}{more}", error.expected) from None


def _unclaimed(
    config: Any,
    weights: SavedWeights,
    expected: Sequence[tuple[int | None, ...]],
    partial: bool,
) -> str:
    """Return what to add about weights in a file that the config does not claim.

    Parameters
    ----------
    config
    weights : SavedWeights
    expected : sequence of tuples
        The shapes that a layer of the config misses.
    partial : bool
        As for `read_file`.
    """
    places = [
        (layer, place)
        for layer, place in all_places(
            read_architecture(config, partial=partial), weights
        )
        if isinstance(place, SavedWeights)
    ]
    claimed = {
        group
        for layer, place in places
        for part in REGISTRY[layer.class_name].weight_groups
        for group in place.groups(part)
    }
    unread = tuple(f"{place.place}/" for layer, place in places if layer.unread)
    found = {
        group: arrays
        for group, arrays in unclaimed_weights(weights.contents, claimed).items()
        if not group.startswith(unread)  # what is inside is a part of such a layer
    }
    for group, arrays in found.items():
        if shapes_fit(arrays, expected):
            return (
                f". The file has {printable(group)} with exactly these shapes, which "
                "no layer of the config claims: if they are this layer's, read them "
                "with h5py, give them to set_weights, and save the model again"
            )
    shown = [
        f"{printable(group)} {' '.join(shape_text(a.shape) for a in arrays)}"
        for group, arrays in islice(found.items(), SHOWN_GROUPS)
    ]
    more = f" and {len(found) - SHOWN_GROUPS} more" if len(found) > SHOWN_GROUPS else ""
    listed = "; ".join(shown) + more
    return f". No layer of the config claims these: {listed}" if shown else ""


def _member(archive: Members, name: str, shown: str) -> bytes:
    try:
        info = archive.getinfo(name)
    except KeyError:
        raise ModelFileError(
            f"{shown}: expected a .keras file. Received: an archive without {name}"
        ) from None
    limit = MAX_WEIGHT_BYTES if name.endswith(".h5") else MAX_CONFIG_BYTES
    if info.file_size > limit:
        raise ModelFileError(
            f"{shown}: {name} claims {info.file_size:,} bytes; {limit:,} are supported"
        )
    try:
        return archive.read(info)
    except Exception as error:  # a damaged member raises zlib.error and many others
        raise ModelFileError(f"{shown}: {name} is damaged ({error})") from None


def _json(raw: bytes | str, where: str) -> Any:
    try:
        return json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise ModelFileError(f"{where} is not JSON ({error})") from None
