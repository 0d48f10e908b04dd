"""Say why classes of Keras are refused that no layer type reads.

Every class of ``keras.layers`` is either in `verify.forward.layers.REGISTRY` or here,
and so are classes that earlier versions of Keras had.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from verify.forward.layers import refused_operations

_FOREIGN = (
    "it runs code of another library that is not in the file, and nothing in a file is "
    "run; "
)
_ABSTRACT = "it is a base class, which computes nothing by itself"
_NO_KERAS = "Keras 3 has no such class either; "
_COLUMNS = (
    "it computes feature columns of TensorFlow, which have no config that could be "
    "read; compute them before the model, and save the layers behind"
)

REASONS: Mapping[str, str] = MappingProxyType(
    {
        **refused_operations.REASONS,
        "Lambda": (
            "it holds Python code, which is never run: build the model of layers, give "
            "it by --layers (docs/own-layers.md), or check the rest with "
            "rnn-verify check --partial"
        ),
        "JaxLayer": _FOREIGN + "save a model of layers of Keras",
        "FlaxLayer": _FOREIGN + "save a model of layers of Keras",
        "TorchModuleWrapper": _FOREIGN + "save a model of layers of Keras",
        "TFSMLayer": (
            "it runs a SavedModel that lies beside the file; give that folder to "
            "rnn-verify compare as an exported file, or save the model that it was "
            "made from"
        ),
        "TensorFlowOpLayer": (
            "it holds a node of a TensorFlow graph, as TensorFlow 2.0 to 2.3 wrote it; "
            "load the model with TensorFlow 2.4 or later and save it again"
        ),
        "Layer": _ABSTRACT,
        "Wrapper": _ABSTRACT,
        "AbstractRNNCell": _ABSTRACT,
        "InputSpec": "it is no layer: it says which shapes a layer takes",
        "MelSpectrogram": (
            "Keras computes its scale in float32 in every model, so that nothing can "
            "be proved, and its floor from the loudest row of a batch; compute it "
            "before the model, and save the layers behind"
        ),
        "TFDConcat": (
            "keras.utils.FeatureSpace joins features by it; make the space with "
            "output_mode='dict', and join the features by a Concatenate"
        ),
        "TFDIdentity": (
            "keras.utils.FeatureSpace hands a feature on by it; give that one to the "
            "model by itself"
        ),
        "Pipeline": "it is not supported; build the model from the layers inside it",
        "Equalization": "it is not supported; compute it before the model",
        "ContrastLimitedAdaptiveHistogramEqualization": (
            "it is not supported; compute it before the model"
        ),
        "DenseFeatures": _COLUMNS,
        "SequenceFeatures": _COLUMNS,
        "LinearModel": _NO_KERAS + "build it from Dense and Add",
        "WideDeepModel": _NO_KERAS + "build it from Dense and Add",
        "PeepholeLSTMCell": (
            _NO_KERAS + "its gates see the cell state, which no layer of Keras 3 does"
        ),
        "LocallyConnected1D": _NO_KERAS + "so there is nothing to compare it with",
        "LocallyConnected2D": _NO_KERAS + "so there is nothing to compare it with",
        "RandomFourierFeatures": _NO_KERAS + "build it from Dense and ops.cos",
        "ConvLSTM2DCell": (
            "a cell by itself, inside RNN, is not supported; ConvLSTM2D is"
        ),
        "ConvRNN2D": _ABSTRACT,
        "MaxoutDense": "it is a class of Keras 1, gone in Keras 2",
        "Highway": "it is a class of Keras 1, gone in Keras 2",
    }
)
"""Class -> why it is refused and what to do, after "Layer 'name' (Class): "."""
