"""Right outputs presented otherwise are recognised with their numbers, no others."""

from __future__ import annotations

import itertools
import json
import re
from functools import cache

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from support.nets import (
    INPUTS,
    TIME,
    UNITS,
    FunctionalNet,
    features,
    ids,
    input_layer,
    layer,
    lstm_spec,
    rnn,
    spec,
    word_net,
)
from support.thoroughness import many, some

from verify import Network, Verdict, compare_outputs
from verify.forward.activations import softmax
from verify.mistakes.catalogue import catalogue
from verify.mistakes.presentation import presentations
from verify.mistakes.presentation.near import near_presentations
from verify.mistakes.presentation.shapes import other_shape
from verify.model.dtypes import dtype_of
from verify.report.report import read_report
from verify.tolerance.compare import compare_all
from verify.tolerance.noise_floor import Rounding

ROWS = 64
F32 = np.float32


def two_outputs():
    """A sequence of probabilities and, with it, two numbers of as many columns."""
    net = FunctionalNet(seed=4)
    x = net.input("x", None, TIME, INPUTS)
    y, *_ = net.call(rnn("LSTM", "lstm"), x, features=INPUTS)
    heads = [
        net.call(layer("Dense", name, units=3, activation=f), y, features=UNITS)[0]
        for name, f in (("kind", "softmax"), ("size", "linear"), ("price", "linear"))
    ]
    return net.spec(*heads)


def both_ways(kind, name):
    """A Bidirectional as it stands in a Keras config."""
    return layer("Bidirectional", name, layer=rnn(kind, f"{name}_inner"))


def featured(*layers, time=TIME):
    return spec(input_layer(None, time, INPUTS), *layers)


def model(name: str):
    """Models of each kind of output; weights that keep them from saturating."""
    if name == "classes":
        return featured(
            rnn("LSTM"), layer("Dense", "dense", units=3, activation="softmax")
        )
    if name == "probability":
        return featured(
            rnn("GRU"), layer("Dense", "dense", units=1, activation="sigmoid")
        )
    if name == "number":
        return featured(rnn("LSTM"), layer("Dense", "dense", units=1))
    if name == "numbers":
        return featured(rnn("LSTM"), layer("Dense", "dense", units=3))
    if name == "sequence":
        return featured(rnn("LSTM", return_sequences=True))
    if name == "tags":
        net = FunctionalNet()
        x = net.input("x", None, TIME, INPUTS)
        y, *_ = net.call(rnn("GRU", return_sequences=True), x, features=INPUTS)
        dense = layer("Dense", "dense", units=3, activation="softmax")
        tagged = layer("TimeDistributed", "td", layer=dense)
        return net.spec(net.call(tagged, y, features=UNITS)[0])
    if name == "both ways":
        net = FunctionalNet()
        x = net.input("x", None, TIME, INPUTS)
        return net.spec(net.call(both_ways("GRU", "bi"), x, features=INPUTS)[0])
    return two_outputs()


KINDS = ("classes", "probability", "number", "numbers", "sequence", "tags", "both ways")


class Made:
    """A model, its outputs in float64 and float32, and what rounding may do to them."""

    def __init__(self, spec, x, rows=None):
        self.spec, net = spec, Network(spec)
        self.x = net.prepare(x).take(slice(rows))
        self.ours = net.flat(self.x, dtype="float64")
        self.port = [y.astype(F32) for y in net.flat(self.x)]
        floors = Rounding(net).noise_floors(self.x, self.ours, native=False)
        self.allowed = [floor.atol for floor in floors]

    def found(self, *outputs):
        """Return what is said of outputs."""
        return list(
            presentations(self.spec, self.x, self.ours, outputs, allowed=self.allowed)
        )

    def says(self, *outputs):
        """The only sentence said of outputs; empty if nothing is."""
        found = self.found(*outputs)
        assert len(found) < 2
        assert all(one.presentation and one.remedy for one in found)
        return "".join(one.explanation for one in found)

    def logits(self):
        """Return what comes before the last activation, in float32."""
        last = self.spec.layers[-1]
        new = last.with_options(activation="linear")
        return Network(self.spec.with_layer(new)).flat(self.x)[0].astype(F32)


@cache
def made(name: str) -> Made:
    return Made(model(name), features(batch=ROWS))


