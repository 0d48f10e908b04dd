"""A SavedModel is called by names, and only if nothing in it reaches outside."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from support.exported import EXPORTED, inputs_of

import verify
from verify.ports.artefacts.errors import RuntimeRefused
from verify.ports.artefacts.runtimes.base import Opening
from verify.ports.artefacts.session import open_session
from verify.tolerance.compare import compare

pytestmark = pytest.mark.keras


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The stateful model as a SavedModel."""
    import keras

    path = tmp_path_factory.mktemp("saved") / "stateful"
    model = keras.models.load_model(EXPORTED / "stateful.keras")
    given = keras.InputSpec(shape=(1, 6, 3), dtype="float32", name="x")
    model.export(
        str(path), format="tf_saved_model", verbose=False, input_signature=[given]
    )
    return path


def test_a_saved_model_computes_what_the_model_computes(folder, capfd):
    x = inputs_of("stateful")
    net = verify.load(EXPORTED / "stateful.keras")
    y, states = net.predict(x, return_state=True)
    again = net.predict(x, initial_state=states)
    with open_session(folder) as opened:
        assert opened.kind == "saved_model"
        assert opened.runtime.startswith("tensorflow 2")
        assert opened.signature.notes == (
            "the method serve is called, of serve and serving_default",
        )
        first, second = (opened.run({"x": x})["output_0"] for _ in range(2))
        with pytest.raises(RuntimeRefused, match="Specified a list with shape"):
            opened.run({"x": inputs_of("stateful", 2)})
        opened.renew()
        (renewed,) = opened.run({"x": x}).values()
        constants = opened.constants()
    assert compare(first, y, allowed=2e-6).matches
    assert compare(second, again, allowed=2e-6).matches
    assert not compare(second, y, allowed=2e-6).matches
    assert compare(renewed, y, allowed=2e-6).matches
    for name, weight in net.spec["lstm"].weights.items():
        # from Keras 3.16 on behind the name of the model
        (key,) = (k for k in constants if k.endswith(f"lstm/lstm_cell/{name}:0"))
        np.testing.assert_array_equal(constants[key], weight)
    assert capfd.readouterr() == ("", "")


def graph_of(function, *arguments, initializer=None):
    """The MetaGraphDef of a function, as a SavedModel holds it."""
    import tensorflow as tf
    from tensorflow.core.protobuf import meta_graph_pb2

    concrete = tf.function(function).get_concrete_function(*arguments)
    graph = meta_graph_pb2.MetaGraphDef()
    graph.graph_def.CopyFrom(concrete.graph.as_graph_def())
    return graph


def outward(function) -> set[str]:
    import tensorflow as tf

    from verify.ports.artefacts.runtimes.saved_model import outward_operations

    given = tf.TensorSpec([None], tf.float32)
    return set(outward_operations(graph_of(function, given)))


def test_operations_that_reach_outside_are_found_wherever_they_are():
    import tensorflow as tf

    def in_a_branch(x):
        return tf.cond(
            tf.reduce_sum(x) > 0,
            lambda: tf.strings.length(tf.io.read_file("/etc/hostname")),
            lambda: 0,
        )

    def in_a_loop(x):
        def body(k):
            tf.print(k, output_stream="file:///tmp/never")
            return k + 1

        return tf.while_loop(lambda k: k < 3, body, [tf.constant(0)])

    def written(x):
        tf.io.write_file("never", "x")
        return x

    cases = {
        "ReadFile": in_a_branch,
        "PrintV2": in_a_loop,
        "WriteFile": written,
        "PyFunc": lambda x: tf.numpy_function(lambda v: v, [x], tf.float32),
        "EagerPyFunc": lambda x: tf.py_function(lambda v: v, [x], tf.float32),
        "MatchingFiles": lambda x: tf.io.matching_files("/*"),
        "TensorSliceDataset": lambda x: tf.data.Dataset.from_tensors(x).reduce(
            x, lambda a, b: a + b
        ),
        "RestoreV2": lambda x: tf.raw_ops.RestoreV2(
            prefix="a", tensor_names=["b"], shape_and_slices=[""], dtypes=[tf.float32]
        ),
        "DecodeProtoV2": lambda x: tf.io.decode_proto(
            tf.strings.as_string(x), "M", ["f"], [tf.int32], "/etc/hostname"
        ),
    }
    for name, function in cases.items():
        found = outward(function)
        assert name in found or (name == "TensorSliceDataset" and found), name
    assert not outward(lambda x: tf.while_loop(lambda a: True, tf.sin, [x]))
    assert not outward(lambda x: x + tf.random.normal([3]))


