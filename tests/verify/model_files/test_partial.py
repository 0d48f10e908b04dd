"""Models of which not all can be read: what is marked, what remains, what is taken."""

from __future__ import annotations

import numpy as np
import pytest
from support.nets import (
    INPUTS,
    OUTPUTS,
    TIME,
    UNITS,
    GivenWeights,
    features,
    input_layer,
    layer,
    random_layers,
    random_weights,
    sequential,
    write_keras_file,
)
from support.own_layers import own_config, own_file, own_weights

import verify
from verify import ModelFileError, Network, UnsupportedError, Verdict
from verify.__main__ import main
from verify.forward.layers import REGISTRY
from verify.model.graph import TensorRef, flatten, refs_of
from verify.model.spec import UNREAD
from verify.model_files.base_classes import take_base_classes, without_additions
from verify.model_files.config import read_architecture, read_model, without_unread
from verify.model_files.cuts import cut
from verify.model_files.keras2_weights import LegacyWeights
from verify.model_files.opening import opened


def tensor(name: str, number: int = 0, **more) -> dict:
    history = {"keras_history": [name, 0, number], **more}
    return {"class_name": "__keras_tensor__", "config": history}


def called(entry: dict, *args, **kwargs) -> dict:
    """A layer of a Functional config, with its call."""
    name = entry["config"]["name"]
    nodes = [{"args": list(args), "kwargs": kwargs}] if args else []
    return {**entry, "name": name, "inbound_nodes": nodes}


def own(name: str = "own", class_name: str = "Mine", **config) -> dict:
    entry = layer(class_name, name, **config)
    return {**entry, "module": "mine", "registered_name": class_name}


def functional(*layers: dict, outputs: list) -> dict:
    return {
        "module": "keras.src.models.functional",
        "class_name": "Functional",
        "registered_name": None,
        "config": {
            "name": "model",
            "layers": list(layers),
            "input_layers": [["input", 0, 0]],
            "output_layers": outputs,
        },
    }


def branching(**shape) -> dict:
    """An LSTM beside a layer of the user's, both into an Add, then Dense."""
    return functional(
        called(input_layer(None, TIME, INPUTS)),
        called(layer("LSTM", "lstm", units=UNITS), tensor("input")),
        called(own(size=3), tensor("input")),
        called(layer("Add", "add"), [tensor("lstm"), tensor("own", **shape)]),
        called(layer("Dense", "dense", units=OUTPUTS), tensor("add")),
        outputs=[["dense", 0, 0]],
    )


def read(config: dict, sizes: dict | None = None):
    class Given(GivenWeights):
        def inside(self, container, key, class_name, number):
            found = super().inside(container, key, class_name, number)
            found.everything = lambda: {"array 0": np.zeros((3, 2))}
            return found

    arrays = {}
    for k, (name, one) in enumerate(
        read_architecture(config, partial=True).sublayers.items()
    ):
        known = {"lstm": INPUTS, "lstm_1": UNITS, **(sizes or {})}
        size = known.get(name, UNITS)
        shapes = REGISTRY[one.class_name].weight_shapes(one.options).values()
        rng = np.random.default_rng(k)
        arrays[name] = [
            rng.normal(size=[size if s is None else s for s in x]) for x in shapes
        ]
    return read_model(config, Given(arrays), source="", keras_version="", partial=True)


def test_a_file_is_read_but_for_a_custom_class(tmp_path):
    path, weights = own_file(tmp_path / "m.keras")
    with pytest.raises(
        UnsupportedError, match=r"check the rest with rnn-verify check --partial"
    ):
        verify.load(path)
    net = verify.load(path, partial=True)
    (unread,) = net.spec.unread.values()
    assert (unread.class_name, unread.own_class) == (UNREAD, "ReversedLSTM")
    assert unread.unread.startswith("this custom class is not supported")
    arrays = list(unread.weights.items())
    assert [key for key, _ in arrays] == [f"cell/vars/{k}" for k in range(3)]
    for (_, found), expected in zip(arrays, weights[1], strict=True):
        np.testing.assert_array_equal(found, expected)
    assert net.spec.parameters == sum(w.size for ws in weights for w in ws)
    shapes = [(x.input_shape, x.output_shape) for x in net.spec.layers]
    sequence = (None, TIME, UNITS)
    assert shapes == [((None, TIME, INPUTS), sequence), (sequence, None), (None, None)]
    with pytest.raises(UnsupportedError, match=r"'own' \(ReversedLSTM\): this custom"):
        net.predict(features())


