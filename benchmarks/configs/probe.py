"""Print what get_config of every layer class of one Keras writes.

This runs in the environment of that Keras, down to Python 3.6, with the name of its
package, such as ``keras`` or ``tensorflow.keras``, as its argument. It makes an object
of every layer class with its defaults, and one more for each option with another value,
and has the Keras write their configs as it writes them into a file.
"""

import importlib
import inspect
import json
import sys
import tempfile

import numpy as np

REQUIRED = {
    "units": 3, "output_dim": 3, "input_dim": 5, "filters": 2, "nb_filter": 2,
    "kernel_size": 2, "filter_length": 2, "nb_row": 2, "nb_col": 2, "kernel_dim1": 2,
    "kernel_dim2": 2, "kernel_dim3": 2, "rate": 0.25, "p": 0.25, "stddev": 0.25,
    "sigma": 0.25, "axes": 1, "target_shape": (3, 2), "dims": (2, 1), "n": 2,
    "num_heads": 2, "num_query_heads": 4, "num_key_value_heads": 2, "key_dim": 2,
    "head_dim": 2, "equation": "abc,cd->abd", "output_shape": (None, 5),
    "activation": "tanh", "function": "tanh", "height": 4, "width": 4, "scale": 0.5,
    "factor": 0.2, "height_factor": 0.2, "width_factor": 0.2, "max_number": 3,
    "num_bins": 4, "num_tokens": 4,
    "max_tokens": 9, "groups": 1, "output_size": 2, "nb_feature": 2, "target_height": 4,
    "target_width": 4, "value_range": (0, 255), "mode": "min", "value": 2.0, "theta": 1,
    "batch_shape": (None, 3), "batch_input_shape": (None, 3), "maxlen": 5,
}  # fmt: skip
"""Values of arguments without a default."""

PER_CLASS = {
    ("Reshape", "target_shape"): (3, 2),
    ("Rescaling", "scale"): 0.5,
    ("RandomPosterization", "factor"): 4,
    ("RandomBrightness", "factor"): 0.2,
    ("CategoryEncoding", "num_tokens"): 4,
    ("GroupNormalization", "groups"): 2,
    ("Discretization", "bin_boundaries"): [0.5, 1.5],
}

CANDIDATES = {
    "activation": ["relu", "hard_sigmoid", None],
    "recurrent_activation": ["hard_sigmoid", "sigmoid", "tanh"],
    "inner_activation": ["sigmoid"],
    "padding": ["same", "causal", 2, (1, 2)],
    "border_mode": ["same", "valid"],
    "data_format": ["channels_first", "channels_last"],
    "dim_ordering": ["th", "tf"],
    "merge_mode": ["sum", "mul", "ave", None, "concat"],
    "implementation": [0, 1, 2],
    "consume_less": ["mem", "gpu"],
    "noise_shape": [(None, 1, 3)],
    "mask_value": [-1.5],
    "interpolation": ["bilinear"],
    "output_mode": ["one_hot", "multi_hot", "count", "int"],
    "mode": ["max", "min", 1, 2, "mul", "concat", "sum"],
    "shared_axes": [[1]],
    "axis": [1, [1, 2], -1],
    "axes": [2],
    "max_value": [6.0],
    "negative_slope": [0.2],
    "threshold": [0.5],
    "vocabulary": [["a", "b"]],
    "bin_boundaries": [[0.5, 1.5]],
    "num_bins": [4],
    "score_mode": ["concat"],
    "use_scale": [True],
    "bias_axes": ["d"],
    "dtype": ["float64", "mixed_bfloat16"],
    "input_shape": [(6, 3)],
    "batch_input_shape": [(None, 6, 3)],
    "batch_size": [4],
    "input_length": [6],
    "mean": [0.5],
    "variance": [0.5],
    "strides": [2],
    "dilation_rate": [2],
    "pool_size": [3],
    "size": [3],
    "target_dtype": ["int32"],
    "activity_regularizer": ["l2"],
    "seed": [3],
    "name": ["renamed"],
    "trainable": [False],
    "attention_axes": [1],
    "output_shape": [4],
    "value_dim": [3],
    "salt": [7],
    "max_tokens": [9],
    "standardize": [None],
    "split": ["character", None],
    "ngrams": [2],
    "lora_rank": [2],
    "lora_alpha": [2],
    "sparse": [True],
    "ragged": [True],
    "optional": [True],
    "offset": [0.5],
}
"""Other values of options, by name, besides those that follow from the default."""