def quantised(y, scale, zero, dtype):
    limits = np.iinfo(dtype)
    return np.clip(np.round(y / scale) + zero, limits.min, limits.max).astype(dtype)


def bfloat16(y, add=0x8000):
    return ((y.view(np.uint32) + add) & 0xFFFF0000).view(F32)


SHUFFLED = np.random.default_rng(3).permutation(ROWS)

EVERYWHERE = {
    "in percent: theirs = 100 * numpy": lambda y: y * 100,
    "the sign is flipped: theirs = -numpy": lambda y: -y,
    "theirs = 1 - numpy": lambda y: 1 - y,
    "theirs = 7.5 * numpy + 21 (as a scaler of mean 21 and scale 7.5 is undone": (
        lambda y: y * F32(7.5) + F32(21)
    ),
    "theirs = 0.4 * numpy - 0.8 (as a scaler of mean 2 and scale 2.5 is applied": (
        lambda y: (y - 2) / F32(2.5)
    ),
    "those of the model, rounded to float16": lambda y: y.astype(np.float16),
    "of the model, rounded to float16": lambda y: y.astype(np.float16).astype(F32),
    "of the model, rounded to bfloat16": bfloat16,
    "of the model, cut off to bfloat16": lambda y: bfloat16(y, 0),
    "of the model, rounded to steps of 2^-10": lambda y: np.rint(y * 1024) / 1024,
    "cut off to steps of 2^-10, downwards": lambda y: np.floor(y * 1024) / 1024,
    "in percent: theirs = 100 * numpy; and cut off to whole numbers, downwards": (
        lambda y: np.floor(y * 100).astype(int)
    ),
    "in percent: theirs = 100 * numpy; and rounded to float16": (
        lambda y: (y * 100).astype(np.float16)
    ),
    f"the first of theirs are rows {', '.join(map(str, SHUFFLED[:8]))} of": (
        lambda y: y[SHUFFLED]
    ),
    "in reverse order: row 0 of theirs is row 63 of numpy's": lambda y: y[::-1],
    "moved down by 1 place, and": lambda y: np.roll(y, 1, 0),
    "moved up by 5 places, and": lambda y: np.roll(y, -5, 0),
    "off by 1 place: row 0 of theirs is row 1 of numpy's, and so on; the last row": (
        lambda y: np.concatenate([y[1:], y[:1] * 0])
    ),
    "off by 1 place: row 1 of theirs is row 0 of numpy's, and so on; the first row": (
        lambda y: np.concatenate([y[:1], y[:-1]])
    ),
    "row 0 of theirs is row 1 and row 1 of theirs is row 0": (
        lambda y: y[[1, 0, *range(2, ROWS)]]
    ),
    "are in another place; and other units: theirs = -3.5 * numpy + 0.25": (
        lambda y: y[SHUFFLED] * F32(-3.5) + F32(0.25)
    ),
    "a sigmoid is applied": lambda y: 1 / (1 + np.exp(-y)),
    "theirs = exp(numpy)": np.exp,
    "theirs = expm1(numpy)": np.expm1,
}


@pytest.mark.parametrize("kind", ["classes", "probability", "number", "sequence"])
def test_every_presentation_is_named_with_its_numbers(kind):
    case = made(kind)
    for said, present in EVERYWHERE.items():
        assert said in case.says(present(case.port[0])), said


@pytest.mark.parametrize("kind", ["classes", "numbers", "sequence", "tags"])
def test_columns_are_named_in_their_order_also_scaled_and_rounded(kind):
    case = made(kind)
    y = np.roll(case.port[0], 1, axis=-1)
    order = ", ".join(map(str, np.roll(np.arange(y.shape[-1]), 1)))
    for said, new in {
        "": y,
        "; and in percent: theirs = 100 * numpy": 100 * y,
        "; and other units: theirs = 3.75 * numpy + 0.25 (": y * F32(3.75) + F32(0.25),
        "; and rounded to float16": y.astype(np.float16),
    }.items():
        text = case.says(new)
        assert f"the columns are in another order: [{order}] of numpy's{said}" in text