@pytest.mark.keras
def test_a_model_of_a_class_with_a_config_of_its_own_may_have_no_name(tmp_path):
    """Keras then calls it by its class; a Sequential says a name nowhere else."""
    import keras
    from keras import Input, layers

    @keras.saving.register_keras_serializable("own")
    class TwoHeads(keras.Model):
        def __init__(self):
            super().__init__()
            self.heads = [layers.GRU(2), layers.LSTM(3)]

        def call(self, x):
            return keras.ops.concatenate([head(x) for head in self.heads], axis=-1)

        def get_config(self):
            return {}

    model = keras.Sequential(
        [
            Input((TIME, INPUTS)),
            layers.GRU(4, return_sequences=True, name="first"),
            *(TwoHeads(), layers.Reshape((5, 1), name="reshape")),
            *(TwoHeads(), layers.Dense(2, name="dense")),
        ]
    )
    model.set_weights(random_weights([w.shape for w in model.get_weights()], 0))
    model.save(tmp_path / "m.keras")
    net = verify.load(tmp_path / "m.keras", partial=True)
    unread = net.spec.unread
    assert list(unread) == ["two_heads", "two_heads_1"]
    assert [x.unread[:17] for x in unread.values()] == ["this custom class"] * 2
    assert [x.parameters for x in unread.values()] == [144, 90]  # GRU + LSTM
    report = verify.check(tmp_path / "m.keras", partial=True)
    assert report.verdict is Verdict.PARTIAL
    assert [x.name for x in report.layers] == ["dense", "reshape", "first"]
    live = verify.check(model, partial=True)
    assert live.verdict is Verdict.PARTIAL
    assert {x.own_class for x in verify.load(model, partial=True).spec.layers} == {
        *("", "TwoHeads")
    }


def test_describe_marks_what_cannot_be_read_and_ends_with_3(tmp_path, capsys):
    path, _ = own_file(tmp_path / "m.keras")
    assert main(["describe", str(path)]) == 3
    out, err = capsys.readouterr()
    assert "NOT READ: 1 layer with 144 parameters: own" in out
    assert "own (ReversedLSTM)  (batch, 6, 4) -> ?" in out
    assert "cell/vars/1      (4, 16)" in out
    assert "NOT READ: this custom class" in out
    assert "columns: i 0:4, f 4:8, c 8:12, o 12:16" in out
    assert "parameters : 4 x 2 + 2 = 10" in out
    (line,) = err.splitlines()
    assert line.startswith("rnn-verify: PARTIAL: Layer 'own' (ReversedLSTM): ")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"activation": "nothing"}, "option 'activation' expects"),
        ({"nothing": 3}, "option 'nothing' is not supported"),
        ({"dtype": "mixed_float8"}, "dtype policy"),
    ],
)
def test_an_option_that_is_not_supported_is_a_mark(change, reason):
    config = sequential(
        input_layer(None, TIME, INPUTS),
        layer("LSTM", "lstm", units=UNITS, return_sequences=True),
        layer("LSTM", "lstm_1", units=UNITS, **change),
    )
    with pytest.raises(UnsupportedError):
        read_architecture(config)
    (found,) = [x for x in read(config) if x.unread]
    assert (found.name, found.own_class) == ("lstm_1", "LSTM")
    assert reason in found.unread


def test_what_is_inside_a_wrapper_makes_the_wrapper_unread():
    config = sequential(
        input_layer(None, TIME, INPUTS),
        layer("Bidirectional", "both", layer=own(units=2)),
    )
    spec = read_architecture(config, partial=True)
    assert list(spec.sublayers["both"].sublayers) == []
    assert "Layer 'own' (Mine)" in spec.sublayers["both"].unread


