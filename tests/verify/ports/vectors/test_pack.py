"""A pack holds what the model computes, the same numbers in all of its files."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from support.commands import refused
from support.graphs import both_ways, given, made, net, rnn
from support.nets import (
    INPUTS,
    UNITS,
    VOCABULARY,
    feature_net,
    ids,
    lstm_file,
    lstm_spec,
    stateful_net,
    word_net,
)
from support.nets import rnn as layer

from verify import DataError, Network, UnsupportedError, write_vectors
from verify.__main__ import main
from verify.ports.probes import probes
from verify.ports.vectors import pack as packing
from verify.ports.vectors.allowances import UNCOMPARED, rounded_up
from verify.ports.vectors.header import c_string
from verify.ports.vectors.pack import kept_steps, make_pack
from verify.ports.vectors.write import FILES


def several() -> Network:
    """Two inputs, a mask and states that are inputs, states that come out."""
    return Network(
        net(
            [
                given("x", 6, INPUTS),
                given("keep", 6, dtype="bool"),
                given("h", UNITS),
                given("c", UNITS),
                rnn("LSTM", "lstm", INPUTS, UNITS, seed=3, return_state=True,
                    return_sequences=True),
                both_ways("GRU", "both", UNITS, 3, seed=5),
                made("Dense", "dense", (6, 2), (2,), units=2, activation="softmax"),
            ],
            {
                "lstm": ("x", {"mask": "keep", "initial_state": ["h", "c"]}),
                "both": "lstm",
                "dense": "both",
            },
            ["dense", "lstm"],
        )
    )  # fmt: skip


def random_net(seed: int) -> Network:
    """Some recurrent layer with some options."""
    rng = np.random.default_rng(seed)

    def some(*names: str) -> dict[str, Any]:
        return {name: bool(rng.random() < 0.5) for name in names}

    kind = str(rng.choice(["LSTM", "GRU", "SimpleRNN"]))
    options = some("go_backwards", "return_sequences", "use_bias")
    options |= some("reset_after") if kind == "GRU" else {}
    if rng.random() < 0.3:
        return stateful_net(kind, 2, **options)
    if rng.random() < 0.5:
        return feature_net(kind, **options)
    first = layer("LSTM", "first", return_sequences=True, **some("go_backwards"))
    return Network(word_net(first, layer(kind, **options), seed=seed))


NETS = {"several": several, **{f"{k}": lambda k=k: random_net(k) for k in range(6)}}


@pytest.fixture(scope="module", params=NETS)
def written(request, tmp_path_factory) -> tuple[Network, Path]:
    folder = tmp_path_factory.mktemp("vectors") / "pack"
    network = NETS[request.param]()
    write_vectors(network, folder)
    return network, folder


def read(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "vectors.json").read_text())


def from_json(document: dict[str, Any]) -> dict[str, np.ndarray]:
    """Every array of the document under its name in vectors.npz."""

    def array(packed: dict[str, Any], data: str = "data") -> np.ndarray:
        values = np.array([float(x) for x in packed[data]])
        return values.reshape(packed["shape"])

    found = {f"weights/{k}": array(v) for k, v in document["weights"].items()}
    for p, probe in enumerate(document["probes"]):
        for c, call in enumerate(probe["calls"]):
            at = f"p{p}/c{c}"
            for kind in ("inputs", "masks"):
                found |= {f"{at}/{kind}/{k}": array(v) for k, v in call[kind].items()}
            numbers = [("outputs", call["outputs"])]
            for stage in call["stages"]:
                values = [*stage["stepped"], *stage["whole"]]
                numbers.append(("values", {n["name"]: n for n in values}))
            for kind, named in numbers:
                for name, packed in named.items():
                    found[f"{at}/{kind}/{name}"] = array(packed)
                    found[f"{at}/allowed/{kind}/{name}"] = array(packed, "allowed")
    return found


def from_header(text: str) -> list[tuple[str, np.ndarray]]:
    """Every array of the header with its name, in the order of the file."""
    bodies = dict(
        re.findall(r"^static const \w+ (\w+)\[\] = \{\n(.*?)\n\};", text, re.M | re.S)
    )
    bare = re.compile(r"INT64_C\((-?\d+)\)|(?<=\d)f\b")

    def values(name: str) -> np.ndarray:
        if name == "0":
            return np.zeros(0)
        items = bare.sub(r"\1", bodies[name]).replace("NAN", "nan").split(",")
        return np.array([float(x) for x in items if x.strip()])

    found = []
    string = r'"((?:[^"\\]|\\.)*)"'
    array = rf"\{{{string}, VECTORS_\w+, \d+, (\w+), \d+, (\w+)\}}"
    numbers = (
        rf"\{{{string}, {string}, {string}, \d+, (\w+), \d+, \w+, \d+, (\w+), (\w+)\}}"
    )
    for body in bodies.values():
        for name, shape, data in re.findall(array, body):
            sizes = values(shape).astype(int)
            found.append((name, values(data).reshape(sizes)))
        for name, _, _, shape, data, allowed in re.findall(numbers, body):
            sizes = values(shape).astype(int)
            found.append((name, values(data).reshape(sizes)))
            found.append((f"allowed/{name}", values(allowed).reshape(sizes)))
    return found


def test_json_numpy_and_c_hold_the_same_numbers(written):
    _, folder = written
    document = from_json(read(folder))
    with np.load(folder / "vectors.npz") as archive:
        arrays = {name: archive[name] for name in archive.files}
    assert list(arrays) == list(document)
    for name, array in arrays.items():
        assert array.shape == document[name].shape, name
        expected = document[name].astype(array.dtype)  # JSON reads float32 as double
        np.testing.assert_array_equal(expected, array, err_msg=name)
    # the header has equal arrays once, so it is compared as a set
    in_c = {(n, a.shape, a.tobytes()) for n, a in from_header(
        (folder / "vectors.h").read_text())}  # fmt: skip
    wanted = set()
    for name, array in document.items():
        bare = re.sub(r"^(weights|p\d+/c\d+)/", "", name)
        bare = re.sub(r"(^|/)(inputs|masks|outputs|values)/", r"\1", bare, count=1)
        wanted.add((bare, array.shape, array.astype(np.float64).tobytes()))
    assert in_c == wanted


def test_the_document_is_valid_by_its_own_schema(written):
    _, folder = written
    schema = json.loads((folder / "vectors.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    document = read(folder)
    jsonschema.validate(document, schema)
    with pytest.raises(jsonschema.ValidationError, match="1 was expected"):
        jsonschema.validate({**document, "version": 2}, schema)
    call = document["probes"][0]["calls"][0]
    del call["stages"][0]["whole"][0]["name"]
    with pytest.raises(jsonschema.ValidationError, match="'name' is a required"):
        jsonschema.validate(document, schema)


def test_the_numbers_are_those_of_the_model(written):
    network, folder = written
    document = read(folder)
    by_name = {probe.name: probe for probe in probes(network)}
    assert [probe["name"] for probe in document["probes"]] == list(by_name)
    for packed in document["probes"]:
        probe = by_name[packed["name"]]
        expected = network.flat(probe.whole, dtype="float64")
        for k, name in enumerate(network.output_names):
            found = [
                np.reshape(call["outputs"][name]["data"],
                           call["outputs"][name]["shape"])
                for call in packed["calls"]
            ]  # fmt: skip
            # calls of other sizes round differently in the last digit
            assert np.abs(np.concatenate(found) - expected[k]).max() < 1e-13
        trace = network.trace(probe.calls[0], dtype="float64")
        arrays = trace.arrays()
        for stage in packed["calls"][0]["stages"]:
            for numbers in (*stage["stepped"], *stage["whole"]):
                name = numbers["name"]
                data = np.reshape(numbers["data"], numbers["shape"])
                allowed = np.reshape(numbers["allowed"], numbers["shape"])
                compared = allowed != UNCOMPARED
                np.testing.assert_array_equal(data[compared], arrays[name][compared])


def test_float32_is_within_what_is_allowed_and_a_changed_gate_is_not(written):
    network, folder = written
    document = read(folder)
    worst = 0.0
    for packed, probe in zip(document["probes"], probes(network), strict=True):
        states: dict[str, Any] = {}
        for call, x in zip(packed["calls"], probe.given, strict=True):
            arrays = network.trace(x, dtype="float32", states=states).arrays()
            for stage in call["stages"]:
                for numbers in (*stage["stepped"], *stage["whole"]):
                    name = numbers["name"]
                    data = np.reshape(numbers["data"], numbers["shape"])
                    allowed = np.reshape(numbers["allowed"], numbers["shape"])
                    with np.errstate(invalid="ignore"):
                        error = np.abs(arrays[name] - data)
                    compared = allowed != UNCOMPARED
                    worst = max(worst, (error / allowed)[compared].max(initial=0))
                    scale = np.abs(data).max()
                    assert (allowed <= 1e-4 * scale + 1e-30).all()
    assert 0 < worst < 0.5


def test_the_readme_names_every_array_and_gate(written):
    _, folder = written
    text = (folder / "README.md").read_text()
    assert "@" not in re.sub(r" @ ", " ", text)
    document = read(folder)
    for name in document["weights"]:
        assert f"| `{name}` |" in text
    for packed in document["probes"]:
        assert f"| `{packed['name']}` |" in text
        for stage in packed["calls"][0]["stages"]:
            for numbers in stage["stepped"]:
                assert f"| `{numbers['name']}` |" in text


def test_the_same_model_gives_the_same_files_and_another_seed_others(tmp_path):
    network = Network(lstm_spec())
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        write_vectors(network, tmp_path / name, seed=seed)
    a, b, c = (
        {file: (tmp_path / name / file).read_bytes() for file in FILES}
        for name in "abc"
    )
    assert a == b
    same = {file for file in FILES if a[file] == c[file]}
    assert same == {"check_port.c", "check_port.mjs", "vectors.schema.json"}


def test_gates_of_masked_steps_are_not_compared_and_states_are():
    pack = make_pack(Network(lstm_spec()))
    (call,) = next(p for p in pack.probes if p.name == "padding in front").calls
    (mask,) = call.masks.values()
    numbers = {n.name: n for n in call.values}
    for name in ["i", "f", "c_hat", "o"]:
        allowed = numbers[f"lstm/{name}"].allowed
        np.testing.assert_array_equal((allowed == UNCOMPARED).all(-1), ~mask)
    assert (numbers["lstm/c"].allowed > 0).all()
    assert (numbers["lstm/h"].allowed > 0).all()


def test_nan_under_a_mask_is_given_to_the_port_and_in_no_expected_number(tmp_path):
    write_vectors(several(), tmp_path / "pack")
    document = read(tmp_path / "pack")
    probe = next(p for p in document["probes"] if p["name"] == "NaN under the mask")
    (call,) = probe["calls"]
    assert "NaN" in call["inputs"]["x"]["data"]
    assert all(0 < a < 1e-4 for o in call["outputs"].values() for a in o["allowed"])
    assert "NAN" in (tmp_path / "pack" / "vectors.h").read_text()


def test_a_stateful_model_goes_on_from_call_to_call():
    pack = make_pack(stateful_net("LSTM", 3))
    first, _, last = next(p for p in pack.probes if p.name == "second call").calls
    np.testing.assert_array_equal(first.inputs["input"], last.inputs["input"])
    gap = np.abs(first.outputs[0].expected - last.outputs[0].expected)
    assert gap.min() > 10 * last.outputs[0].allowed.max()


def test_where_predict_forgets_states_every_call_begins_with_zeros():
    pack = make_pack(stateful_net("LSTM", 3).on("jax"))
    first, _, last = next(p for p in pack.probes if p.name == "second call").calls
    np.testing.assert_array_equal(first.outputs[0].expected, last.outputs[0].expected)
    assert any("each call starts with zeros" in note for note in pack.notes)


def test_long_windows_are_cut_and_it_is_said(tmp_path):
    x = np.random.default_rng(0).normal(size=(3, 40, INPUTS)).astype(np.float32)
    network = feature_net("LSTM", go_backwards=True, return_sequences=True)
    found = write_vectors(network, tmp_path / "pack", x, steps=6, rows=2)
    assert any("of 44 time steps" in note and "at 6" in note for note in found.notes)
    document = read(tmp_path / "pack")
    (call,) = next(p for p in document["probes"] if p["name"] == "batch 2")["calls"]
    (stage,) = call["stages"]
    assert stage["backwards"]
    h = next(n for n in stage["stepped"] if n["name"] == "rnn/h")
    assert (h["steps"], h["time"]) == ([0, 13, 25, 37, 38, 39], 40)
    assert h["shape"] == [2, 6, UNITS]
    assert call["outputs"]["rnn"]["shape"] == [2, 40, UNITS]
    assert "of 44 time steps" in (tmp_path / "pack" / "README.md").read_text()


@pytest.mark.parametrize(
    ("time", "most", "expected"),
    [(3, 5, (0, 1, 2)), (9, 4, (0, 1, 4, 8)), (9, 1, (0,)), (9, 2, (0, 8))],
)
def test_steps_are_kept_from_the_beginning_and_from_the_rest(time, most, expected):
    assert kept_steps(time, most) == expected
    turned = tuple(sorted(time - 1 - k for k in expected))
    assert kept_steps(time, most, backwards=True) == turned


def test_what_does_not_fit_is_left_out_and_said(tmp_path, monkeypatch):
    network = Network(lstm_spec())
    monkeypatch.setattr(packing, "MAX_TEXT_WEIGHTS", 60)
    found = write_vectors(network, tmp_path / "big")
    large = "'lstm/kernel' and 'lstm/recurrent_kernel' stand in vectors.npz alone"
    assert any(large in note for note in found.notes)
    small = ["embedding/embeddings", "lstm/bias", "dense/kernel", "dense/bias"]
    assert list(read(tmp_path / "big")["weights"]) == small
    with np.load(tmp_path / "big" / "vectors.npz") as archive:
        assert "weights/lstm/kernel" in archive.files
    found = write_vectors(network, tmp_path / "few", weights=False, values=False)
    assert any("left out, as asked" in note for note in found.notes)
    document = read(tmp_path / "few")
    assert document["probes"][0]["calls"][0]["stages"] == []
    monkeypatch.setattr(packing, "MAX_NUMBERS", 5000)
    found = write_vectors(network, tmp_path / "short")
    assert any("at 4:" in note for note in found.notes)


def test_rows_without_a_finite_output_are_not_compared(tmp_path):
    network = Network(word_net(layer("LSTM", return_sequences=True)))
    pooled = net(
        [
            given("x", 6, dtype="int32"),
            made("Embedding", "words", (VOCABULARY, 3), input_dim=VOCABULARY,
                 output_dim=3, mask_zero=True),
            made("GlobalAveragePooling1D", "mean"),
        ],
        {"words": "x", "mean": "words"},
        "mean",
    )  # fmt: skip
    pack = make_pack(Network(pooled))
    (call,) = next(p for p in pack.probes if p.name == "all padding").calls
    (output,) = call.outputs
    assert (output.allowed[0] == UNCOMPARED).all()
    assert (output.allowed[1:] > 0).all()
    assert np.isfinite(output.expected).all()
    assert make_pack(network).notes == ()


def test_a_model_without_a_recurrent_layer_is_fine(tmp_path):
    dense = net(
        [given("x", 3), made("Dense", "dense", (3, 2), (2,), units=2)],
        {"dense": "x"},
        "dense",
    )
    assert write_vectors(Network(dense), tmp_path / "pack").calls > 3


def test_allowances_are_rounded_up_to_few_digits():
    given_ = np.array([1.2341e-7, 9.999e-3, 1.0, UNCOMPARED, 0.0])
    np.testing.assert_array_equal(
        rounded_up(given_), [1.24e-7, 1e-2, 1.0, UNCOMPARED, 0.0]
    )


def test_names_from_a_file_stay_inside_their_strings():
    assert c_string('a"\\?/\n*/é') == '"a\\042\\134\\077/\\012*/\\303\\251"'


def test_the_command_writes_a_folder_and_replaces_it(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    lstm_file(tmp_path / "m.keras")
    np.save("x.npy", ids())
    for _ in range(2):
        arguments = [
            "m.keras",
            "--out",
            "pack",
            "--data",
            "x.npy",
            "--rows",
            "3",
            "--steps",
            "4",
        ]
        assert main(["vectors", *arguments]) == 0
        out, err = capsys.readouterr()
        assert err == "Wrote pack\n"
    assert sorted(p.name for p in Path("pack").iterdir()) == sorted(FILES)
    assert out.startswith("8 probes, 10 calls")
    assert "note: 'batch 5' is left out: at most 3 row(s)" in out
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


REFUSED = {
    "a folder with other files": (["--out", "full"], "that holds notes.txt"),
    "a file": (["--out", "x.npy"], "expected a folder. Received: a file"),
    "no such place": (["--out", "none/pack"], "no folder"),
    "a name too long": (["--out", "n" * 300], "cannot be written"),
    "files of one name that are no vectors": (["--out", "alike"], "holds vectors.json"),
    "inputs of another shape": (["--out", "p", "--data", "x.npy"], "expected inputs"),
    "NaN": (["--out", "p", "--data", "nan.npy"], "expected"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_written_is_refused_in_one_line(
    case, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    arguments, text = REFUSED[case]
    lstm_file(tmp_path / "m.keras")
    np.save("x.npy", np.zeros((2, 9)))
    np.save("nan.npy", np.full((2, 6), np.nan))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").touch()
    (tmp_path / "alike").mkdir()
    (tmp_path / "alike" / "vectors.json").write_text("{}")
    before = sorted(tmp_path.rglob("*"))
    assert text in refused(main, capsys, "vectors", "m.keras", *arguments)
    assert sorted(tmp_path.rglob("*")) == before  # nothing half-written


def test_a_folder_that_may_not_be_written_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("verify.ports.vectors.write.os.access", lambda *_: False)
    with pytest.raises(DataError, match="cannot be written \\(no permission\\)"):
        write_vectors(Network(lstm_spec()), tmp_path / "pack")


def test_a_disk_that_fails_leaves_the_old_vectors(tmp_path, monkeypatch):
    network = Network(lstm_spec())
    write_vectors(network, tmp_path / "pack")
    before = (tmp_path / "pack" / "vectors.json").read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("verify.ports.vectors.write.write_npz", full)
    with pytest.raises(DataError, match="No space left on device"):
        write_vectors(network, tmp_path / "pack", seed=1)
    assert (tmp_path / "pack" / "vectors.json").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["pack"]


def spoilt(network: Network, value: float) -> Network:
    lstm = network.spec["lstm"]
    kernel = lstm.weights["kernel"].copy()
    kernel[0, 0] = value
    return Network(network.spec.with_layer(lstm.with_weights(kernel=kernel)))


def test_models_that_have_no_vectors_are_refused_by_name(tmp_path, monkeypatch):
    network = Network(lstm_spec())
    with pytest.raises(DataError, match="expected finite weights"):
        make_pack(spoilt(network, np.nan))
    with pytest.raises(DataError, match="at least 3 rows, the batch size"):
        make_pack(stateful_net("LSTM", 3), rows=2)
    with pytest.raises(UnsupportedError, match="stateful model with a fixed batch"):
        make_pack(feature_net("LSTM", stateful=True))
    twice = net(
        [given("x", 3), made("Dense", "dense", (3, 2), (2,), units=2)],
        {"dense": "x"},
        ["dense", "dense"],
    )
    with pytest.raises(UnsupportedError, match="'dense' 2 times"):
        make_pack(Network(twice))
    lstm = network.spec["lstm"]
    wide = lstm.weights["bias"].astype(np.longdouble)
    odd = network.spec.with_layer(
        type(lstm)(lstm.name, lstm.class_name, lstm.options,
                   {**lstm.weights, "bias": wide})
    )  # fmt: skip
    with pytest.raises(UnsupportedError, match="weight 'lstm/bias' of a dtype"):
        make_pack(Network(odd))
    for name, value in (("seed", -1), ("rows", 0), ("steps", 0)):
        with pytest.raises(DataError, match=f"^{name}: expected"):
            write_vectors(network, tmp_path / "pack", **{name: value})
    monkeypatch.setattr(packing, "MAX_WEIGHTS", 10)
    with pytest.raises(DataError, match="at most 10 numbers in the weights"):
        make_pack(network)
    make_pack(network, weights=False)
    monkeypatch.setattr(packing, "MAX_NUMBERS", 10)
    with pytest.raises(DataError, match="at most 10 numbers in a pack"):
        make_pack(network, weights=False)
    monkeypatch.setattr(packing, "MAX_TRACED", 10)
    with pytest.raises(DataError, match="that computes at most 10 numbers"):
        make_pack(network, weights=False)
    assert not (tmp_path / "pack").exists()
