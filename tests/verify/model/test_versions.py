"""What later versions of Keras compute otherwise, by rules that are chosen by version.

That the rules are Keras's own is tested by `make nightly`, with a Keras that has them.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from support.nets import (
    INPUTS,
    TIME,
    UNITS,
    VOCABULARY,
    features,
    ids,
    input_layer,
    layer,
    rnn,
    sequential,
    spec,
    word_net,
    write_keras_file,
)

import verify
from verify import Network
from verify.__main__ import main
from verify.checks.checkpoint import network_fingerprint
from verify.errors import UnsupportedError
from verify.forward.activations import sparsemax_of_the_paper
from verify.forward.evaluate import Evaluation
from verify.forward.layers import REGISTRY
from verify.forward.layers.base import Tensor
from verify.mistakes.diagnose import diagnose
from verify.model.spec import LayerSpec
from verify.model.versions import (
    REFERENCE,
    TESTED,
    VERSIONS,
    VersionRule,
    is_tested,
    known_rules,
    rules_of,
    untested,
)
from verify.tolerance.compare import Verdict

LATER = frozenset(VersionRule)
STACKED = (
    rnn("LSTM", "first", return_sequences=True),
    rnn("GRU", "second", return_sequences=True),
    rnn("SimpleRNN", "third"),
)


def by(net, *rules):
    return Network(net).by_version(frozenset(rules))


@pytest.mark.parametrize(
    ("version", "rules"),
    [
        ("3.16.0.dev2026102704", LATER),
        ("3.16.0", LATER),
        ("3.17.2", LATER),  # not known: as the last that is
        ("4.0.0", LATER),
        ("3.15.1", REFERENCE),
        ("3.9.0", REFERENCE),
        ("2.15.0", REFERENCE),
        ("unknown", REFERENCE),
        ("", REFERENCE),
        ("3.1600000000", REFERENCE),  # no version
    ],
)
def test_a_version_has_the_rules_of_the_last_one_known_before_it(version, rules):
    assert rules_of(version) == rules


@pytest.mark.parametrize("version", ["3.17", "3.14.1", "2.15", "3", "new", ""])
def test_a_version_that_is_not_known_cannot_be_asked_for(version):
    with pytest.raises(UnsupportedError) as caught:
        known_rules(version)
    assert str(caught.value) == (
        "expected a version of Keras whose rules are known, 3.15 or 3.16. "
        f"Received: {version}"
    )


def test_a_release_is_tested_with_its_patches_and_a_nightly_alone():
    assert all(map(is_tested, (*TESTED, "3.15.0", "3.15.7")))
    for version in ("3.16.0", "3.16.0.dev2026102604", "3.15.2.dev1", "3.17.0", "3.1"):
        assert not is_tested(version)
    assert untested("3.15.1") == ""
    assert untested("3.17.0") == (
        "Keras 3.17.0 was not tested; tested: 3.15 and 3.16.0.dev2026102704"
    )


def test_the_mask_ends_at_the_first_recurrent_layer():
    x = ids()
    net = by(word_net(*STACKED), VersionRule.LOOP_ENDS_MASK)
    here = Network(word_net(*STACKED))
    trace, before = net.trace(x), here.trace(x)
    assert np.array_equal(trace["first"].output, before["first"].output)
    h = trace["first"].output
    for name in ("second", "third"):  # computed without a mask from there on
        (h,) = here.call_layer(name, [h], {}, dtype=None)
        assert np.array_equal(trace[name].output, h)
    padded = (x == 0).any(axis=1)
    apart = np.abs(net.predict(x) - here.predict(x)).max(axis=1) > 1e-5
    assert np.array_equal(padded, apart)


def test_so_it_does_at_wrappers_and_convolutional_ones():
    ends = {name for name, kind in REGISTRY.items() if kind.masks_may_end}
    assert ends == {
        *("SimpleRNN", "LSTM", "GRU", "RNN", "Bidirectional", "TimeDistributed"),
        *("ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D"),
    }
    for name in ends:
        here, there = (
            LayerSpec("one", name, {}, version_rules=rules)
            for rules in (REFERENCE, LATER)
        )
        assert REGISTRY[name].passes_masks(here)
        assert not REGISTRY[name].passes_masks(there)
    assert REGISTRY["Dropout"].passes_masks(LayerSpec("one", "Dropout", {}))


def attention(*rules):
    """Weights and outputs, where the second row has no value that is not masked."""
    query, value = features(batch=2), features(1, batch=2)
    mask = np.array([[True] * 4 + [False] * (TIME - 4), [False] * TIME])
    entry = LayerSpec(
        "attention",
        "Attention",
        {"use_scale": False, "score_mode": "dot"},
        version_rules=frozenset(rules),
    )
    given = [Tensor(query), Tensor(value, mask)]
    outputs = Evaluation(None)(entry, given, return_attention_scores=True, at="")
    return [tensor.value for tensor in outputs]


def test_a_query_whose_keys_are_all_masked_attends_to_nothing():
    y, weights = attention(VersionRule.MASKED_ROW_ATTENDS_TO_NOTHING)
    before, evenly = attention()
    assert not y[1].any()
    assert not weights[1].any()
    assert np.allclose(evenly[1], 1 / TIME, atol=1e-6)
    assert np.abs(before[1]).max() > 0.1
    assert np.array_equal(y[0], before[0])  # a row with keys attends as before


def nearest_probabilities(x):
    """By bisection: tau with sum(max(x - tau, 0)) = 1."""
    low, high = x.min() - 1, x.max()
    for _ in range(200):
        tau = (low + high) / 2
        low, high = (tau, high) if np.maximum(x - tau, 0).sum() > 1 else (low, tau)
    return np.maximum(x - low, 0)


def test_sparsemax_of_the_paper_is_the_nearest_distribution():
    x = np.random.default_rng(0).normal(size=(7, 3, 5))
    expected = np.apply_along_axis(nearest_probabilities, -1, x)
    assert np.allclose(sparsemax_of_the_paper(x), expected, rtol=0, atol=1e-12)
    moved = np.moveaxis(sparsemax_of_the_paper(np.moveaxis(x, -1, 1), axis=1), 1, -1)
    assert np.array_equal(moved, sparsemax_of_the_paper(x))
    assert (np.count_nonzero(expected, axis=-1) > 1).any()


def test_an_activation_and_the_operation_follow_the_rule_of_sparsemax():
    x = features()[:, 0]
    for entry in (
        layer("Activation", "a", activation="sparsemax"),
        layer("Dense", "a", units=UNITS, activation="sparsemax"),
    ):
        net = spec(input_layer(None, INPUTS), entry)
        y = by(net, VersionRule.SPARSEMAX_OF_THE_PAPER).predict(x)
        assert np.allclose(y.sum(axis=-1), 1)
        assert not np.allclose(Network(net).predict(x).sum(axis=-1), 1)


def called(class_name, rules, *arrays, floatx="float32", **options):
    """One operation on arrays."""
    operation = LayerSpec("one", class_name, options, version_rules=frozenset(rules))
    run = Evaluation(None, floatx=floatx)
    return run(operation, *(Tensor(x) for x in arrays), at="").value


def test_floats_are_divided_to_the_floor_of_the_exact_quotient():
    rng = np.random.default_rng(0)
    b = rng.choice([0.1, -0.3, 1.4, 7.0], size=(50, 4))
    a = b * rng.integers(-9, 9, size=b.shape)  # quotients near a whole number
    exact = [
        int(Fraction(p) // Fraction(q)) for p, q in zip(a.flat, b.flat, strict=True)
    ]
    y = called("ops.FloorDivide", {VersionRule.EXACT_FLOOR_DIVIDE}, a, b)
    assert np.array_equal(y.ravel(), exact)
    assert not np.array_equal(called("ops.FloorDivide", (), a, b).ravel(), exact)
    whole = rng.integers(1, 9, size=(2, 3))
    for rules in ((), LATER):
        assert np.array_equal(
            called("ops.FloorDivide", rules, whole, whole[::-1]), whole // whole[::-1]
        )


def test_whole_numbers_are_averaged_in_the_default_float_type():
    x = np.array([[1, 1, 2], [0, 0, 1]])
    options = {"axis": (1,), "keepdims": False}
    rule = VersionRule.WHOLE_NUMBERS_AVERAGED_IN_FLOATX
    for floatx, rules, exact in (
        ("float64", {rule}, True),
        ("float64", (), False),
        ("float32", {rule}, False),
    ):
        y = called("ops.Mean", rules, x, floatx=floatx, **options)
        assert np.array_equal(y, x.mean(axis=1)) == exact
        assert y.dtype == (floatx if rules else "float32")
    net = spec(
        input_layer(None, 3, 1, dtype="int32"), layer("GlobalAveragePooling1D", "p")
    )
    for rules, exact in ((LATER, True), (REFERENCE, False)):
        y = Network(net, "float64").by_version(rules).predict(x[..., None])
        assert np.array_equal(y.ravel(), x.mean(axis=1)) == exact


def test_only_rules_that_change_the_outputs_are_reported():
    net = by(word_net(*STACKED), *LATER)
    effects = net.rule_effects(net.prepare(ids()))
    assert list(effects) == [VersionRule.LOOP_ENDS_MASK]
    assert effects[VersionRule.LOOP_ENDS_MASK] > 1e-3
    unpadded = np.ones((2, TIME), dtype="int32")
    assert net.rule_effects(net.prepare(unpadded)) == {}
    one = by(word_net(rnn("LSTM", "only")), *LATER)
    assert one.rule_effects(one.prepare(ids())) == {}


@pytest.mark.slow
def test_outputs_of_another_version_are_recognised():
    model, x = word_net(*STACKED), ids()
    there, here = by(model, *LATER), Network(model)

    def explained(net, theirs):
        found = diagnose(
            net.spec, net.prepare(x), [theirs.predict(x)], allowed=[1e-6], port=True,
            seconds=5,
        )  # fmt: skip
        assert len(found.explanations) == 1
        return found.explanations[0]

    lost = explained(here, there)  # a port may do this, too
    assert (lost.mistake, lost.layer) == ("mask lost", "first")
    assert "Keras passes the mask on up to 3.15; 3.16 does not" in lost.explanation
    kept = explained(there, here)
    assert kept.mistake == "Keras 3.15"
    assert "the mask ends at a recurrent layer" in kept.explanation
    assert kept.remedy.endswith("(--keras 3.15)")
    net = spec(
        input_layer(None, INPUTS), layer("Dense", "a", units=4, activation="sparsemax")
    )
    x = features()[:, 0]
    paper = explained(Network(net), by(net, *LATER))
    assert paper.mistake == "Keras 3.16"
    assert "sparsemax is that of the paper" in paper.explanation


@pytest.fixture
def file_by(tmp_path):
    """A function that writes a file of a model with stacked layers, by a version."""

    def write(version):
        config = sequential(
            input_layer(None, TIME, dtype="int32"),
            layer(
                "Embedding", "words", input_dim=VOCABULARY, output_dim=INPUTS,
                mask_zero=True,
            ),
            *STACKED,
        )  # fmt: skip
        weights = [list(x.weights.values()) for x in word_net(*STACKED)][:-1]
        path = tmp_path / f"by-{version}.keras"
        return write_keras_file(path, config, weights, keras_version=version)

    return write


def test_a_file_is_computed_by_the_rules_of_the_keras_that_wrote_it(file_by):
    old, new = file_by("3.15.1"), file_by("3.16.0.dev2026102704")
    x = ids()
    before, after = (verify.load(path).predict(x) for path in (old, new))
    assert not np.array_equal(before, after)
    assert np.array_equal(verify.load(old, keras="3.16").predict(x), after)
    assert np.array_equal(verify.load(new, keras="3.15.1").predict(x), before)
    net = verify.load(verify.load(new), keras="3.15")  # of a network too
    assert np.array_equal(net.predict(x), before)
    with pytest.raises(UnsupportedError, match=r"3\.15 or 3\.16\. Received: 3\.99"):
        verify.load(old, keras="3.99")


@pytest.mark.slow
def test_compare_says_which_rules_it_follows_and_where_the_mask_ends(file_by):
    old, new = file_by("3.15.1"), file_by("3.16.0.dev2026102704")
    x = ids()
    theirs = verify.load(new).predict(x)
    report = verify.compare_outputs(new, x, theirs)
    assert report.verdict is Verdict.PASS
    said = [text for text in report.warnings if text.startswith("Keras 3.16:")]
    assert len(said) == 1
    assert "the mask ends at Layer 'first' (LSTM), and" in said[0]
    lost = [text for text in report.warnings if "no mask reaches it" in text]
    assert [text.partition(":")[0] for text in lost] == [
        "Layer 'second' (GRU)",
        "Layer 'third' (SimpleRNN)",
    ]
    report = verify.compare_outputs(old, x, theirs, diagnosis_seconds=5)
    assert report.verdict is Verdict.FAIL
    assert "3.16 does not (--keras 3.16)" in " ".join(report.to_text().split())
    report = verify.compare_outputs(old, x, theirs, keras="3.16")
    assert report.verdict is Verdict.PASS


def test_a_file_of_a_version_that_was_not_tested_is_said_to_be(file_by):
    path = file_by("3.17.0")
    x = ids()
    theirs = verify.load(path, keras="3.16").predict(x)
    report = verify.compare_outputs(path, x, theirs)
    assert report.verdict is Verdict.PASS
    assert report.warnings[0] == (
        "the model was saved by a later Keras; it is read as 3.16 does. Keras 3.17.0 "
        "was not tested; tested: 3.15 and 3.16.0.dev2026102704"
    )


def test_commands_take_the_version(file_by, tmp_path, capsys):
    old = str(file_by("3.15.1"))
    x = tmp_path / "x.npy"
    np.save(x, ids())
    outs = []
    for version in ("3.15", "3.16"):
        out = tmp_path / f"y-{version}.npy"
        asked = ["--data", str(x), "--out", str(out), "--keras", version]
        assert main(["predict", old, *asked]) == 0
        outs.append(np.load(out))
    assert not np.array_equal(*outs)
    given = ["--data", str(x), "--outputs", str(tmp_path / "y-3.16.npy")]
    assert main(["compare", old, *given, "--keras", "3.16"]) == 0
    assert main(["compare", old, *given, "--diagnosis-seconds", "0"]) == 1
    capsys.readouterr()
    assert main(["describe", old, "--keras", "3.16"]) == 0
    assert "Layer 'first' (LSTM) hands none on" in capsys.readouterr().out
    assert main(["describe", old, "--keras", "4"]) == 2
    assert "expected a version of Keras whose rules are known" in (
        capsys.readouterr().err
    )


def test_a_fingerprint_tells_versions_apart():
    net = Network(word_net(*STACKED))
    assert network_fingerprint(net) != network_fingerprint(net.by_version(LATER))


def test_the_name_of_a_version_is_that_of_its_rules():
    assert list(VERSIONS) == ["3.15", "3.16"]
    assert VERSIONS["3.15"] == REFERENCE