@pytest.mark.parametrize("kind", ["classes", "probability", "tags"])
def test_logarithm_and_logits_are_told_apart(kind):
    case = made(kind)
    y, name = case.port[0], "sigmoid" if kind == "probability" else "softmax"
    assert "theirs = log(numpy)" in case.says(np.log(y))
    assert "theirs = log10(numpy)" in case.says(np.log10(y))
    assert "theirs = -log(numpy)" in case.says(-np.log(y))
    if kind == "tags":
        z = np.log(y)  # up to a number in each row
        text = case.says(z - z.max(axis=-1, keepdims=True))
        assert "before the softmax of layer 'td/layer'; and less the greatest" in text
        return
    z = case.logits()
    head = f"the logits, as they are before the {name} of layer 'dense'"
    assert case.says(z) == f"{head}, in all {z.size} numbers"
    assert f"{head}; and other units: theirs = 0.5 * logits" in case.says(z / 2)
    if name == "softmax":
        assert f"{head}; and with 2.5 added" in case.says(z + F32(2.5))
        highest = z.max(axis=-1, keepdims=True)
        assert f"{head}; and less the greatest" in case.says(z - highest)
        text = case.says(z + features(7, ROWS, 1)[:, 0, :1])
        assert f"{head}; and with another number added to each row" in text
    else:
        assert not case.says(z + 2)  # a last bias that is greater by 2


def test_a_logarithm_of_probabilities_near_zero_that_is_cut_off():
    steep = model("classes")
    dense = steep["dense"]
    steep = steep.with_layer(dense.with_weights(kernel=dense.weights["kernel"] * 40))
    case = Made(steep, features(batch=ROWS))
    p = case.port[0]
    assert p.min() < 1e-12
    assert "theirs = log(numpy)" in case.says(np.log(p + F32(1e-9)))
    with np.errstate(divide="ignore"):
        assert "theirs = log(numpy)" in case.says(np.log(np.where(p < 1e-30, 0, p)))
    assert not case.says(np.log(p + F32(1e-3)))


def test_a_softmax_over_another_axis_or_applied_twice():
    case = made("classes")
    z = case.logits()
    assert "taken over the batch axis" in case.says(softmax(z, 0))
    assert "a softmax is applied twice" in case.says(softmax(case.port[0]))
    linear = made("numbers")
    assert "a softmax is applied to the outputs" in linear.says(softmax(linear.port[0]))
    tags = made("tags")
    inner = tags.spec["td"].sublayers["layer"].with_options(activation="linear")
    plain = Network(tags.spec.with_layer(inner, "td/layer"))
    z = plain.flat(tags.x)[0].astype(F32)
    assert "taken over the time axis" in tags.says(softmax(z, 1))
    assert "before the softmax of layer 'td/layer'" in tags.says(z)


def test_classes_in_place_of_probabilities():
    case, one = made("classes"), made("probability")
    y = case.port[0]
    assert "the classes, one-hot" in case.says((y == y.max(-1, keepdims=True)) * 1.0)
    wrong = (y == y.max(-1, keepdims=True)) * 1.0
    wrong[5] = np.roll(wrong[5], 1)
    assert not case.says(wrong)
    middle = float(np.median(one.ours[0]))
    dense = one.spec["dense"]
    bias = dense.weights["bias"] - np.log(middle / (1 - middle))
    even = Made(
        one.spec.with_layer(dense.with_weights(bias=bias)), features(batch=ROWS)
    )
    assert "the classes 0 and 1" in even.says((even.port[0] > 0.5).astype(int))


@pytest.mark.parametrize(
    ("kind", "axes", "said"),
    [
        (
            "sequence",
            (0, 2, 1),
            "time and features are exchanged in the order in which",
        ),
        ("sequence", (1, 0, 2), "batch and time are exchanged in the order in which"),
        ("sequence", (2, 1, 0), "batch and features are exchanged"),
        ("sequence", (1, 2, 0), "the axes are in the order time, features, batch"),
        ("numbers", (1, 0), "batch and units are exchanged in the order in which"),
    ],
)
def test_axes_stored_or_read_in_another_order_and_how_to_mend_it(kind, axes, said):
    case = made(kind)
    y = case.port[0]
    stored = np.ascontiguousarray(y.transpose(axes)).reshape(y.shape)
    read = y.reshape([y.shape[k] for k in axes]).transpose(np.argsort(axes))
    for new in (stored, read):
        (found,) = case.found(new)
        assert said in found.explanation
        use = found.remedy.partition(": ")[2]
        assert np.array_equal(eval(use, {"theirs": new}), y)