def test_the_layers_of_gpus_that_keras_2_saves_beside_its_own_reach_nothing():
    import tensorflow as tf

    def on_a_gpu(x):
        x = tf.reshape(x, [-1, 1, 1])
        size = {"num_layers": 1, "num_units": 2, "input_size": 1}
        state = tf.zeros([1, 1, 2])
        many = tf.raw_ops.CudnnRNNParamsSize(T=tf.float32, S=tf.int32, **size)
        weights = tf.zeros(many)
        return tf.raw_ops.CudnnRNN(
            input=x, input_h=state, input_c=state, params=weights
        )[0]

    def backwards(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = on_a_gpu(x)
        return tape.gradient(y, x)

    assert not outward(on_a_gpu)
    assert not outward(backwards)


def test_a_model_of_keras_2_is_loaded_with_the_slots_of_its_optimizer(tmp_path):
    import tensorflow as tf

    tracking = tf.__internal__.tracking
    revived = tf.__internal__.saved_model.load

    weight = tf.Variable(np.float32([[0.5, -2.0]]))
    slot = tf.Variable(weight + 1.0)

    class Optimizer(tracking.AutoTrackable):
        """Stand for what Keras saved before 2.11, with slots beside the weights."""

        def get_slot_names(self):
            return ["m"]

        def get_slot(self, variable, name):
            return slot if variable is weight else None

        def _create_or_restore_slot_variable(self, **_):
            """Mark an optimizer for TensorFlow."""

    class Model(tf.Module):
        def __init__(self):
            super().__init__()
            self.weight, self.optimizer = weight, Optimizer()

        @tf.function(input_signature=[tf.TensorSpec([None, 1], name="x")])
        def serve(self, x):
            return {"y": x @ self.weight}

    model = Model()
    version = revived.VersionedTypeRegistration(
        lambda proto: None, version=2, min_producer_version=1, min_consumer_version=1
    )
    revived.register_revived_type(
        "optimizer", lambda found: isinstance(found, Optimizer), [version]
    )
    tf.saved_model.save(model, str(tmp_path / "m"), signatures={"serve": model.serve})
    proto = (tmp_path / "m" / "saved_model.pb").read_bytes()
    assert b"optimizer" in proto
    with open_session(tmp_path / "m") as opened:  # in a process of its own
        (y,) = opened.run({"x": np.float32([[3.0]])}).values()
        found = [a.tolist() for a in opened.constants().values() if a.shape == (1, 2)]
    assert y.tolist() == [[1.5, -6.0]]
    assert [[0.5, -2.0]] in found


def test_a_saver_may_stand_where_nothing_else_calls_it():
    from verify.ports.artefacts.runtimes.saved_model import outward_operations

    def node(name, op, calls=""):
        attribute = SimpleNamespace(
            func=SimpleNamespace(name=calls), list=SimpleNamespace(func=[])
        )
        return SimpleNamespace(name=name, op=op, attr={"f": attribute})

    def graph(*nodes):
        saver = SimpleNamespace(
            signature=SimpleNamespace(name="save"), node_def=[node("s", "SaveV2")]
        )
        return SimpleNamespace(
            graph_def=SimpleNamespace(
                node=nodes, library=SimpleNamespace(function=[saver])
            ),
            saver_def=SimpleNamespace(save_tensor_name="a:0", restore_op_name=""),
        )

    calls = node("a", "StatefulPartitionedCall", "save")
    other = node("b", "StatefulPartitionedCall", "save")
    assert list(outward_operations(graph(calls))) == []
    assert list(outward_operations(graph(calls, other))) == ["SaveV2"]
    assert list(outward_operations(graph(other))) == ["SaveV2"]
    assert list(outward_operations(graph(calls, node("c", "WriteFile")))) == [
        "WriteFile"
    ]


def look_at(path):
    """What the process of the file does before it loads it; a process takes 3 s."""
    from verify.ports.artefacts.runtimes.saved_model import refuse_operations

    refuse_operations(Opening("saved_model", str(path), str(path), None))


def test_a_folder_is_refused_before_it_is_loaded(folder, tmp_path):
    import shutil

    from tensorflow.core.protobuf import saved_model_pb2

    shutil.copytree(folder, tmp_path / "m")
    path = tmp_path / "m" / "saved_model.pb"
    proto = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    node = proto.meta_graphs[0].graph_def.library.function[0].node_def.add()
    node.name, node.op = "n", "ReadFile"
    path.write_bytes(proto.SerializeToString())
    with pytest.raises(verify.UnsupportedError, match=r"reach other .*: ReadFile$"):
        look_at(tmp_path / "m")


def test_a_folder_that_is_damaged(folder, tmp_path):
    (tmp_path / "saved_model.pb").write_bytes(b"\x08\x01\x12\x7f")
    with pytest.raises(verify.ModelFileError, match="is damaged"):
        look_at(tmp_path)
    (tmp_path / "saved_model.pb").write_bytes(b"\x08\x01")
    with pytest.raises(verify.ModelFileError, match="it has no graph"):
        look_at(tmp_path)
