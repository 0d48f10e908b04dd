"""Every class of keras.layers is read, or refused with a reason of its own."""

from __future__ import annotations

import pytest
from support.nets import layer, sequential

from verify.errors import UnsupportedError
from verify.forward.layers import ALIASES, REGISTRY
from verify.forward.layers.refused import REASONS
from verify.model_files.config import read_architecture


@pytest.mark.keras
def test_every_class_of_keras_layers_is_read_or_refused_with_a_reason():
    import keras

    found = {
        name
        for name in dir(keras.layers)
        if isinstance(getattr(keras.layers, name), type)
    }
    assert len(found) > 150
    forgotten = found - REGISTRY.keys() - ALIASES.keys() - REASONS.keys()
    assert not forgotten


@pytest.mark.keras
def test_every_operation_of_keras_ops_is_read_or_refused_with_a_reason():
    import importlib

    from keras.src.ops.operation import Operation

    found = set()
    for name in ("numpy", "nn", "math", "core", "image", "linalg", "einops"):
        module = importlib.import_module(f"keras.src.ops.{name}")
        found |= {
            f"ops.{key}"
            for key, value in vars(module).items()
            if isinstance(value, type)
            and issubclass(value, Operation)
            and value.__module__ == module.__name__
        }
    assert len(found) > 300
    assert not found - REGISTRY.keys() - REASONS.keys()
    assert not {n for n in REASONS if n.startswith("ops.")} - found


@pytest.mark.keras
def test_another_name_is_that_of_the_same_class():
    import keras

    for name, full in ALIASES.items():
        own = getattr(keras.layers, name, None)
        assert own in (None, getattr(keras.layers, full)), name


@pytest.mark.parametrize("name", sorted(REASONS))
def test_a_class_that_is_not_read_is_refused_with_its_reason(name):
    first = layer("InputLayer", "in", batch_shape=[None, 4, 3])
    config = sequential(first, layer(name, "odd"))
    with pytest.raises(UnsupportedError) as error:
        read_architecture(config)
    assert f"Layer 'odd' ({name}): " in str(error.value)
    assert REASONS[name] in str(error.value)
    assert "custom class" not in str(error.value)


def test_no_class_is_both_read_and_refused():
    assert not REASONS.keys() & (REGISTRY.keys() | ALIASES.keys())