def test_time_and_features_of_one_size_are_just_exchanged():
    case = Made(
        featured(rnn("GRU", return_sequences=True), time=UNITS),
        features(batch=ROWS, time=UNITS),
    )
    text = case.says(case.port[0].swapaxes(1, 2))
    assert text.startswith("time and features are exchanged, in all")


@pytest.mark.parametrize(
    ("kind", "scale", "zero", "dtype", "said"),
    [
        ("classes", 1 / 256, -128, "int8", "(int8): theirs = round(numpy / scale) + "
         "zero_point with scale=1/256, zero_point=-128;"),
        ("classes", 1 / 256, 0, "uint8", "(uint8): theirs = round(numpy / scale) + "
         "zero_point with scale=1/256, zero_point=0;"),
        ("probability", 1 / 32768, 0, "int16", "scale=1/32768, zero_point=0;"),
        ("sequence", 1 / 128, 0, "int8", "scale=1/128, zero_point=0;"),
        ("number", 0.0125, 37, "int8", "scale=0.0125, zero_point=37;"),
        ("numbers", 0.012, -11, "int8", "zero_point=-11;"),
        ("sequence", 0.0003, 1000, "int16", "scale=0.0003, zero_point=1000;"),
    ],
)  # fmt: skip
def test_raw_integers_of_a_quantised_output(kind, scale, zero, dtype, said):
    case = made(kind)
    raw = quantised(case.port[0], scale, zero, dtype)
    for given_as in (dtype, "float32"):
        text = case.says(raw.astype(given_as))
        assert "raw integers of a quantised output" in text
        assert said in text
        assert f"{np.ptp(raw.astype(int)) + 1} steps" in text
    back = (raw.astype(F32) - zero) * F32(scale)
    text = case.says(back)
    steps = f"{np.ptp(raw.astype(int)) + 1} steps of {scale:.3g}"
    assert f"the outputs are those of the model, rounded to {steps}" in text or (
        "the outputs are those of the model, rounded to steps of 2^-" in text
    )
    off = raw.astype(int)
    off[3] += 2
    assert not case.says(off.astype(dtype))


def test_a_scale_and_a_shift_of_each_column():
    case = made("numbers")
    a, b = np.array([2, 0.5, -3.25], F32), np.array([0.125, 40, 0], F32)
    text = case.says(case.port[0] * a + b)
    assert "a = [2, 0.5, -3.25], b = [0.125, 40, 0], as a scaler" in text
    assert "shifted: theirs = numpy + 273.15" in case.says(case.port[0] + F32(273.15))
    # another bias of the last layer is no scaler, nor is what changes one column alone
    assert not case.says(case.port[0] + np.array([0.25, 0, 0], F32))
    assert not case.says(case.port[0] + np.array([0.25, 0.5, -0.75], F32))
    assert not case.says(case.port[0] * np.array([1, 1, 1.5], F32))
    assert not case.says(case.port[0] * np.array([1.0001, 1.0002, 1.0003], F32))
    assert not case.says(made("number").port[0] + F32(0.25))


def test_outputs_of_a_model_with_several():
    case = made("several")
    kind, size, price = case.port
    text = case.says(kind, price, size)
    assert "output 'size': it is output 'price' of the model; " in text
    assert "output 'price': it is output 'size' of the model, in all" in text
    text = case.says(kind, size * 100, price)
    assert text == "output 'size': in percent: theirs = 100 * numpy, in all 192 numbers"
    text = case.says(np.log(kind), size, price[:, [1, 2, 0]])
    assert "output 'kind': the logarithm of the outputs" in text
    assert "output 'price': the columns are in another order: [1, 2, 0]" in text
    text = case.says(*(y.astype(np.float16) for y in case.port))
    assert text.startswith("the outputs are those of the model, rounded to float16, in")
    text = case.says(*(y[SHUFFLED] for y in case.port))
    assert text.startswith("the rows are in another order: the first")
    assert not case.says(kind, size * 100, price**2)
    assert not case.says(kind[SHUFFLED], size[::-1], price)


# ---- properties


