"""What can be read of a model is proved, and the verdict says how much that is."""

from __future__ import annotations

import json
import zipfile

import numpy as np
import pytest
from support.nets import (
    BATCH,
    INPUTS,
    TIME,
    UNITS,
    features,
    input_layer,
    layer,
    random_weights,
    sequential,
)
from support.old_files import old_file
from support.own_layers import OWN, own_config, own_file

import verify
from verify import UnsupportedError, Verdict
from verify.__main__ import main
from verify.checks import partial
from verify.checks.partial import has_a_loop
from verify.report.parts import Coverage, Unproved
from verify.report.report import read_report

FILE = """
import verify

def keras_class():
    import keras

    class ReversedLSTM(keras.layers.LSTM):
        def call(self, sequences, initial_state=None, mask=None, training=False):
            x = keras.ops.flip(sequences, axis=1)
            return super().call(x, initial_state, mask, training)

    return ReversedLSTM

@verify.register("mine>ReversedLSTM", keras_class=keras_class)
class ReversedLSTM(verify.layer_type("LSTM")):
    def call(self, run, layer, sequences, initial_state=None, mask=None):
        return super().call(run, layer, sequences[:, ::STEP], initial_state, mask)
"""


def test_what_was_proved_is_said_in_words():
    missing = tuple(Unproved(f"x{k}", "Mine", 1200, "no code") for k in range(14))
    lines = Coverage(1, 15, 10, 16810, ("lstm",), missing).lines()
    assert lines[0] == (
        "  proved   : 1 of 15 layers, 10 of 16,810 parameters; recurrent: lstm"
    )
    assert lines[1] == "  not proved : x0 (Mine), 1,200 parameters: no code"
    assert lines[-1] == "  and 2 more"


def test_a_dask_cluster_refuses_layers_of_ones_own(tmp_path, capsys):
    path, _ = own_file(tmp_path / "m.keras")
    file = tmp_path / "mine.py"
    file.write_text(FILE.replace("STEP", "-1"))
    arguments = ["check", str(path), "--layers", str(file), "--dask", "local"]
    assert main(arguments) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert f"Layer 'own' ({OWN}): --dask is not supported" in said


def test_selftest_says_of_which_layers_it_knows_nothing(tmp_path, capsys):
    path, _ = own_file(tmp_path / "m.keras")
    file = tmp_path / "mine.py"
    file.write_text(FILE.replace("STEP", "-1"))
    assert main(["selftest", str(path), "--layers", str(file)]) in (0, 3)
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith(f"Layer 'own' ({OWN}): of what code of yours computes")


def test_without_the_keras_class_there_is_nothing_to_check_against(tmp_path):
    path, _ = own_file(tmp_path / "m.keras")
    with pytest.raises(UnsupportedError, match="with rnn-verify check --partial"):
        verify.check(path, loaded=verify.load(path, partial=True))


@pytest.mark.keras
def test_the_layers_that_can_be_read_are_proved(tmp_path, capsys):
    path, weights = own_file(tmp_path / "m.keras")
    report = tmp_path / "r.json"
    page = tmp_path / "p.html"
    options = ["--partial", "--report", str(report), "--html", str(page)]
    assert main(["check", str(path)]) == 2
    assert main(["check", str(path), *options]) == 3
    out = capsys.readouterr().out
    assert out.startswith(
        f"PARTIAL  {path}: what can be read matches Keras; 1 layer of"
    )
    parameters = [sum(w.size for w in layer) for layer in weights]
    assert (
        f"proved   : 2 of 3 layers, {parameters[0] + parameters[2]} of "
        f"{sum(parameters)} parameters; recurrent: lstm"
    ) in out
    assert "not proved : own (ReversedLSTM), 144 parameters: this custom class" in out
    said = "numbers like those that 'own' is given, in place of what it returns"
    assert f"{said}, without a mask" in out
    content = json.loads(report.read_text())
    assert content["verdict"] == "PARTIAL"
    (missing,) = content["coverage"]["unproved"]
    assert (missing["name"], missing["class_name"]) == ("own", "ReversedLSTM")
    again = read_report(content)
    assert again.coverage.layers == 2
    assert "Not proved" in page.read_text()

    # given inputs are taken, and a mistake in a layer that can be read shows
    found = verify.check(path, features(), partial=True)
    assert found.verdict is Verdict.PARTIAL
    assert found.facts["rows"] == BATCH


