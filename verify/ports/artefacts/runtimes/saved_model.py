"""Run SavedModel folders with TensorFlow."""

from __future__ import annotations

import importlib.util
import logging
import re
from collections.abc import Iterable, Iterator, Mapping
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

EXTRA, SUFFIX = "keras", "a SavedModel"

USUAL_METHODS = ("serve", "serving_default")
"""Methods that are called if a folder has several, the first one that it has."""

STATEFUL_OPERATIONS = re.compile(
    r"_?(VarHandleOp|ReadVariableOp|Assign(Add|Sub)?VariableOp|VarIsInitializedOp"
    r"|VariableShape|VariableV2|DisableCopyOnRead|ResourceGather(Nd)?"
    r"|ResourceStridedSliceAssign|ResourceScatter\w+|StatefulPartitionedCall"
    r"|While|If|Case|TensorArray\w*|Stack(V2|PushV2|PopV2|CloseV2)?|Assert"
    r"|CheckNumerics(V2)?|GuaranteeConst|Empty|DeepCopy|Arg|Retval|DeviceIndex"
    r"|(Hash|MutableHash|MutableDenseHash)Table(OfTensors)?(V2)?"
    r"|Anonymous\w*Table(OfTensors)?|LookupTable\w+|InitializeTableV2"
    r"|Random(Uniform|UniformInt|StandardNormal|Gamma|Poisson|PoissonV2|Shuffle)"
    r"|TruncatedNormal|ParameterizedTruncatedNormal|Multinomial|NonDeterministicInts"
    r"|Stateful(Uniform|UniformInt|UniformFullInt|StandardNormalV?2?|TruncatedNormal"
    r"|RandomBinomial)|StatelessRandomGetAlg|Rng(Skip|ReadAndSkip)|XlaCallModule"
    r"|CudnnRNN\w*)"
)
"""Operations with effects that stay within the model: variables, loops, tables, random
numbers, and the layers of GPUs that Keras 2 puts beside its recurrent ones. TensorFlow
marks those with any effect; others of them read and write files, call Python or reach
the network."""

READING_OPERATIONS = re.compile(
    r".*(File|Dataset|Iterator|PyFunc|Proto|ImmutableConst|Vocab|Debug|Summary|Reader"
    r"|Save|Restore|Checkpoint).*"
)
"""Operations that TensorFlow does not mark, and that read files, call Python or write
for a debugger."""

SAVER_OPERATIONS = frozenset(
    {"SaveV2", "RestoreV2", "MergeV2Checkpoints", "ShardedFilename"}
)
"""Operations that every SavedModel has, to be saved and restored; nothing here calls
them."""


def open_file(opening: Opening) -> SavedModelFolder:
    """Load a SavedModel, after a look at the operations in it.

    Raises
    ------
    UnsupportedError
        TensorFlow is missing or too old, or an operation reads or writes files, calls
        Python or reaches the network.
    ModelFileError
        The folder is damaged.
    """
    try:
        import tensorflow
    except ImportError as error:
        raise missing("tensorflow", EXTRA, SUFFIX, error) from None
    at_least("tensorflow", tensorflow.__version__, (2, 16), EXTRA, SUFFIX)
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    refuse_operations(opening)
    return SavedModelFolder(opening)


def refuse_operations(opening: Opening) -> None:
    """Require that no operation has an effect outside the model.

    Raises
    ------
    UnsupportedError
        One has, which is named.
    ModelFileError
        saved_model.pb is damaged.
    """
    from tensorflow.core.protobuf import saved_model_pb2

    proto = saved_model_pb2.SavedModel()
    try:
        proto.ParseFromString((Path(opening.path) / "saved_model.pb").read_bytes())
    except Exception as error:
        raise ModelFileError(
            f"{opening.shown} is damaged (saved_model.pb: {one_line(error)})"
        ) from None
    if not proto.meta_graphs:
        raise ModelFileError(f"{opening.shown} is damaged (it has no graph)")
    refused = {
        name for graph in proto.meta_graphs for name in outward_operations(graph)
    }
    if refused:
        raise UnsupportedError(
            f"{opening.shown}: refused, because of operations that read or write "
            "files, run Python, reach other machines or have effects of their own: "
            f"{join_and(printable(name, 60) for name in sorted(refused)[:8])}"
        )


def outward_operations(graph: Any) -> Iterator[str]:
    """Yield the operations of a MetaGraphDef with effects outside the model.

    Those that save and restore its variables may stand in functions that nothing else
    calls.
    """
    functions = {f.signature.name: f for f in graph.graph_def.library.function}
    savers = {
        graph.saver_def.save_tensor_name.partition(":")[0],
        graph.saver_def.restore_op_name.partition(":")[0],
    } - {""}
    of_savers = _reachable(
        (node for node in graph.graph_def.node if node.name in savers), functions
    )
    elsewhere = [node for node in graph.graph_def.node if node.name not in savers]
    for name, function in functions.items():
        if name not in of_savers:
            elsewhere += function.node_def
    reached = _reachable(elsewhere, functions)
    for node in elsewhere:
        if not harmless(node.op):
            yield node.op
    for name in of_savers:
        for node in functions[name].node_def:
            if node.op in SAVER_OPERATIONS and name not in reached:
                continue
            if not harmless(node.op):
                yield node.op


def harmless(operation: str) -> bool:
    """Return whether an operation has no effect outside the model.

    One that TensorFlow does not know is not judged here: loading it fails by its name.
    """
    from tensorflow.python.framework import op_def_registry

    if READING_OPERATIONS.fullmatch(operation):
        return False
    known = op_def_registry.get(operation)
    if known is None or not known.is_stateful:
        return True
    return STATEFUL_OPERATIONS.fullmatch(operation) is not None


