"""The only module that imports Keras: live model -> ModelSpec, and Keras's own outputs.

Import it lazily, inside a function, so that ``import verify`` stays free of Keras.
"""

from __future__ import annotations

import contextlib
import copy
import inspect
import json
import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

import numpy as np

from verify.layers import REGISTRY
from verify.reader import read_model
from verify.spec import Array, DataError, LayerSpec, ModelSpec, UnsupportedError, plain


def import_keras() -> Any:
    """Import Keras and return it, without the start-up chatter of its backend.

    TensorFlow's C++ side writes to file descriptor 2 whatever the log level says, so
    the descriptor itself is held back during the import, and shown if that fails.
    """
    if "keras" in sys.modules:
        return sys.modules["keras"]
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with tempfile.TemporaryFile() as held:
        sys.stderr.flush()
        saved = os.dup(2)
        try:
            os.dup2(held.fileno(), 2)
            import keras
        except ImportError as error:
            backend = os.environ.get("KERAS_BACKEND", "tensorflow")
            raise UnsupportedError(
                f"expected Keras with its backend {plain(backend)} to be installed. "
                f"Received: {plain(error)}"
            ) from None
        except Exception:
            held.seek(0)
            os.write(saved, held.read())
            raise
        finally:
            os.dup2(saved, 2)
            os.close(saved)
    return keras


def load_model(path: str) -> Any:
    """Load a ``.keras`` file that `verify.files` has already accepted."""
    keras = import_keras()
    try:
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises all kinds here
        raise DataError(
            f"{plain(path)}: Keras cannot load this file ({_first_line(error)})"
        ) from None


def _first_line(error: Exception) -> str:
    """TensorFlow's errors run over many lines; the first says what happened."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {plain(lines[0] if lines else '')}"


def read_live(model: Any) -> ModelSpec:
    """A live Keras 3 model -> ModelSpec.

    Raises
    ------
    UnsupportedError
        Anything that is not a built Sequential or Functional model of supported layers.
    """
    keras = import_keras()
    if not isinstance(model, keras.Model):
        raise UnsupportedError(
            "expected a path to a model file or a Keras 3 model. "
            f"Received: {plain(type(model).__module__)}.{plain(type(model).__name__)}"
        )
    _refuse_custom(model)
    spec = read_model(
        json.loads(model.to_json()),
        LiveWeights(model),
        source="a live model",
        keras_version=keras.__version__,
    )
    for path, layer in spec.walk():
        _refuse_own_functions(layer, _live(model, spec.root, path))
    return spec


def _refuse_custom(model: Any) -> None:
    """A subclassed model may not even have a config, so it is refused before."""
    kinds = (import_keras().Sequential, import_keras().models.Model)
    name = type(model).__name__
    if type(model) is not kinds[0] and name != "Functional":
        raise UnsupportedError(
            f"Model '{plain(model.name)}' ({plain(name)}): this custom kind of model is "
            "not supported. Supported: Sequential and Functional models"
        )


def _refuse_own_functions(layer: LayerSpec, live: Any) -> None:
    """A function of the user's own may have the name of one of Keras's."""
    activations = import_keras().activations
    live = getattr(live, "cell", live)
    for option in ("activation", "recurrent_activation"):
        function, name = getattr(live, option, None), layer.options.get(option)
        if inspect.isfunction(function) and isinstance(name, str):
            known = activations.get(name) if "(" not in name else function
            if function is not known:
                raise UnsupportedError(
                    f"{layer}: {option} is a function of yours called {plain(name)}, "
                    "which is not supported"
                )


class LiveWeights:
    """The arrays of a live layer; see `verify.reader.Weights`."""

    def __init__(self, layer: Any) -> None:
        self.layer = layer

    def own(self, group: str) -> list[Array]:
        """In the order in which Keras saves them."""
        owner = _part(self.layer, group) if group else self.layer
        store: dict[str, Any] = {}
        if owner is not None:
            owner.save_own_variables(store)
        to_numpy = import_keras().ops.convert_to_numpy
        return [np.array(to_numpy(store[str(k)])) for k in range(len(store))]

    def inside(
        self, container: str, key: str, class_name: str, number: int
    ) -> LiveWeights:
        """Found by name; the container and the number are for files."""
        return LiveWeights(_child(self.layer, container, key))


def _part(layer: Any, name: str) -> Any:
    return getattr(layer, name, None) or getattr(layer, f"_{name}", None)


def _child(layer: Any, container: str, key: str) -> Any:
    if container == "layers":
        known = {operation.name: operation for operation in _operations(layer)}
        return known.get(key)
    return layer.cells[int(key)] if container else getattr(layer, key)


def _operations(model: Any) -> list[Any]:
    """Layers and raw operations of a model, a Sequential's input included."""
    graph = getattr(model, "_functional", None) or model
    return list(graph.operations)