def masked_file(path):
    """Masking, LSTM and a custom class, in a model inside; behind it a GRU."""
    loop = {"units": UNITS, "return_sequences": True}
    own = layer("ReversedLSTM", "own", **loop)
    own |= {"module": None, "registered_name": "mine>ReversedLSTM"}
    inner = sequential(
        input_layer(None, TIME, INPUTS),
        layer("Masking", "masking"),
        layer("LSTM", "lstm", **loop),
        own,
        layer("Dense", "dense", units=UNITS),
    )
    inner["config"]["name"] = "inner"
    config = sequential(
        input_layer(None, TIME, INPUTS),
        inner,
        layer("GRU", "gru", units=3, reset_after=True),
    )
    shapes = [
        *[[(INPUTS, 16), (UNITS, 16), (16,)], [(UNITS, 16), (UNITS, 16), (16,)]],
        *[[(UNITS, UNITS), (UNITS,)], [(UNITS, 9), (3, 9), (2, 9)]],
    ]
    lstm, mine, dense, gru = (random_weights(x, k) for k, x in enumerate(shapes))
    arrays = {"inner": [*lstm, *mine, *dense], "gru": gru}
    return old_file(path, config, arrays, "2.9.0")


@pytest.mark.keras
def test_a_model_inside_is_read_layer_by_layer_and_stand_ins_have_masks(tmp_path):
    path = masked_file(tmp_path / "m.h5")
    x = features()
    x[1, 3:] = 0
    report = verify.check(path, x, partial=True)
    assert report.verdict is Verdict.PARTIAL
    coverage = report.coverage
    assert (coverage.layers, coverage.of_layers) == (4, 5)
    assert [(x.name, x.class_name) for x in coverage.unproved] == [
        ("inner/own", "ReversedLSTM")
    ]
    assert coverage.recurrent == ("inner/lstm", "gru")
    assert [x.name for x in report.layers if "mask" in x.name] == ["inner/masking"]
    assert (
        "is given, in place of what it returns, with a mask" in report.facts["inputs"]
    )

    whole = verify.load(path, partial=True)
    made = partial.remains_of(str(path), whole, x)
    stood = made.part.input_names.index("inner/own_output")
    padded = ~made.inputs[stood].any(-1)
    assert padded.sum() == (~x.any(-1)).sum() == 3
    outputs = made.part.flat(made.part.prepare(made.inputs))
    one = [array.copy() for array in made.inputs]
    one[stood][1, 4] = 1  # counts again, and the last state of the GRU moves
    other = made.part.flat(made.part.prepare(one))
    moved = [np.abs(a - b).max() > 1e-3 for a, b in zip(outputs, other, strict=True)]
    assert any(moved)


@pytest.mark.usefixtures("undiagnosed")
@pytest.mark.keras
def test_a_wrong_layer_fails_in_what_remains(tmp_path, monkeypatch):
    path, _ = own_file(tmp_path / "m.keras")
    whole = verify.load(path, partial=True)
    made = partial.remains_of(str(path), whole, None)
    lstm = made.part.spec["lstm"]
    wrong = lstm.with_weights(bias=lstm.weights["bias"] + 0.1)
    other = verify.Network(made.part.spec.with_layer(wrong))
    broken = partial.Remains(whole, other, made.model, made.inputs, made.fed, made.cut)
    monkeypatch.setattr("verify.checks.against_keras.remains_of", lambda *_: broken)
    report = verify.check(path, partial=True)
    assert report.verdict is Verdict.FAIL
    assert report.first_mismatch.name == "lstm"
    assert "lstm" in {x.name for x in report.coverage.unproved}
    assert report.coverage.recurrent == ()