def _reachable(nodes: Iterable[Any], functions: Mapping[str, Any]) -> set[str]:
    """Return the names of the functions that nodes call, directly or not."""
    found: set[str] = set()
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        called = [node.op]
        for attribute in node.attr.values():
            called.append(attribute.func.name)
            called += [f.name for f in attribute.list.func]
        for name in called:
            if name in functions and name not in found:
                found.add(name)
                waiting += functions[name].node_def
    return found


class SavedModelFolder(Runtime):
    """Hold a SavedModel in TensorFlow; one of its methods is called, by names.

    Attributes
    ----------
    opening : Opening
    loaded : object
        What ``tf.saved_model.load`` returns.
    method : str
    """

    def __init__(self, opening: Opening) -> None:
        import tensorflow

        self.opening = opening
        self.runtime = f"tensorflow {tensorflow.__version__}"
        self.loaded = self.load()
        names = list(self.loaded.signatures)
        if not names:
            raise ModelFileError(
                f"{opening.shown}: expected a method to call, such as serve. Received: "
                "a SavedModel without signatures"
            )
        usual = (name for name in USUAL_METHODS if name in names)
        self.method = next(usual, names[0])
        others = [printable(name, 60) for name in names if name != self.method]
        of = f", of {join_and([self.method, *others])}" if others else ""
        function = self.loaded.signatures[self.method]
        inputs = function.structured_input_signature[1]
        self.signature = Signature(
            tuple(_tensor_info(name, spec) for name, spec in inputs.items()),
            tuple(
                _tensor_info(name, spec)
                for name, spec in function.structured_outputs.items()
            ),
            (f"the method {printable(self.method, 60)} is called{of}",),
        )

    def load(self) -> Any:
        """Return the SavedModel, loaded anew.

        Raises
        ------
        ModelFileError
            TensorFlow refuses it.
        UnsupportedError
            It lacks an operation.
        """
        import tensorflow

        try:
            _stand_in_for_optimizers()
            return tensorflow.saved_model.load(self.opening.path)
        except Exception as error:
            reason = one_line(error)
            if "not registered" in reason:
                raise UnsupportedError(
                    f"{self.opening.shown}: {self.runtime} lacks an operation: {reason}"
                ) from None
            raise ModelFileError(
                f"{self.opening.shown}: {self.runtime} cannot load it: {reason}"
            ) from None

    def renew(self) -> None:
        """Begin again with the state that the file has."""
        self.loaded = self.load()

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Return the outputs by name, given the inputs by name.

        Raises
        ------
        RuntimeRefused
            TensorFlow refuses these inputs.
        """
        import tensorflow

        function = self.loaded.signatures[self.method]
        try:
            found = function(
                **{name: tensorflow.constant(array) for name, array in feeds.items()}
            )
            return {name: np.array(value.numpy()) for name, value in found.items()}
        except Exception as error:
            raise RuntimeRefused(one_line(error)) from None

    def constants(self) -> dict[str, Array]:
        """Return the variables and the constants of every function by name."""
        import tensorflow

        found: dict[str, Array] = {}
        method = self.loaded.signatures[self.method]
        # the states of stateful layers are among those that the graph uses alone
        seen: set[int] = set()
        for variable in (*getattr(self.loaded, "variables", ()), *method.variables):
            array, name = variable.numpy(), variable.name
            if id(variable) in seen or array.dtype.name not in DTYPES:
                continue
            seen.add(id(variable))
            while name in found:  # an LSTM's two states have the same
                name += "'"
            found[name] = np.array(array)
        graph = method.graph.as_graph_def()
        nodes = [("", node) for node in graph.node]
        for function in graph.library.function:
            nodes += [(f"{function.signature.name}/", n) for n in function.node_def]
        for prefix, node in nodes:
            if node.op == "Const":
                array = tensorflow.make_ndarray(node.attr["value"].tensor)
                if array.dtype.name in DTYPES:
                    found.setdefault(f"{prefix}{node.name}", np.array(array))
        return found


def _stand_in_for_optimizers() -> None:
    """Give TensorFlow a class for the optimizers that Keras 2 saved with its models.

    Without one TensorFlow loads no model that an optimizer of Keras before 2.11 has
    trained. It takes those of tf_keras where that is installed.
    """
    if importlib.util.find_spec("tf_keras") is not None:
        return
    import tensorflow
    from tensorflow.python.saved_model import revived_types

    if "optimizer" in revived_types.registered_identifiers():
        return

    tracked: Any = tensorflow.__internal__.tracking.AutoTrackable

    class Optimizer(tracked):  # type: ignore[misc]  # TensorFlow has no types
        """Hold what an optimizer remembers of each weight, which nothing here reads."""

        def add_slot(self, var: Any, slot_name: str) -> Any:
            """Return a variable like a weight, of zeros."""
            zeros = tensorflow.zeros(var.shape, var.dtype)
            return tensorflow.Variable(zeros, trainable=False, name=slot_name)

        def _create_or_restore_slot_variable(self, **_: Any) -> None:
            """Leave the zeros, instead of the values in the file."""

    tensorflow.__internal__.saved_model.load.register_revived_type(
        "optimizer",
        lambda found: isinstance(found, Optimizer),
        versions=[
            tensorflow.__internal__.saved_model.load.VersionedTypeRegistration(
                object_factory=lambda proto: Optimizer(),
                version=2,
                min_producer_version=1,
                min_consumer_version=1,
            )
        ],
    )


def _tensor_info(name: str, spec: Any) -> TensorInfo:
    """Return an input or output as TensorFlow describes it."""
    shape = None if spec.shape.rank is None else tuple(spec.shape.as_list())
    return TensorInfo(name, shape, spec.dtype.name)
