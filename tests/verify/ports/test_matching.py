"""Inputs and outputs of exported files: names first, the order last."""

from __future__ import annotations

import numpy as np
import pytest
from support.nets import INPUTS, feature_net, lstm_spec, stateful_net
from support.ports import two_of_each

from verify import DataError, Network
from verify.forward.evaluable import Inputs
from verify.ports.artefacts.signature import Signature, TensorInfo
from verify.ports.matching import match

FLOAT = "float32"


def info(name: str, *shape: int | None, dtype: str = FLOAT) -> TensorInfo:
    return TensorInfo(name, shape, dtype)


A, B = info("a", None, 6, INPUTS), info("b", None, 6, INPUTS)


def outputs_of(*names: str) -> tuple[TensorInfo, ...]:
    return tuple(info(name, None, 4) for name in names)


def matched(signature: Signature, **options) -> tuple[dict, dict]:
    found = match(two_of_each(), signature, **options)
    return (
        {m.name: (m.theirs.name, m.how) for m in found.inputs},
        {m.name: (m.theirs.name, m.how) for m in found.outputs},
    )


def test_names_count_whatever_the_order():
    inputs, outputs = matched(Signature((B, A), outputs_of("two:0", "one")))
    assert inputs == {"a": ("a", "by name"), "b": ("b", "by name")}
    assert {k: v[0] for k, v in outputs.items()} == {"one": "one", "two": "two:0"}


@pytest.mark.parametrize(
    "names",
    [
        ("output_1", "output_0"),
        ("Identity_1:0", "Identity:0"),
        ("PartitionedCall_1:1", "PartitionedCall_1:0"),
        ("StatefulPartitionedCall:1", "StatefulPartitionedCall:0"),
    ],
)
def test_numbers_in_names_count_more_than_the_order(names):
    _, outputs = matched(Signature((A, B), outputs_of(*names)))
    assert outputs["one"] == (names[1], "by its number")
    assert outputs["two"] == (names[0], "by its number")


def test_a_part_of_a_path_is_a_name():
    _, outputs = matched(
        Signature((A, B), outputs_of("model/two/while:3", "model/one/strided_slice"))
    )
    assert outputs["one"][0] == "model/one/strided_slice"
    assert outputs["two"] == ("model/two/while:3", "by a part of its name")


def test_what_is_matched_by_place_alone_is_said():
    signature = Signature((A, B), outputs_of("x", "y"))
    assert matched(signature)[1] == {"one": ("x", "by place"), "two": ("y", "by place")}
    notes = match(two_of_each(), signature).notes()
    assert any("--output one=NAME decides" in note for note in notes)


def test_the_user_decides():
    signature = Signature((A, B), outputs_of("x", "y"))
    inputs, outputs = matched(signature, inputs={"a": "b"}, outputs={"one": "y"})
    assert inputs["a"] == ("b", "as you said")
    assert inputs["b"][0] == "a"
    assert {k: v[0] for k, v in outputs.items()} == {"one": "y", "two": "x"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"inputs": {"z": "a"}}, r"--input z=a: expected an input of the model: a \("),
        ({"outputs": {"one": "q"}}, r"expected an output of the exported file: x \("),
        ({"outputs": {"one": "x", "two": "x"}}, r"each output of the file once"),
    ],
)
def test_names_that_are_not_there_are_refused(options, message):
    with pytest.raises(DataError, match=message):
        matched(Signature((A, B), outputs_of("x", "y")), **options)


def test_further_outputs_of_the_file_are_said_and_left_alone():
    signature = Signature((A, B), outputs_of("one", "extra", "two"))
    found = match(two_of_each(), signature)
    assert [i.name for i in found.left_over] == ["extra"]
    assert any("'extra' of the file is none of the model's" in n for n in found.notes())


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ((A,), r"no input that can be 'b'.*Expected: a \(batch, 6, 3\).*Received: a"),
        ((A, B, info("m", 2)), r"expected an exported file with 2 input\(s\)"),
        ((A, info("b", None, 5, 9)), r"no input that can be 'b'"),
    ],
)
def test_inputs_that_cannot_be_matched_are_listed_on_both_sides(inputs, message):
    with pytest.raises(DataError, match=message):
        matched(Signature(inputs, outputs_of("one", "two")))