@pytest.mark.keras
@pytest.mark.parametrize(("step", "verdict"), [("-1", "PASS"), ("1", "FAIL")])
def test_a_registered_layer_is_held_against_the_keras_class(
    tmp_path, capsys, step, verdict
):
    path, _ = own_file(tmp_path / "m.keras")
    file = tmp_path / "mine.py"
    file.write_text(FILE.replace("STEP", step))
    code = main(["check", str(path), "--layers", str(file)])
    out = capsys.readouterr().out
    assert (code, out.split()[0]) == (Verdict(verdict).exit_code, verdict)
    assert "computed by code of yours, in mine.py" in out
    if verdict == "FAIL":
        assert f"Layer 'own' ({OWN}, units=4): the NumPy forward pass does not" in out


@pytest.mark.keras
def test_a_class_taken_as_its_base_is_said_beside_the_verdict(tmp_path, capsys):
    path, _ = own_file(tmp_path / "m.keras")
    assert main(["check", str(path), "--as-base-class", "ReversedLSTM=LSTM"]) == 0
    out = capsys.readouterr().out
    assert "matches Keras, with ReversedLSTM taken as LSTM" in out.splitlines()[0]
    assert "what the class adds is not checked" in out


@pytest.mark.keras
@pytest.mark.parametrize("base", ["Sequential", "Functional"])
def test_a_custom_model_taken_as_its_base_is_built_in_keras(tmp_path, capsys, base):
    import keras
    from layer_cases.check import randomise

    x = keras.Input((TIME, INPUTS), name="x")
    inside = [keras.layers.GRU(UNITS, name="gru"), keras.layers.Dense(2, name="dense")]
    model = keras.Sequential([x, *inside])
    if base == "Functional":
        model = keras.Model(x, inside[1](inside[0](x)))
    randomise(model)
    model.save(tmp_path / "plain.keras")
    with (
        zipfile.ZipFile(tmp_path / "plain.keras") as plain,
        zipfile.ZipFile(tmp_path / "own.keras", "w") as own,
    ):
        for name in plain.namelist():
            content = plain.read(name)
            if name == "config.json":
                of_own = {"class_name": "Mine", "registered_name": "Mine"}
                whole = {**json.loads(content), **of_own, "module": None}
                content = json.dumps(whole).encode()
            own.writestr(name, content)
    assert main(["check", "--as-base-class", "--", str(tmp_path / "own.keras")]) == 0
    assert f"(Mine) is taken as {base}; what the class adds" in capsys.readouterr().out


def between_loops(own):
    """Return a model with a layer of one's own between an LSTM and a GRU."""
    import keras
    from keras import layers

    return keras.Sequential(
        [
            keras.Input((TIME, INPUTS)),
            layers.LSTM(4, return_sequences=True, name="first"),
            own,
            layers.GRU(4, name="second"),
        ]
    )


@pytest.mark.keras
def test_a_live_model_feeds_what_its_own_layers_return():
    from keras import layers

    class Doubled(layers.Layer):
        def call(self, x):
            return 2 * x

    model = between_loops(Doubled(name="doubled"))
    report = verify.check(model, features(), partial=True)
    assert report.verdict is Verdict.PARTIAL
    assert report.coverage.recurrent == ("first", "second")
    assert "Keras's own in the place of 'doubled'" in report.facts["inputs"]
    with pytest.raises(UnsupportedError, match="'doubled'"):
        verify.check(model, features())