ABSTRACT = ("Layer", "Wrapper", "Recurrent", "Lambda", "TorchModuleWrapper")
"""Classes that are no layers by themselves, or hold code."""

KEPT_FOR_ALL = ("name", "trainable", "dtype", "input_shape", "batch_input_shape")
"""Arguments of every layer, tried on a few classes alone."""


def main(package):
    """Print one JSON document: the configs of every layer class of a package."""
    if package == "tensorflow.keras":  # an attribute, and a module in some versions
        keras = importlib.import_module("tensorflow").keras
        layers = keras.layers
    else:
        keras = importlib.import_module(package)
        layers = importlib.import_module(package + ".layers")
    base = getattr(layers, "Layer", None)
    if base is None:
        base = importlib.import_module(package + ".engine.topology").Layer
    encode = encoder(package, keras)
    found, failed = {}, {}
    for attribute in sorted(dir(layers)):
        kind = getattr(layers, attribute)
        if not (inspect.isclass(kind) and issubclass(kind, base)) or kind is base:
            continue
        name = kind.__name__  # a file names a class so, whatever its other names
        if name.startswith("_") or name in found or name in ABSTRACT:
            continue
        try:
            found[name] = configs_of(keras, layers, name, kind, encode)
        except Exception as error:
            failed[name] = f"{type(error).__name__}: {str(error)[:120]}"
    document = {
        "version": str(getattr(keras, "__version__", "?")),
        "classes": found,
        "failed": failed,
    }
    print("\nCONFIGS " + json.dumps(document, sort_keys=True))


def encoder(package, keras):
    """Return the function by which this Keras turns the values of a config into JSON.

    It is a function within `save_model` in old versions, so it is taken from the call
    of `json.dumps` there.
    """
    seen = []
    dumps = json.dumps

    def spy(value, **options):
        if options.get("default") is not None:
            seen.append(options["default"])
        return dumps(value, **options)

    try:
        model = keras.models.Sequential([keras.layers.Dense(2, input_shape=(3,))])
        json.dumps = spy
        model.save(tempfile.mkdtemp() + "/m.h5")
    except Exception:  # a Keras that cannot save here
        seen[:] = []
    finally:
        json.dumps = dumps
    for module in (
        package + ".src.saving.legacy.saved_model.json_utils",
        package + ".saving.legacy.saved_model.json_utils",
        package + ".saving.saved_model.json_utils",
        "tensorflow.python.keras.saving.saved_model.json_utils",
        "tensorflow.python.util.serialization",
    ):
        try:
            there = importlib.import_module(module)
        except Exception:  # not a module of this version
            continue
        inner = getattr(there, "get_json_type", None)
        kind = getattr(there, "Encoder", None)
        if inner is None and kind is not None:
            return lambda value: json.loads(kind().encode(value))
        if inner is not None:
            seen.append(inner)
            break

    def fallback(value):
        if hasattr(value, "item"):
            return value.item()
        return getattr(value, "__name__", str(value))

    default = seen[0] if seen else fallback
    return lambda value: json.loads(dumps(value, default=default))


def configs_of(keras, layers, name, kind, encode):
    """Return the config of a class by default, and what each option changes in it."""
    required = arguments_of(kind)
    made = construct(layers, name, kind, {})
    default = written(keras, made, encode)
    changes, seen = [], set()
    for option, usual in required.items():
        for value in candidates(layers, option, usual):
            try:
                config = written(
                    keras, construct(layers, name, kind, {option: value}), encode
                )
            except Exception:  # not a value of this option
                continue
            change = {
                k: v
                for k, v in config.items()
                if k != "name" and (k not in default or default[k] != v)
            }
            key = json.dumps(change, sort_keys=True)
            if change and key not in seen:
                seen.add(key)
                changes.append(change)
    return {"default": default, "changes": changes}