def test_an_argument_that_cannot_be_read_is_a_mark():
    odd = {"class_name": "Mystery", "config": {}}
    config = functional(
        called(input_layer(None, TIME, INPUTS)),
        called(layer("LSTM", "lstm", units=UNITS), tensor("input"), initial_state=odd),
        outputs=[["lstm", 0, 0]],
    )
    with pytest.raises(UnsupportedError, match="class 'Mystery'"):
        read_architecture(config)
    found = read_architecture(config, partial=True).sublayers["lstm"]
    assert "an argument of class 'Mystery' is not supported" in found.unread


@pytest.mark.parametrize(
    "call",
    [{"mask": None}, {"mask": None, "training": False, "extra": 3}, {"state": None}],
)
def test_a_layer_that_is_not_read_may_be_called_in_any_way(tmp_path, capsys, call):
    config = functional(
        called(input_layer(None, TIME, INPUTS)),
        called(
            layer("LSTM", "lstm", units=UNITS, return_sequences=True), tensor("input")
        ),
        called(own(), tensor("lstm", shape=[None, TIME, UNITS]), **call),
        called(layer("GRU", "gru", units=2), tensor("own", shape=[None, TIME, UNITS])),
        outputs=[["gru", 0, 0]],
    )
    for entry in config["config"]["layers"]:
        entry["config"]["dtype"] = "float32"
    arrays = [
        random_weights(shapes, k)
        for k, shapes in enumerate(
            [
                [(INPUTS, 16), (UNITS, 16), (16,)],
                [],
                [(UNITS, 6), (2, 6), (2, 6)],
            ]
        )
    ]
    path = write_keras_file(tmp_path / "m.keras", config, arrays)
    assert main(["describe", str(path)]) == 3
    out, err = capsys.readouterr()
    assert "gru (GRU)  (batch, 6, 4) -> (batch, 2)" in out
    assert "Layer 'own' (Mine): this custom class is not supported" in err
    with pytest.raises(UnsupportedError, match=r"'own' \(Mine\): this custom class"):
        verify.load(path, partial=True).predict(features())


def test_what_contradicts_itself_is_refused_all_the_same(tmp_path):
    path, _ = own_file(tmp_path / "m.keras")
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ModelFileError, match="damaged"):
        verify.load(path, partial=True)


def test_a_cut_puts_inputs_in_the_place_of_what_is_missing():
    config = branching(shape=[None, UNITS], dtype="float32")
    spec = read(config)
    remains = cut(spec.root, config)
    (stand_in,) = remains.stand_ins.values()
    assert (stand_in.name, stand_in.ref) == ("own_output", TensorRef("own", 0, 0))
    assert not remains.left_out
    root = without_unread(spec.root, remains)
    inputs = [x.name for x in verify.ModelSpec(root).inputs]
    assert inputs == ["input", "own_output"]
    part = Network(verify.ModelSpec(root))
    x, given = features(), np.random.default_rng(1).normal(size=(5, UNITS))
    found = part.trace([x, given.astype("float32")])
    np.testing.assert_allclose(
        found["add"].output, found["lstm"].output + given, rtol=1e-6
    )
    shapes = {layer.name: layer.output_shape for layer in spec.layers}
    assert shapes["own"] == shapes["add"] == (None, UNITS)
    assert spec["own"].input_shape == (None, TIME, INPUTS)


@pytest.mark.filterwarnings("error")
def test_what_comes_of_complex_numbers_is_left_out_without_a_warning():
    """Keras writes that the real part of complex numbers is complex, too."""
    stated = {"shape": [None, TIME, INPUTS], "dtype": "complex64"}
    cast, real = [
        {**layer(name, name.lower(), **options), "module": "keras.src.ops.numpy"}
        for name, options in (("Cast", {"dtype": "complex64"}), ("Real", {}))
    ]
    config = functional(
        called(input_layer(None, TIME, INPUTS)),
        called(cast, tensor("input")),
        called(real, tensor("cast", **stated)),
        called(layer("LSTM", "lstm", units=UNITS), tensor("real", **stated)),
        outputs=[["lstm", 0, 0]],
    )
    spec = read(config)
    reason = "complex numbers are not read; give real and imaginary parts by themselves"
    assert {x.name: x.unread for x in spec if x.unread} == dict.fromkeys(
        ("cast", "real"), reason
    )
    assert spec["lstm"].output_shape == (None, UNITS)
    (stand_in,) = cut(spec.root, config).stand_ins.values()
    assert stand_in.layer.options["dtype"] == "float32"