def test_ids_are_cast_if_they_fit_and_refused_if_not():
    ids = Network(lstm_spec())
    signature = Signature((info("words", 1, 6, dtype="int8"),), (info("y", None, 2),))
    found = match(ids, signature)
    assert found.batch == 1
    feeds = found.feeds(Inputs([np.full((1, 6), 5, np.int32)]))
    assert feeds["words"].dtype == np.int8
    with pytest.raises(DataError, match=r"ids that fit into int8.*300 to 300"):
        found.feeds(Inputs([np.full((1, 6), 300, np.int32)]))


def test_axes_in_another_order_are_turned_there_and_back():
    model = feature_net("LSTM", return_sequences=True)
    signature = Signature((info("x", 7, 1, INPUTS),), (info("y", 7, 1, 4),))
    x = Inputs([np.arange(3 * 7 * INPUTS, dtype=np.float32).reshape(3, 7, INPUTS)])
    straight = match(model, signature)
    assert straight.inputs[0].axes == ()  # both axes are open in the model
    fixed = Network(lstm_spec())
    turned = match(
        fixed, Signature((info("x", 6, 1, dtype="int32"),), (info("y", None, 2),))
    )
    ids = np.arange(6, dtype=np.int32)[None]
    if turned.inputs[0].axes:
        assert turned.feeds(Inputs([ids]))["x"].shape == (6, 1)
    assert straight.feeds(x)["x"].shape == (3, 7, INPUTS)


@pytest.mark.parametrize("rows", [1, None])
def test_features_before_time_are_turned(rows):
    model = two_of_each()
    signature = Signature((info("a", rows, INPUTS, 6), B), outputs_of("one", "two"))
    found = match(model, signature)
    assert found.inputs[0].axes == (0, 2, 1)
    x = np.random.default_rng(0).normal(size=(2, 6, INPUTS)).astype(np.float32)
    fed = found.feeds(Inputs([x, x]))["a"]
    np.testing.assert_array_equal(fed, x.transpose(0, 2, 1))
    assert found.shapes[0] == (rows, 6, INPUTS)


def test_outputs_come_back_in_the_order_of_the_model():
    found = match(two_of_each(), Signature((A, B), outputs_of("output_1", "output_0")))
    ones, zeros = np.ones((2, 4)), np.zeros((2, 4))
    leaves = found.leaves({"output_1": ones, "output_0": zeros})
    np.testing.assert_array_equal(leaves[0], zeros)
    np.testing.assert_array_equal(leaves[1], ones)


@pytest.mark.parametrize(
    "names",
    [("gru/h", "gru/h_next"), ("s_in", "s_out"), ("past_h", "present_h")],
)
def test_states_that_the_file_takes_and_returns_are_carried(names):
    model = stateful_net("GRU", 3)
    taken, returned = names
    signature = Signature(
        (info("input", 3, None, INPUTS), info(taken, None, 4)),
        (info("y", 3, 4), info(returned, 3, 4)),
    )
    found = match(model, signature)
    assert [(i.name, name) for i, name in found.states] == [names]
    assert found.left_over == ()
    zeros = found.zero_states(3)
    assert zeros[taken].shape == (3, 4)
    assert not zeros[taken].any()
    assert any("keeps no states itself" in note for note in found.notes())


def test_states_with_other_names_are_carried_as_the_user_says():
    model = stateful_net("GRU", 3)
    signature = Signature(
        (info("input", 3, None, INPUTS), info("a", 3, 4)),
        (info("y", 3, 4), info("b", 3, 4)),
    )
    with pytest.raises(DataError, match=r"with 1 input\(s\).*Received: 2"):
        match(model, signature)
    assert match(model, signature, states={"a": "b"}).states[0][1] == "b"
    with pytest.raises(DataError, match=r"--state a=c: expected an input of the file"):
        match(model, signature, states={"a": "c"})
