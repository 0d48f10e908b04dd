"""Register layer types for classes that are not Keras's: the user's own.

A model file names a custom class and holds its options and weights, but not its code.
Whoever has the class writes down what it computes as a `LayerType`, and registers it
under the name by which the file knows the class::

    @verify.register("my_package>ReversedLSTM")
    class ReversedLSTM(verify.layer_type("LSTM")):
        def call(self, run, layer, sequences, initial_state=None, mask=None):
            ...

Such code runs because the user names it, never because a file does. An exception that
it raises becomes an error in one line that gives the file and the line number.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from verify.data.files import found_instead, named_path
from verify.errors import DataError, VerifyError, did_you_mean, printable
from verify.forward.layers import REGISTRY
from verify.forward.layers.base import LayerType, Tensor, Unexpected
from verify.model.arguments import typed
from verify.model.graph import flatten
from verify.model.spec import LayerSpec

Kind = TypeVar("Kind", bound=type[LayerType])

GUARDED = (
    *("read_options", "children", "check", "weight_shapes", "non_trainable"),
    *("formula", "by_name", "notes", "call", "passes_masks", "compute_mask"),
    "initial",
)
"""Methods of a `LayerType` whose exceptions are reported as errors in one line."""

_MODULE_NUMBERS = count()


@dataclass(frozen=True)
class OwnLayer:
    """Hold what was registered for one class.

    Attributes
    ----------
    name : str
        The name that it was registered under.
    kind : type
        The layer type.
    keras_class : type, callable or None
        The class itself, or a function that returns it, for `check`.
    home : str
        The file in which the layer type is defined.
    """

    name: str
    kind: type[LayerType]
    keras_class: Any
    home: str

    def resolved(self) -> type | None:
        """Return the Keras class, or None if none was given.

        Raises
        ------
        DataError
            The function that was given for it fails, or returns no class.
        """
        given = self.keras_class
        if given is None or isinstance(given, type):
            return given
        found = _guarded(given, self.name, self.home)()
        if not isinstance(found, type):
            raise DataError(
                f"keras_class of {printable(self.name)}: expected a class, or a "
                f"function that returns one. Received: {printable(found, 60)}"
            )
        return found


_OWN: dict[str, OwnLayer] = {}
_NAMES: list[str] = []
"""Every name that was ever registered, in order."""


@typed
def register(name: str, *, keras_class: Any = None) -> Callable[[Kind], Kind]:
    """Register a layer type for a class of your own; use it as a decorator.

    Parameters
    ----------
    name : str
        The name of the class in model files: ``"package>Class"`` if it was registered
        with ``keras.saving.register_keras_serializable``, else ``"Class"``. A name
        without a package stands for the class in any package.
    keras_class : type or callable, optional
        The class itself, or a function that imports and returns it. `check` needs it,
        because Keras does; it is never loaded from a file.

    Returns
    -------
    callable
        Takes a subclass of `LayerType` and returns it.

    Raises
    ------
    DataError
        The name is that of a class of Keras or is registered already, or what is
        decorated is not a layer type.
    """
    if not isinstance(name, str) or not name.rpartition(">")[2]:
        raise DataError(
            "verify.register: expected a name such as 'package>ReversedLSTM'. "
            f"Received: {printable(name, 60)}"
        )
    if name in REGISTRY.built_in:
        raise DataError(
            f"verify.register: {name} is a layer of Keras, which is read already and "
            "cannot be replaced. Expected the name of a class of your own"
        )
    if keras_class is not None and not callable(keras_class):
        raise DataError(
            f"verify.register('{printable(name)}'): expected a class, or a function "
            f"that returns one, as keras_class. Received: {printable(keras_class, 60)}"
        )

    def decorated(kind: Kind) -> Kind:
        if not isinstance(kind, type) or not issubclass(kind, LayerType):
            raise DataError(
                f"verify.register('{printable(name)}'): expected a subclass of "
                f"verify.LayerType. Received: {printable(kind, 60)}"
            )
        home = _home_of(kind)
        before = _OWN.get(name)
        same = before is not None and (before.home, before.kind.__qualname__) == (
            *(home, kind.__qualname__),
        )  # a notebook runs its cells again
        if before is not None and not same:
            raise DataError(
                f"verify.register: {printable(name)} is registered already, in "
                f"{printable(before.home)}. Forget it first: verify.unregister"
            )
        layer_type = _made(name, kind, home)
        _OWN[name] = OwnLayer(name, kind, keras_class, home)
        _NAMES.append(name)
        REGISTRY.set_own({**REGISTRY.own, name: layer_type})
        return kind

    return decorated


@typed
def unregister(name: str) -> None:
    """Forget what was registered for a class.

    Raises
    ------
    DataError
        Nothing was.
    """
    if name not in _OWN:
        raise DataError(
            f"verify.unregister: nothing is registered for {printable(name, 60)}. "
            f"{did_you_mean(name, _OWN)}".rstrip()
        )
    del _OWN[name]
    REGISTRY.set_own({k: v for k, v in REGISTRY.own.items() if k != name})


@contextlib.contextmanager
def registering() -> Iterator[None]:
    """Forget at the end of the ``with`` what is registered inside it; for tests."""
    before, types = dict(_OWN), REGISTRY.own
    try:
        yield
    finally:
        _OWN.clear()
        _OWN.update(before)
        REGISTRY.set_own(types)


@typed
def layer_type(class_name: str) -> type[LayerType]:
    """Return the layer type of a class of Keras, to be subclassed.

    Raises
    ------
    DataError
        No such class is supported.
    """
    built_in = REGISTRY.built_in
    if class_name not in built_in:
        raise DataError(
            f"expected a layer of Keras. Received: {printable(class_name, 60)}. "
            f"{did_you_mean(str(class_name), built_in)}All: rnn-verify layers"
        )
    return type(built_in[class_name])


def own_layers() -> Mapping[str, OwnLayer]:
    """Return what is registered, by name."""
    return dict(_OWN)


def own_name(*names: object) -> str:
    """Return the first of some names of a class that is registered, or ``""``.

    A name with a package that is not registered is looked up without it as well.
    """
    for name in names:
        if isinstance(name, str) and name in _OWN:
            return name
    bare = (n.rpartition(">")[2] for n in names if isinstance(n, str))
    return next((name for name in bare if name in _OWN), "")


def load_layers(path: str) -> list[str]:
    """Run a Python file that registers layers; return the names that it registered.

    Its folder is where its own imports are looked for last.

    Raises
    ------
    DataError
        The file cannot be read or fails, or it registers no layer.
    """
    shown = printable(path)
    file = named_path(path, "--layers: expected a Python file that registers layers")
    if not file.is_file():
        raise DataError(
            f"--layers {shown}: expected a Python file that registers layers. "
            f"Received: {found_instead(file)}"
        )
    name = f"_rnn_verify_layers_{next(_MODULE_NUMBERS)}"
    spec = importlib.util.spec_from_file_location(name, file.resolve())
    if spec is None or spec.loader is None:
        raise DataError(f"--layers {shown}: expected a name that ends in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickle look for it there
    folder = str(file.resolve().parent)
    if folder not in sys.path:
        sys.path.append(folder)
    before = len(_NAMES)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise DataError(f"--layers {shown}: {_told(error, str(file.resolve()))}") from (
            error
        )
    added = _NAMES[before:]
    if not added:
        raise DataError(
            f"--layers {shown}: it registers no layer. Expected a class under "
            "@verify.register('package>Class'); see docs/own-layers.md"
        )
    return added


def _home_of(kind: type) -> str:
    with contextlib.suppress(TypeError, OSError):
        return inspect.getsourcefile(kind) or kind.__module__
    return kind.__module__


def _made(name: str, kind: type[LayerType], home: str) -> LayerType:
    """Return an instance of a layer type whose methods say where they fail."""
    try:
        made = kind()
    except Exception as error:
        raise DataError(
            f"verify.register('{printable(name)}'): {_told(error, home)}"
        ) from error
    vars(made)["class_name"] = name
    listed = f"Name it in options or inert of its LayerType ({Path(home).name})"
    vars(made)["options_listed"] = listed
    if kind.arguments is LayerType.arguments:
        vars(made)["arguments"] = _arguments_of(name, kind)
    for method in GUARDED:
        if hasattr(made, method):
            vars(made)[method] = _guarded(getattr(made, method), name, home)
    vars(made)["call"] = _returning_arrays(made.call, name)
    return made


def _arguments_of(name: str, kind: type[LayerType]) -> tuple[str, ...]:
    """Return what the ``call`` of a layer type takes after `run` and `layer`.

    A mask is handed to a layer that takes one.
    """
    parameters = list(inspect.signature(kind.call).parameters.values())[3:]
    named = [
        p.name for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    ]
    if not named:
        if parameters:
            return LayerType.arguments
        raise DataError(
            f"verify.register('{printable(name)}'): expected a method call(self, run, "
            "layer, inputs), with what Keras's call takes in the place of inputs. "
            f"Received: call{inspect.signature(kind.call)}"
        )
    return tuple(name for name in named if name != "training")


def _guarded(method: Callable[..., Any], name: str, home: str) -> Callable[..., Any]:
    """Return a method of the user's that reports its exceptions in one line."""

    @functools.wraps(method)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        try:
            return method(*args, **kwargs)
        except (VerifyError, Unexpected, MemoryError):
            raise
        except Exception as error:
            layers = (arg for arg in args if isinstance(arg, LayerSpec))
            where = str(next(layers, printable(name)))
            raise DataError(f"{where}: {_told(error, home)}") from error

    return guarded