@settings(max_examples=40, deadline=None)
@given(
    kind=st.sampled_from(["classes", "probability", "number", "sequence"]),
    a=st.floats(1e-3, 1e3),
    flipped=st.booleans(),
    b=st.floats(-1e3, 1e3),
)
def test_any_scale_and_shift_is_recovered(kind, a, flipped, b):
    case = made(kind)
    a = -a if flipped else a
    y = case.ours[0]
    assume(np.ptp(a * y) > 1e-2 * max(abs(b), 1.0))  # in float32 it can be told
    (found,) = case.found((case.port[0].astype(float) * a + b).astype(F32))
    assert "theirs = " in found.explanation
    width = abs(a) * np.max(case.allowed[0]) + 1e-6 * (abs(b) + abs(a))
    assert found.max_diff <= 2 * width


@settings(max_examples=40, deadline=None)
@given(kind=st.sampled_from(["classes", "numbers", "sequence"]), data=st.data())
def test_any_order_of_rows_or_columns_is_recovered(kind, data):
    case = made(kind)
    y = case.port[0]
    order = data.draw(st.permutations(range(y.shape[-1])))
    assume(order != sorted(order))
    shown = ", ".join(map(str, order))
    assert f"another order: [{shown}] of numpy's" in case.says(y[..., order])
    rows = data.draw(st.permutations(range(ROWS)))
    assume(rows != sorted(rows))
    assert "the rows are" in case.says(y[rows])


@settings(max_examples=40, deadline=None)
@given(
    kind=st.sampled_from(["classes", "probability", "number", "sequence", "several"]),
    seed=st.integers(0, 2**32 - 1),
    share=st.sampled_from([1e-3, 1e-1, 1.0, 30.0]),
    whole=st.booleans(),
)
def test_nothing_is_said_of_numbers_of_another_origin(kind, seed, share, whole):
    case, rng = made(kind), np.random.default_rng(seed)
    wrong = [
        y + share * np.std(y) * rng.normal(size=y.shape).astype(F32) for y in case.port
    ]
    assert not case.says(*wrong)
    if whole and share > 1e-2:
        assert not case.says(*(np.rint(100 * y).astype(int) for y in wrong))
        assert not case.says(*(rng.integers(-9, 9, y.shape) for y in wrong))


# ---- nothing is said


@pytest.mark.parametrize(
    "wrong",
    [
        lambda y: y * y,
        lambda y: np.zeros_like(y),
        lambda y: np.ones_like(y) / y.shape[-1],
        lambda y: y * F32(np.nan),
        lambda y: np.where(y > np.median(y), y, y * F32(1.001)),
        lambda y: y + np.linspace(0, 1e-3, y.size, dtype=F32).reshape(y.shape),
        lambda y: np.where(np.arange(ROWS).reshape(-1, *[1] * (y.ndim - 1)) < 60, y, 0),
    ],
)
@pytest.mark.parametrize("kind", ["classes", "probability", "number", "sequence"])
def test_what_is_no_presentation_is_not_called_one(kind, wrong):
    case = made(kind)
    assert not case.says(wrong(case.port[0]))


@pytest.mark.parametrize(("kind", "rows"), [("number", 3), ("probability", 2)])
def test_few_rows_do_not_decide_what_has_as_many_free_numbers(kind, rows):
    case = Made(model(kind), features(batch=ROWS), rows)
    assert not case.says(case.port[0] * F32(7.5) + F32(21))
    assert not case.says(case.port[0][::-1] * F32(7.5) + F32(21))


def test_a_model_whose_outputs_are_constant_decides_nothing():
    spec_ = model("number")
    dense = spec_["dense"]
    flat = dense.with_weights(kernel=0 * dense.weights["kernel"])
    case = Made(spec_.with_layer(flat), features(batch=ROWS))
    assert np.ptp(case.ours[0]) == 0
    for new in (case.port[0] * 2 + 1, case.port[0] * 100, -case.port[0]):
        assert not case.says(new)
    same = Made(model("classes"), np.repeat(features(batch=1), ROWS, axis=0))
    assert not same.says(same.port[0] * F32(7.5) + F32(21))
    assert not same.says(same.port[0].astype(np.float16))


def test_outputs_that_hardly_differ_do_not_tell_a_line_from_a_curve():
    spec_ = model("number")
    dense = spec_["dense"]
    small = dense.with_weights(kernel=dense.weights["kernel"] * F32(1e-4))
    case = Made(spec_.with_layer(small), features(batch=ROWS))
    assert not case.says(np.sin(case.port[0].astype(float)))
    assert not case.says(case.port[0] * F32(7.5) + F32(21))