@pytest.mark.keras
@pytest.mark.filterwarnings("ignore:Layer 'doubled'")
@pytest.mark.parametrize("passes_on", [True, False])
def test_the_mask_of_a_live_layer_is_the_one_it_passes_on(passes_on):
    import keras
    from keras import layers

    class Doubled(layers.Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.supports_masking = passes_on

        def call(self, x):
            return 2 * x + 1

    model = keras.Sequential(
        [
            keras.Input((TIME, INPUTS)),
            layers.Masking(),
            Doubled(name="doubled"),
            layers.GRU(4, name="gru"),
        ]
    )
    x = features()
    x[1, 3:] = 0
    report = verify.check(model, x, partial=True)
    assert report.verdict is Verdict.PARTIAL
    assert "Keras's own in the place of 'doubled'" in report.facts["inputs"]
    made = partial.remains_of(model, verify.load(model, partial=True), x)
    assert made.cut.maskings == ({"doubled_output_mask"} if passes_on else set())
    stood = made.inputs[made.part.input_names.index("doubled_output")]
    assert (~stood.any(-1)).sum() == (3 if passes_on else 0)
    outputs = made.part.flat(made.part.prepare(made.inputs))
    expected = model.predict(x, verbose=0)
    gaps = [np.abs(y - expected).max() for y in outputs if y.shape == expected.shape]
    assert min(gaps) < 1e-6  # with the mask of Keras alone


def test_what_has_a_loop_is_seen_inside_wrappers(tmp_path):
    net = verify.load(own_file(tmp_path / "m.keras")[0], partial=True)
    assert [has_a_loop(x) for x in net.spec.layers] == [True, False, False]
    assert np.isfinite(features()).all()
    assert own_config()["class_name"] == "Sequential"


def of_words():
    """Return a network of words in sentences, with classes of one's own at both ends.

    The model of one sentence is called by TimeDistributed, and has a mask of its own.
    """
    import keras
    from keras import layers
    from layer_cases.check import randomise

    class Weighted(layers.Layer):
        def build(self, shape):
            self.w = self.add_weight(shape=(shape[-1], 1), name="w")

        def call(self, x):
            return keras.ops.sum(keras.ops.softmax(x @ self.w, axis=1) * x, axis=1)

    words = keras.Input((7,), dtype="int32", name="words")
    y = layers.Embedding(50, 8, mask_zero=True, name="embedding")(words)
    y = layers.Bidirectional(layers.GRU(5, return_sequences=True), name="both")(y)
    y = layers.Dense(4, name="dense")(Weighted(name="weighted")(y))
    sentence = keras.Model(words, y, name="sentence")
    text = keras.Input((3, 7), dtype="int32", name="text")
    y = layers.TimeDistributed(sentence, name="each")(text)
    y = layers.GRU(6, return_sequences=True, name="gru")(y)
    y = Weighted(name="weighted_too")(y)
    model = keras.Model(text, layers.Dense(2, name="label")(y))
    randomise(model)
    return model


@pytest.mark.keras
@pytest.mark.filterwarnings("ignore:Layer 'weighted:UserWarning")
@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5:UserWarning")
@pytest.mark.parametrize("how", ["live", "keras", "h5", "inside, h5"])
def test_the_layers_of_a_model_inside_time_distributed_are_proved(how, tmp_path):
    import keras

    model, at = of_words(), ""
    if how == "inside, h5":
        x = keras.Input((3, 7), dtype="int32")
        inner = keras.Model(model.inputs, model.outputs, name="texts")
        model, at = keras.Model(x, inner(x)), "texts/"
    what = model
    if how != "live":
        what = tmp_path / f"m.{how[-5:].split(' ')[-1]}"
        model.save(what)
    x = np.random.default_rng(0).integers(1, 50, (12, 3, 7))
    x[3, 1, 4:] = 0
    for given in (None, x):
        report = verify.check(what, given, partial=True)
        assert report.verdict is Verdict.PARTIAL
        coverage = report.coverage
        unproved = {x.name: x.parameters for x in coverage.unproved}
        assert unproved == {f"{at}each/layer/weighted": 10, f"{at}weighted_too": 6}
        proved = {x.name for x in report.layers}
        assert {f"{at}each/layer/{x}" for x in ("embedding", "both", "dense")} <= proved
        assert f"{at}each" not in proved
        assert coverage.recurrent == (f"{at}each/layer/both", f"{at}gru")
        assert coverage.parameters == coverage.of_parameters - 16
    said = f"one step of each row in '{at}each/layer/words', as TimeDistributed gives"
    assert said in report.facts["inputs"]

    whole = verify.load(what, partial=True)
    made = partial.remains_of(what, whole, x)
    steps = made.inputs[made.part.input_names.index(f"{at}each/layer/words_output")]
    np.testing.assert_array_equal(steps, x[np.arange(12), np.arange(12) % 3])
    outputs = made.part.flat(made.part.prepare(made.inputs))
    expected = made.model.predict(made.inputs, verbose=0)
    for ours, theirs in zip(outputs, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
    assert (steps[3] == x[3, 0]).all()


@pytest.mark.keras
@pytest.mark.usefixtures("undiagnosed")
@pytest.mark.filterwarnings("ignore:Layer 'weighted:UserWarning")
def test_a_wrong_layer_inside_time_distributed_fails(tmp_path, monkeypatch):
    path = tmp_path / "m.keras"
    of_words().save(path)
    made = partial.remains_of(path, verify.load(path, partial=True), None)
    both = made.part.spec["each/layer/both/forward_layer"]
    bias = both.weights["bias"] + 0.1
    wrong = made.part.spec.with_layer(
        both.with_weights(bias=bias), "each/layer/both/forward_layer"
    )
    broken = partial.Remains(
        made.whole, verify.Network(wrong), made.model, made.inputs, made.fed, made.cut
    )
    monkeypatch.setattr("verify.checks.against_keras.remains_of", lambda *_: broken)
    report = verify.check(path, partial=True)
    assert report.verdict is Verdict.FAIL
    assert report.first_mismatch.name == "each/layer/both"
    assert "each/layer/both" in {x.name for x in report.coverage.unproved}


@pytest.mark.keras
@pytest.mark.filterwarnings("ignore:overflow encountered in cast:RuntimeWarning")
def test_what_is_no_number_in_keras_is_not_fed():
    from keras import layers

    class Broken(layers.Layer):
        def call(self, x):
            return x / (0 * x)

    model = between_loops(Broken(name="broken"))
    report = verify.check(model, features(), partial=True)
    assert report.verdict is Verdict.PARTIAL
    assert report.coverage.recurrent == ("first", "second")
    said = "in place of what it returns (in Keras NaN or infinite numbers), without a"
    assert said in report.facts["inputs"]


@pytest.mark.keras
@pytest.mark.parametrize("dtype", ["string", "int32"])
def test_what_is_asked_of_unread_layers_is_what_those_behind_them_know(dtype):
    """Else every word would be unknown, and every step of the LSTM masked."""
    import keras
    from keras import layers

    class Same(layers.Layer):
        def call(self, x):
            return x + "" if dtype == "string" else x + 0

        def compute_output_spec(self, x):
            return keras.KerasTensor(x.shape, dtype=dtype)

    words = keras.Input((TIME,), dtype=dtype, name="words")
    y = Same(name="same", dtype=dtype if dtype != "string" else None)(words)
    if dtype == "string":
        y = layers.StringLookup(vocabulary=["a", "b"], mask_token="")(y)
    y = layers.Embedding(4, 3, mask_zero=True)(y)
    model = keras.Model(words, layers.LSTM(4, name="lstm")(y))
    report = verify.check(model, partial=True)
    assert report.verdict is Verdict.PARTIAL
    assert not [x for x in report.warnings if "at every step of every row" in x]
    (lstm,) = [x for x in report.layers if x.name == "lstm"]
    assert lstm.proof.max_diff > 0


@pytest.mark.keras
def test_an_input_that_unread_layers_alone_take_may_be_of_any_dtype():
    """Take labels, as a model does that is trained by CTC."""
    import keras
    from keras import layers

    class Cost(layers.Layer):
        def call(self, y, labels):
            return keras.ops.mean(y, axis=(1, 2)) + keras.ops.cast(
                labels[:, 0], "float32"
            )

    for dtype in ("int32", "float32", "bool"):
        x = keras.Input((TIME, INPUTS), name="image")
        labels = keras.Input((4,), dtype=dtype, name="labels")
        y = layers.LSTM(4, return_sequences=True, name="lstm")(x)
        model = keras.Model([x, labels], Cost(name="cost")(y, labels))
        report = verify.check(model, partial=True)
        assert report.verdict is Verdict.PARTIAL
        assert report.coverage.recurrent == ("lstm",)