def test_layers_behind_an_unknown_shape_are_left_out():
    config = branching()
    spec = read(config)
    remains = cut(spec.root, config, certain=True)
    reasons = [
        f"the shape of what it is given by '{x}' is not known" for x in ("own", "add")
    ]
    assert list(remains.left_out.values()) == reasons
    assert spec["dense"].input_shape is None
    tried = cut(spec.root, config)  # what is told by the kernel of Dense can be added
    assert not tried.left_out
    assert tried.stand_ins["own_output"].layer.options["batch_shape"] == (None, UNITS)


def test_a_cut_of_which_nothing_remains_is_refused():
    config = sequential(input_layer(None, TIME, INPUTS), own())
    spec = read(config)
    with pytest.raises(UnsupportedError, match="No other layer can be computed"):
        cut(spec.root, config)


def test_shared_layers_keep_the_calls_that_can_be_computed():
    lstm = called(
        layer("LSTM", "lstm", units=INPUTS, return_sequences=True), tensor("own")
    )
    lstm["inbound_nodes"].append({"args": [tensor("input")], "kwargs": {}})
    config = functional(
        called(input_layer(None, TIME, INPUTS)),
        called(layer("Add", "add"), [tensor("input"), tensor("own")]),
        called(own(), tensor("input")),
        lstm,
        outputs=[["lstm", 1, 0], ["add", 0, 0]],
    )
    spec = read(config)
    remains = cut(spec.root, config)
    root = without_unread(spec.root, remains)
    # the first call leads to no output, so the second is the first that remains
    assert [n.index for n in root.graph.nodes if n.layer == "lstm"] == [0]
    outputs = [ref.place for ref in flatten(root.graph.outputs)]
    assert outputs == [("add", 0, 0), ("lstm", 0, 0)]
    assert not remains.left_out


def test_a_legacy_file_gives_a_layer_that_is_not_read_its_arrays():
    structure = read_architecture(own_config(), partial=True)
    weights = own_weights()
    arrays = dict(zip(("lstm", "own", "dense"), weights, strict=True))
    source = LegacyWeights(structure, arrays, "m.h5")
    spec = read_model(
        own_config(), source, source="m.h5", keras_version="2.2", partial=True
    )
    np.testing.assert_array_equal(spec["own"].weights["array 1"], weights[1][1])


def test_a_model_inside_a_legacy_file_leaves_what_no_other_layer_has():
    inner = own_config()
    inner["config"]["name"] = "inner"
    config = sequential(input_layer(None, TIME, INPUTS), inner)
    structure = read_architecture(config, partial=True)
    flat = [array for arrays in own_weights() for array in arrays]
    source = LegacyWeights(structure, {"inner": flat}, "m.h5")
    spec = read_model(config, source, source="m.h5", keras_version="2.2", partial=True)
    for path, arrays in zip(("lstm", "own", "dense"), own_weights(), strict=True):
        found = spec[f"inner/{path}"].weights.values()
        for ours, expected in zip(found, arrays, strict=True):
            np.testing.assert_array_equal(ours, expected)