def test_columns_alike_are_not_decidable_and_those_that_stay_do():
    spec_ = model("numbers")
    dense = spec_["dense"]
    kernel, bias = dense.weights["kernel"].copy(), dense.weights["bias"].copy()
    kernel[:, 1], bias[1] = kernel[:, 0], bias[0]
    case = Made(
        spec_.with_layer(dense.with_weights(kernel=kernel, bias=bias)),
        features(batch=ROWS),
    )
    y = case.port[0]
    assert "[2, 1, 0] of numpy's" in case.says(y[:, [2, 1, 0]])
    assert "[2, 1, 0] of numpy's" in case.says(y[:, [2, 0, 1]])


SAME_NUMBERS = {
    "activation linear instead of softmax",
    "activation linear instead of sigmoid",
    "backward half first",
}
"""Mistakes of the last layer that are another order of its columns, or its logits."""


WORDS = {
    "LSTM words": lstm_spec,
    "GRU words": lambda: word_net(rnn("GRU")),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "dtype"),
    [
        *((kind, np.float32) for kind in (*KINDS, *WORDS)),
        ("classes", np.float16),
        ("both ways", np.float16),
        ("number", np.float16),
    ],
)
def test_a_mistake_of_the_catalogue_is_not_called_a_presentation(kind, dtype):
    case = Made(WORDS[kind](), ids(batch=ROWS)) if kind in WORDS else made(kind)
    tried = 0
    for mutant in some(
        catalogue(case.spec), 10, list(KINDS).index(kind) if kind in KINDS else 0
    ):
        try:
            port = [y.astype(dtype) for y in mutant.evaluate(case.x, None)]
        except Exception:
            continue
        fine = [
            f + np.abs(y) * 2e-3 for f, y in zip(case.allowed, case.ours, strict=True)
        ]
        allowed = case.allowed if dtype is np.float32 else fine
        if [y.shape for y in port] != [y.shape for y in case.ours]:
            continue
        if compare_all(port, case.ours, allowed=allowed).matches:
            continue
        tried += 1
        said = case.says(*port)
        assert not said or mutant.name in SAME_NUMBERS, (mutant.name, said)
    assert tried > many(40, 5)


SHAPES = [(1, 1), (1, 3), (9,), (16, 2, 3, 4), (3, 2), (33, 3), (2, 2, 2, 2, 2)]


@pytest.mark.parametrize(
    ("size", "shape"),
    some(itertools.product([0.0, 1e-40, 1.0, 1e37, 1e300], SHAPES), 2),
)
def test_any_shape_and_size_and_type_of_numbers_can_be_looked_at(shape, size):
    case, rng = made("sequence"), np.random.default_rng(len(shape))
    y = size * rng.normal(size=shape)
    x = case.x.take(slice(shape[0]))
    unlike = [
        rng.normal(size=shape) * size,
        rng.integers(-200, 200, shape),
        rng.integers(0, 2, shape).astype(bool),
        np.full(shape, 2**63 - 1),
        np.full(shape, -np.inf),
    ]
    with np.errstate(all="ignore"):
        alike = [y[::-1], np.log(y), np.exp(y), y.astype(np.float16), np.rint(y)]
        alike += [y.astype(dtype_of("bfloat16")), y * np.inf, 2 * y + 1]
    for new in (*alike, *unlike):
        for allowed in (0.0, np.full(shape[-1], 1e-7 * size)):
            list(presentations(case.spec, x, [y], [new], allowed=[allowed]))
        list(near_presentations([y], [new], ["a"]))
        other_shape(y, new.reshape(-1, 1))
    for new in unlike:
        limit = np.full(shape[-1], 1e-7 * size)
        assert not list(presentations(case.spec, x, [y], [new], allowed=[limit]))


def test_bfloat16_numbers_of_their_own_type_are_named():
    y = made("numbers").port[0]
    text = made("numbers").says(y.astype(dtype_of("bfloat16")))
    assert text.startswith("the outputs are those of the model, rounded to bfloat16")


# ---- hints


def hinted(kind, present):
    case = made(kind)
    names = Network(case.spec).output_names
    new = [present(y) for y in case.port]
    return list(near_presentations(case.ours, new, names))