def _live(model: Any, root: LayerSpec, path: str) -> Any:
    """The live layer at a path of its spec."""
    spec = root
    while path:
        keys = [k for k in spec.sublayers if path == k or path.startswith(f"{k}/")]
        key = max(keys, key=len)
        model = _child(model, REGISTRY[spec.class_name].container, key)
        spec, path = spec.sublayers[key], path[len(key) + 1 :]
    return model


class KerasModel:
    """A live model as the verifier uses it: outputs, and outputs of every layer.

    Parameters
    ----------
    model : keras.Sequential
    batch_size : int
        Rows `predict` takes at a time.
    exact : bool
        Whether inputs stay float64 on their way into the model.
    """

    def __init__(self, model: Any, batch_size: int, *, exact: bool = False) -> None:
        self.model = model
        self.batch_size = batch_size
        self.exact = exact

    def predict(self, x: Array) -> Array:
        """``model.predict(x)``, as the user runs it; (batch, ...)."""
        dtype = "float64" if self.exact else None
        try:
            with floatx(dtype), _without_retracing_advice():
                y = self.model.predict(x, batch_size=self.batch_size, verbose=0)
        except Exception as error:
            raise DataError(
                f"Keras cannot run this model on these inputs ({_first_line(error)})"
            ) from error
        return np.asarray(y)

    def layer_outputs(self, x: Array) -> dict[str, Array]:
        """Layer name -> its output inside the model; for a `twin`.

        The layers are called one after the other, which spares Keras the compilation of
        a model with as many outputs as layers.
        """
        to_numpy = import_keras().ops.convert_to_numpy
        return {
            layer.name: np.asarray(to_numpy(y))
            for layer, y in self._walk(x)
            if layer is not None
        }

    def step_outputs(self, name: str, x: Array) -> Array:
        """What a recurrent layer returns at every step; (batch, time, units)."""
        layer = self.model.get_layer(name)
        config = {**layer.get_config(), "return_sequences": True}
        position = self.model.layers.index(layer)
        y = next(y for k, (_, y) in enumerate(self._walk(x)) if k == position)
        every_step = type(layer).from_config(config)
        every_step.build(y.shape)
        every_step.set_weights(layer.get_weights())
        return np.asarray(import_keras().ops.convert_to_numpy(every_step(y)))

    def _walk(self, x: Array) -> Iterator[tuple[Any, Any]]:
        """(None, input), then every layer with its output as Keras's tensor.

        A mask travels with the tensor, as it does inside the model.
        """
        y = import_keras().ops.convert_to_tensor(x)
        yield None, y
        for layer in self.model.layers:
            with floatx("float64" if self.exact else None):
                y = layer(y)
            yield layer, y

    def twin(self, dtype: str | None = None) -> KerasModel:
        """The same layers and weights in a model of their own.

        Parameters
        ----------
        dtype : str, optional
            The dtype policy of every layer, instead of its own.
        """
        keras = import_keras()
        config = copy.deepcopy(self.model.get_config())
        for layer in config["layers"]:
            if dtype is not None:
                layer["config"]["dtype"] = dtype
        model = keras.Sequential.from_config(config)
        if not model.built:
            model.build(self.model.input_shape)
        model.set_weights(self.model.get_weights())
        return KerasModel(model, self.batch_size, exact=dtype == "float64")


@contextlib.contextmanager
def floatx(dtype: str | None) -> Iterator[None]:
    """Keras's default float type inside a ``with``: predict casts inputs to it."""
    config = import_keras().config
    before = config.floatx()
    config.set_floatx(dtype or before)
    try:
        yield
    finally:
        config.set_floatx(before)


@contextlib.contextmanager
def _without_retracing_advice() -> Iterator[None]:
    """TensorFlow advises against many models in one program; a check needs several."""
    logger = logging.getLogger("tensorflow")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def require_tensorflow() -> None:
    """Masks and their odd cases are reproduced as Keras on TensorFlow has them.

    Raises
    ------
    UnsupportedError
    """
    backend = import_keras().backend.backend()
    if backend != "tensorflow":
        raise UnsupportedError(
            "expected Keras on TensorFlow to compare with. "
            f"Received: KERAS_BACKEND={plain(backend)}"
        )


def versions() -> dict[str, str]:
    """Versions and backend that a result depends on."""
    keras = import_keras()
    backend = keras.backend.backend()
    found = {"keras": keras.__version__, "numpy": np.__version__, "backend": backend}
    module = sys.modules.get(backend)
    if module is not None and backend != "numpy":
        found[backend] = str(getattr(module, "__version__", "unknown"))
    return found