def _returning_arrays(call: Callable[..., Any], name: str) -> Callable[..., Any]:
    """Return a ``call`` that refuses outputs which are not arrays."""

    @functools.wraps(call)
    def checked(run: Any, layer: LayerSpec, *args: Any, **kwargs: Any) -> Any:
        output = call(run, layer, *args, **kwargs)
        leaves = flatten(output)
        wrong = [x for x in leaves if not isinstance(x, Tensor) and not _is_array(x)]
        if wrong or not leaves:
            found = type(wrong[0]).__name__ if wrong else "nothing"
            raise DataError(
                f"{layer}: expected call to return an array (batch, ...), or several. "
                f"Received: {found}"
            )
        return output

    return checked


def _is_array(value: Any) -> bool:
    """Return whether a value is an array, or records what becomes of one."""
    return isinstance(value, np.ndarray) or hasattr(value, "__array_ufunc__")


def _told(error: BaseException, home: str) -> str:
    """Say in one line what code of the user's raised, with its file and line."""
    text = f"{type(error).__name__}: {printable(error, 300)}".removesuffix(": ")
    if isinstance(error, SyntaxError) and error.filename:
        return f"{Path(error.filename).name}, line {error.lineno}: {text}"
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.filename == home]
    if not own:  # it is called in another way than it is written
        return f"{Path(home).name}: {text}"
    at = own[-1]
    return f"{Path(at.filename).name}, line {at.lineno}, in {at.name}: {text}"