def test_a_custom_class_is_taken_as_its_base_class(tmp_path, capsys):
    path, weights = own_file(tmp_path / "m.keras", extra=[1, 2], unit_forget_bias=True)
    net = verify.load(path, base_classes={"ReversedLSTM": "LSTM"})
    layer_ = net.spec["own"]
    assert (layer_.class_name, layer_.own_class) == ("LSTM", "ReversedLSTM")
    np.testing.assert_array_equal(layer_.weights["kernel"], weights[1][0])
    assert net.spec.notes == (
        "layer 'own' (ReversedLSTM) is taken as LSTM; what the class adds is not "
        "checked",
        "layer 'own': options of its own are dropped: extra=[1, 2]",
    )
    plain, _ = own_file(tmp_path / "p.keras", name="LSTM")
    same = verify.load(plain, base_classes={"mine>LSTM": "LSTM"})
    np.testing.assert_array_equal(net.predict(features()), same.predict(features()))
    for option in (["--as-base-class"], ["--as-base-class", "ReversedLSTM=LSTM"]):
        assert main(["describe", *option, str(path)]) == 0
        assert "own (ReversedLSTM, taken as LSTM)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ({"ReversedLSTM": "lstm"}, "Did you mean LSTM"),
        ({"LSTM": "GRU"}, "expected a custom class of the model"),
        ({"ReversedLSTM": "GRU"}, "config and weights disagree"),
        ({"ReversedLSTM": "Dense"}, "config and weights disagree"),
        ({"ReversedLSTM": "Functional"}, "because ReversedLSTM is a layer"),
        ("LSTM", "expected NAME=CLASS"),
    ],
)
def test_a_base_class_that_does_not_fit_is_refused(tmp_path, classes, message):
    path, _ = own_file(tmp_path / "m.keras")
    with pytest.raises(verify.VerifyError, match=message):
        verify.load(path, base_classes=classes)


@pytest.mark.parametrize(
    ("entry", "base"),
    [
        (own(units=3, return_sequences=True, reset_after=True), "GRU"),
        (own(units=3, return_sequences=True, unit_forget_bias=True), "LSTM"),
        (own(filters=3, kernel_size=[2], data_format="channels_last"), ""),
        (
            own(class_name="OwnDense", units=3, use_bias=True, activation="tanh"),
            "Dense",
        ),
        (own(units=3), ""),
        (own(class_name="MyLSTM", units=3, return_state=True, unroll=True), "LSTM"),
    ],
)
def test_a_base_class_is_recognised_by_its_options_or_left_to_the_user(entry, base):
    config = sequential(input_layer(None, TIME, INPUTS), entry)
    if not base:
        with pytest.raises(UnsupportedError, match=r"say it as Mine=CLASS"):
            take_base_classes(config, "auto")
        return
    taken, notes = take_base_classes(config, "auto")
    changed = taken["config"]["layers"][1]
    assert changed["class_name"] == base
    assert len(notes) == 1
    assert not without_additions(taken)[1]


def test_without_a_custom_class_there_is_nothing_to_take():
    config = sequential(input_layer(None, TIME, INPUTS), layer("LSTM", "l", units=2))
    with pytest.raises(UnsupportedError, match="has no custom class"):
        take_base_classes(config, "auto")
    assert random_layers(config, 0, np.float32)


def behind(*layers: dict, shape=None) -> dict:
    """A layer of the user's between an LSTM and some other layers, one by one."""
    declared = {} if shape is None else {"shape": shape, "dtype": "float32"}
    lstm = layer("LSTM", "lstm", units=UNITS, return_sequences=True)
    chain = []
    for k, entry in enumerate(layers):
        taken = tensor("own", **declared) if not k else tensor(_name(layers[k - 1]))
        chain.append(called(entry, taken))
    return functional(
        called(input_layer(None, TIME, INPUTS)),
        called(lstm, tensor("input")),
        called(own(), tensor("lstm")),
        *chain,
        outputs=[[_name(layers[-1]), 0, 0]],
    )


def _name(entry: dict) -> str:
    return entry["config"]["name"]


def stand_in(config: dict):
    spec = read(config)
    remains = cut(spec.root, config)
    without_unread(spec.root, remains)
    (found,) = remains.stand_ins.values()
    assert not remains.left_out
    return found.layer.options["batch_shape"]