def inexact(y, share=0.02):
    """Outputs of a port that is not quite right."""
    rng = np.random.default_rng(8)
    return (y + share * np.std(y) * rng.normal(size=y.shape)).astype(F32)


def over_int8(y):
    """Raw integers that use the whole range of int8."""
    scale = np.ptp(y) / 250
    return quantised(y, scale, np.round(-126 - y.min() / scale), "int8")


@pytest.mark.parametrize("kind", ["classes", "probability", "number", "sequence"])
def test_outputs_that_are_not_quite_right_in_another_form_are_hinted_at(kind):
    (hint,) = hinted(kind, lambda y: inexact(y) * F32(7.5) + F32(21))
    found = re.match(r"theirs are about (.+) \* numpy \+ 21, within 0\.", hint)
    assert float(found[1]) == pytest.approx(7.5, rel=0.01)
    (hint,) = hinted(kind, lambda y: over_int8(inexact(y)))
    assert "theirs are whole numbers from" in hint
    assert "steps: if they are the raw integers of a quantised output, scale" in hint
    assert not hinted(kind, inexact)
    assert not hinted(kind, lambda y: inexact(y, 1.0) * F32(7.5))
    assert not hinted(kind, lambda y: y * F32(1.3) + F32(0.01))
    assert not hinted(kind, lambda y: 0 * y)
    assert not hinted(kind, lambda y: y * F32(np.nan))


def test_columns_that_follow_in_another_order_are_hinted_at():
    moved = [2, 0, 1]
    (hint,) = hinted("classes", lambda y: inexact(y)[:, moved])
    assert "follow numpy's in the order [2, 0, 1], and not in its own" in hint
    first, second = hinted("classes", lambda y: -3 * inexact(y)[:, moved] * -1 + 4)
    assert first == hint
    assert re.match(r"theirs are about (3|3\.0.|2\.9.) \* numpy \+ 4", second)
    one, *_ = hinted("several", lambda y: inexact(y) * F32(100))
    assert one.startswith("output 'kind': theirs are about")


@pytest.mark.slow
def test_a_hint_is_given_where_nothing_explains_the_outputs():
    net, x = Network(model("number")), features(batch=ROWS)
    y = net.predict(x)
    raw = over_int8(inexact(y))
    report = compare_outputs(net, x, raw, diagnosis_seconds=3)
    assert not report.diagnosis
    assert "hint           : theirs are whole numbers from" in report.to_text()


# ---- in a report


def test_a_report_says_that_the_model_is_right_and_fails_all_the_same():
    net, x = Network(model("classes")), features(batch=ROWS)
    report = compare_outputs(net, x, net.predict(x)[:, [2, 0, 1]])
    assert report.verdict is Verdict.FAIL
    text = report.to_text()
    said = (
        "the model is right, its presentation differs: the columns are in another "
        "order: [2, 0, 1] of numpy's, in all 192 numbers (then max |diff| ="
    )
    assert f"likely cause   : {said}" in text
    assert "remedy         : reorder them: theirs[..., [1, 2, 0]]" in text
    again = read_report(json.loads(report.to_json()))
    assert again.to_text() == text
    assert again.diagnosis.explanations[0].presentation


def test_a_mistake_with_the_same_outputs_is_named_before_a_presentation():
    net, x = Network(model("both ways")), features(batch=ROWS)
    y = net.predict(x)
    swapped = np.concatenate([y[:, UNITS:], y[:, :UNITS]], axis=-1)
    first, *others = compare_outputs(net, x, swapped).diagnosis.explanations
    assert first.mistake == "backward half first"
    assert [one.presentation for one in others] == [True]
    net = Network(model("number"))
    port = net.predict(x) - net.spec["dense"].weights["bias"]
    (only,) = compare_outputs(net, x, port).diagnosis.explanations
    assert only.mistake == "bias missing"


def test_outputs_recorded_with_few_decimals_are_recognised_in_other_units():
    net, x = Network(model("number")), features(batch=ROWS)
    printed = np.round(net.predict(x).astype(float) * 7.5 + 21, 3)
    report = compare_outputs(net, x, printed)
    assert report.verdict is Verdict.FAIL
    (found,) = report.diagnosis.explanations
    assert "theirs = 7.5 * numpy + 21" in found.explanation
    assert "rounded to 3 decimals" in found.explanation