def written(keras, layer, encode):
    """Return the config of a layer as it is in a file of this Keras."""
    serialise = getattr(getattr(keras, "saving", None), "serialize_keras_object", None)
    if (
        str(getattr(keras, "__version__", "")).startswith("3.")
        and serialise is not None
    ):
        return json.loads(json.dumps(serialise(layer)["config"]))
    return encode(layer.get_config())


def arguments_of(kind, inherited=True):
    """Return the arguments of a class, and of those that it hands others on to."""
    found = {}
    for base in kind.__mro__:
        if base is object or "__init__" not in vars(base):
            continue
        try:
            parameters = inspect.signature(base.__init__).parameters
        except (TypeError, ValueError):
            break
        for name, one in list(parameters.items())[1:]:
            if one.kind not in (one.VAR_KEYWORD, one.VAR_POSITIONAL):
                found.setdefault(name, one.default)
        handed_on = any(p.kind == p.VAR_KEYWORD for p in parameters.values())
        if not inherited:
            return found
        if not handed_on:
            break
    for name in KEPT_FOR_ALL:
        found.setdefault(name, None)
    return found


def construct(layers, name, kind, given):
    """Make a layer with some options, and what it must have beside them."""
    options = dict(given)
    for option, default in arguments_of(kind, inherited=False).items():
        if option in options:
            continue
        if (name, option) in PER_CLASS:
            options[option] = PER_CLASS[name, option]
        elif default is inspect.Parameter.empty:
            options[option] = necessary(layers, name, option)
    if name == "InputLayer" and not any(key.endswith("shape") for key in options):
        known = arguments_of(kind, inherited=False)
        options["shape" if "shape" in known else "input_shape"] = (3,)
    options.setdefault("name", "layer")
    return kind(**options)


def necessary(layers, name, option):
    """Return a value for an argument without a default."""
    if option == "layer":
        if name in ("Bidirectional", "ConvRecurrent"):
            return layers.LSTM(3, return_sequences=True)
        return layers.Dense(3)
    if option == "cell":
        return layers.LSTMCell(3)
    if option == "cells":
        return [layers.LSTMCell(3), layers.GRUCell(2)]
    if option == "layers":
        return [layers.Dense(3), layers.Dense(2)]
    if option in ("pool_size", "padding", "size", "cropping"):
        return 2
    return REQUIRED[option]


def candidates(layers, option, usual):
    """Yield values of an option that differ from the usual one."""
    for value in CANDIDATES.get(option, ()):
        yield value
    if option.endswith("_initializer") or option in ("init", "inner_init"):
        yield "ones"
    elif option.endswith(("_regularizer", "_constraint")):
        yield "l2" if option.endswith("regularizer") else "max_norm"
        yield "non_neg"
    elif isinstance(usual, bool):
        yield not usual
    elif isinstance(usual, int):
        yield usual + 1
    elif isinstance(usual, float):
        for value in (usual + 0.25, np.float32(0.35), np.array(0.45)):
            yield value
    elif isinstance(usual, tuple):
        yield tuple(k + 1 if isinstance(k, int) else k for k in usual)
    if usual is inspect.Parameter.empty and isinstance(REQUIRED.get(option), int):
        yield REQUIRED[option] + 1
    if usual is None:
        for value in (True, 2, 0.3, np.float32(0.3), (2, 2)):
            if option not in CANDIDATES and not option.startswith("kernel_dim"):
                yield value
    if option == "cell":
        for kind in ("SimpleRNNCell", "GRUCell"):
            if hasattr(layers, kind):
                yield getattr(layers, kind)(3)
        if hasattr(layers, "StackedRNNCells") and hasattr(layers, "LSTMCell"):
            yield layers.StackedRNNCells([layers.LSTMCell(2), layers.LSTMCell(3)])
    if option == "layer":
        for kind in ("GRU", "SimpleRNN", "LSTM"):
            yield getattr(layers, kind)(3)
    if option == "backward_layer":
        yield layers.LSTM(3, return_sequences=True, go_backwards=True)


if __name__ == "__main__":
    main(sys.argv[1])