@pytest.mark.parametrize(
    ("layers", "shape"),
    [
        ([layer("GRU", "b", units=2)], (None, None, UNITS)),
        ([layer("Conv1D", "b", filters=3, kernel_size=2)], (None, None, UNITS)),
        ([layer("Conv2D", "b", filters=3, kernel_size=2)], (None, None, None, UNITS)),
        (
            [layer("ConvLSTM1D", "b", filters=3, kernel_size=2)],
            (None, None, None, UNITS),
        ),
        ([layer("Dense", "b", units=2)], (None, UNITS)),
        (
            [layer("RepeatVector", "a", n=3), layer("GRU", "b", units=2)],
            (None, UNITS),
        ),
        (
            [layer("MaxPooling1D", "a"), layer("GRU", "b", units=2)],
            (None, None, UNITS),
        ),
        (
            [layer("GlobalMaxPooling1D", "a"), layer("Dense", "b", units=2)],
            (None, None, UNITS),
        ),
        (
            [layer("Dropout", "a", rate=0.5), layer("GRU", "b", units=2)],
            (None, None, UNITS),
        ),
        (
            [layer("Reshape", "a", target_shape=[2, 6]), layer("Flatten", "b")],
            (None, 12),
        ),
        ([layer("Flatten", "a"), layer("ReLU", "b")], (None, TIME, UNITS)),
    ],
)
def test_the_layers_behind_tell_a_shape(layers, shape):
    assert stand_in(behind(*layers)) == shape


@pytest.mark.parametrize(
    ("joined", "options", "shape"),
    [
        ("Concatenate", {"axis": -1}, (None, TIME, UNITS)),
        ("Add", {}, (None, TIME, UNITS)),
        ("Multiply", {}, (None, TIME, UNITS)),
        ("Dot", {"axes": [2, 1]}, (None, UNITS)),
        ("Attention", {}, (None, TIME, UNITS)),
    ],
)
def test_the_layers_beside_tell_a_shape(joined, options, shape):
    """What stands for `own` fits what it is joined with, and what comes after that."""
    join = layer(joined, "join", **options)
    units = 2 * UNITS if joined == "Concatenate" else UNITS
    last = layer("Softmax", "last") if joined == "Dot" else layer("GRU", "gru", units=2)
    config = functional(
        called(input_layer(None, TIME, INPUTS)),
        called(
            layer("LSTM", "lstm", units=UNITS, return_sequences=True), tensor("input")
        ),
        called(own(), tensor("lstm")),
        called(join, [tensor("lstm"), tensor("own")]),
        called(last, tensor("join")),
        outputs=[[_name(last), 0, 0]],
    )
    spec = read(config, sizes={"gru": units})
    remains = cut(spec.root, config)
    without_unread(spec.root, remains)
    assert not remains.left_out
    (found,) = remains.stand_ins.values()
    if joined != "Dot":
        assert found.layer.options["batch_shape"] == shape


def test_what_a_shape_breaks_is_left_out_with_the_reason():
    """The LSTM returns 4 features where the kernel of the GRU has 5 rows."""
    config = functional(
        called(input_layer(None, TIME, INPUTS)),
        called(
            layer("LSTM", "lstm", units=UNITS, return_sequences=True), tensor("input")
        ),
        called(layer("GRU", "gru", units=2), tensor("lstm")),
        called(own(), tensor("lstm")),
        outputs=[["gru", 0, 0], ["own", 0, 0]],
    )
    spec = read(config, sizes={"gru": UNITS + 1})
    remains = cut(spec.root, config)
    assert list(remains.layers) == ["lstm"]
    assert (
        "cannot be computed on what is known of its inputs" in remains.left_out["gru"]
    )


def inner_model(name: str) -> dict:
    """An LSTM, a layer of the user's and a Dense, as a model of one input."""
    found = functional(
        called(input_layer(None, TIME, INPUTS)),
        called(
            layer("LSTM", "lstm", units=INPUTS, return_sequences=True), tensor("input")
        ),
        called(own(units=INPUTS, return_sequences=True), tensor("lstm")),
        called(layer("Dense", "dense", units=INPUTS), tensor("own")),
        outputs=[["dense", 0, 0]],
    )
    found["config"]["name"] = name
    return found


def test_a_model_inside_that_is_shared_is_opened_call_by_call():
    inner = called(inner_model("inner"), tensor("input"))
    inner["inbound_nodes"].append({"args": [tensor("inner")], "kwargs": {}})
    again = tensor("inner")
    again["config"]["keras_history"] = ["inner", 1, 0]
    config = functional(
        called(input_layer(None, TIME, INPUTS)),
        {**inner, "name": "inner"},
        called(layer("Add", "add"), [tensor("inner"), again]),
        outputs=[["add", 0, 0]],
    )
    root = read_architecture(config, partial=True)
    whole = opened(root, config)
    calls = [(node.layer, node.index) for node in whole.nodes]
    assert calls == [
        *[(f"inner/{x}", 0) for x in ("lstm", "own", "dense")],
        *[(f"inner/{x}", 1) for x in ("lstm", "own", "dense")],
        ("add", 0),
    ]
    second = next(n for n in whole.nodes if (n.layer, n.index) == ("inner/lstm", 1))
    assert refs_of(second)[0].place == ("inner/dense", 0, 0)
    last = whole.nodes[-1]
    assert [ref.place for ref in refs_of(last)] == [
        ("inner/dense", 0, 0),
        ("inner/dense", 1, 0),
    ]
    assert whole.paths["inner/lstm"] == "inner/lstm"
    assert list(whole.layers) == [
        *("input", "add"),
        *("inner/lstm", "inner/own", "inner/dense"),
    ]


def test_a_model_inside_that_is_given_a_mask_stays_one_layer():
    inner = called(inner_model("inner"), tensor("input"), mask=tensor("input"))
    config = functional(
        called(input_layer(None, TIME, INPUTS)),
        {**inner, "name": "inner"},
        outputs=[["inner", 1, 0]],
    )
    whole = opened(read_architecture(config, partial=True), config)
    assert list(whole.layers) == ["input", "inner"]


def test_a_legacy_file_tells_by_names_what_several_unread_layers_have():
    inner = own_config()
    inner["config"]["name"] = "inner"
    inner["config"]["layers"].append(own("last", use_bias=True))
    config = sequential(input_layer(None, TIME, INPUTS), inner)
    structure = read_architecture(config, partial=True)
    weights = [*own_weights(), random_weights([(OUTPUTS, 2), (2,)], 9)]
    order = ("lstm", "own", "dense", "last")
    flat = [array for arrays in weights for array in arrays]
    names = [
        f"{name}/weight_{k}:0"
        for name, arrays in zip(order, weights, strict=True)
        for k in range(len(arrays))
    ]
    # what is not trained stands at the end, in a file, whose ever it is
    flat.append(moving := np.full(3, 0.7, "float32"))
    names.append("own/moving_mean:0")
    source = LegacyWeights(structure, {"inner": flat}, "m.h5", {"inner": names})
    spec = read_model(config, source, source="m.h5", keras_version="2.2", partial=True)
    weights[1].append(moving)
    for path, arrays in zip(order, weights, strict=True):
        found = list(spec[f"inner/{path}"].weights.values())
        assert len(found) == len(arrays)
        for ours, expected in zip(found, arrays, strict=True):
            np.testing.assert_array_equal(ours, expected)
    for telling in ({}, {"inner": [f"w_{k}" for k in range(len(flat))]}):
        with pytest.raises(ModelFileError, match="do not say which of them belong"):
            LegacyWeights(structure, {"inner": flat}, "m.h5", telling)


def test_a_model_inside_time_distributed_is_opened_beside_it():
    steps = sequential(
        input_layer(None, INPUTS),
        layer("Dense", "first", units=UNITS),
        own(),
        layer("Dense", "second", units=OUTPUTS),
    )
    config = sequential(
        input_layer(None, TIME, INPUTS),
        layer("TimeDistributed", "each", layer=steps),
        layer("LSTM", "lstm", units=UNITS),
    )
    root = read_architecture(config, partial=True)
    whole = opened(root, config)
    inside = [f"each/layer/{name}" for name in ("first", "own", "second")]
    assert [node.layer for node in whole.nodes] == ["each", *inside, "lstm"]
    (place,) = whole.steps
    assert refs_of(whole.nodes[1])[0].place == place
    assert whole.steps[place] == TensorRef("input", 0, 0)
    assert whole.declared[place] == ((None, INPUTS), "float32")
    assert refs_of(whole.nodes[-1])[0].place == ("each", 0, 0)
    assert whole.paths[inside[0]] == inside[0]
