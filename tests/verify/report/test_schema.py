"""Every JSON document is valid by the published schema, which knows no other entry."""

from __future__ import annotations

import copy
import hashlib
import json
import shutil
from dataclasses import fields, replace
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from support.nets import ids, lstm_file

import verify
from verify import Verdict
from verify.__main__ import main
from verify.mistakes.explanation import Explanation, Nearest
from verify.ports.export_report import ExportReport, ProbeResult
from verify.ports.locate import Location
from verify.report.parts import Coverage, Unproved
from verify.report.report import GradientResult, LayerResult, Report
from verify.report.schema import SCHEMA_VERSION, schema_text
from verify.tolerance.compare import Comparison

FILES = Path(__file__).parents[2] / "data" / "exported"
NAN = float("nan")


@pytest.fixture(scope="module")
def schema():
    found = json.loads(schema_text())
    jsonschema.Draft202012Validator.check_schema(found)
    return found


@pytest.fixture
def validate(schema):
    validator = jsonschema.Draft202012Validator(schema)

    def validate(document: dict) -> None:
        errors = list(validator.iter_errors(json.loads(json.dumps(document))))
        assert not errors, errors
        others = {**document, "another": 1}, {**document, "schema_version": "9.0"}
        assert not any(map(validator.is_valid, others))
        for name in set(document) - {"so_far", "sha256"}:
            assert not validator.is_valid(
                {k: v for k, v in document.items() if k != name}
            )

    return validate


def sha256(path) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def printed(capsys, *arguments: str, code: int) -> dict:
    capsys.readouterr()
    assert main([*arguments, "--json"]) == code
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (Report, "report"), (ExportReport, "exported"), (Comparison, "Comparison"),
        (LayerResult, "LayerResult"), (GradientResult, "GradientResult"),
        (Coverage, "Coverage"), (Unproved, "Unproved"), (Explanation, "Explanation"),
        (Nearest, "Nearest"), (ProbeResult, "ProbeResult"), (Location, "Location"),
    ],
)  # fmt: skip
def test_the_schema_has_every_field(schema, kind, name):
    there = schema["$defs"][name]
    names = {f.metadata.get("name in JSON", f.name) for f in fields(kind)} - {None}
    assert names <= set(there["properties"])
    assert there["additionalProperties"] is False
    assert set(there["required"]) <= set(there["properties"])


@pytest.mark.slow
def test_recorded_outputs_of_every_verdict(validate, model, tmp_path, capsys):
    x, y = ids(), verify.load(model).predict(ids())
    given = tmp_path / "x.npy"
    np.save(given, x)
    assert json.loads(schema_text())["title"].endswith(f"version {SCHEMA_VERSION}")
    wrong = y[:, ::-1].copy()
    nan = np.full_like(y, np.nan)
    for outputs, code in ((y, 0), (wrong, 1), (nan, 1)):
        theirs = tmp_path / "theirs.npy"
        np.save(theirs, outputs)
        report = tmp_path / "report.json"
        found = printed(
            capsys, "compare", model, "--data", str(given), "--outputs", str(theirs),
            "--report", str(report), code=code,
        )  # fmt: skip
        validate(found)
        assert found["document"] == "report"
        assert found["product_version"] == verify.__version__
        files = {"model": model, "data": given, "outputs": theirs}
        assert found["facts"]["sha256"] == {k: sha256(v) for k, v in files.items()}
        kept = json.loads(report.read_text())
        validate(kept)
        assert kept["facts"] == found["facts"]
        assert kept.pop("so_far")
        assert kept == found


@pytest.mark.slow
def test_parts_that_few_reports_have(validate, model):
    report = verify.compare_outputs(model, ids(), verify.load(model).predict(ids()))
    same = report.numerics
    layer = LayerResult("lstm", "LSTM", 4, same, same, steps=same, chunks=2)
    full = replace(
        report,
        verdict=Verdict.PARTIAL,
        proof=same,
        layers=(layer,),
        gradients=(GradientResult("lstm", "kernel", same, NAN),),
        amplified=(1.0, NAN),
        coverage=Coverage(1, 2, 3, 4, ("lstm",), (Unproved("a", "B", 1, "why"),)),
    )
    validate(full.to_dict())
    located = Location("lstm", "i", 1, 2, "t", 0.5, NAN, ("there",), 0)
    exported = ExportReport(
        Verdict.FAIL, "why", "m", "e", "onnx", "r", ("x",), ("y",),
        location=located, data=full,
    )  # fmt: skip
    validate(exported.to_dict())


@pytest.mark.slow
def test_a_selftest(validate, model, tmp_path, capsys):
    np.save(tmp_path / "x.npy", ids(batch=4))
    found = printed(
        capsys, "selftest", model, "--data", str(tmp_path / "x.npy"), code=3
    )
    validate(found)
    assert found["sha256"] == {
        "model": sha256(model),
        "data": sha256(tmp_path / "x.npy"),
    }
    broken = copy.deepcopy(found)
    broken["sha256"]["model"] = "0"
    with pytest.raises(AssertionError):
        validate(broken)


@pytest.mark.slow
def test_exported_files(validate, tmp_path, capsys):
    for name in ("sequence.onnx", "sequence.xml"):
        found = printed(capsys, "compare", str(FILES / "sequence.keras"),
                        str(FILES / name), code=0)  # fmt: skip
        validate(found)
        assert found["document"] == "exported"
        hashes = found["facts"]["sha256"]
        assert set(hashes) == {"model", "exported"}
        assert (hashes["exported"] == sha256(FILES / name)) is name.endswith(".onnx")
    wrong = printed(capsys, "compare", str(FILES / "stateful.keras"),
                    str(FILES / "stateful.onnx"), code=1)  # fmt: skip
    validate(wrong)


@pytest.mark.keras
def test_checks_against_keras(validate, tmp_path, model, undiagnosed):
    from support.nets import keras_word_net

    live = keras_word_net("LSTM", units=4)
    validate(verify.check(live, ids(), gradients=True).to_dict())
    changed = keras_word_net("LSTM", units=4, scale=1.1)
    failed = verify.check(live, ids(), network=verify.load(changed))
    assert failed.verdict is Verdict.FAIL
    validate(failed.to_dict())


def test_the_command_prints_the_schema(capsys, schema):
    assert main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out) == schema


def test_a_hash_is_of_all_files_of_a_folder_and_of_weights_in_parts(tmp_path):
    from verify.commands.hashes import sha256_of

    lstm_file(tmp_path / "m.keras")
    for name in ("one", "two"):
        shutil.unpack_archive(tmp_path / "m.keras", tmp_path / name, "zip")
    assert sha256_of(model=tmp_path / "one", data=None) == sha256_of(
        model=tmp_path / "two"
    )
    (tmp_path / "two" / "metadata.json").write_text("{}")
    assert sha256_of(model=tmp_path / "one") != sha256_of(model=tmp_path / "two")
    index, shard = tmp_path / "w.weights.json", tmp_path / "w_00000.weights.h5"
    index.write_text("{}")
    shard.write_bytes(b"1")
    before = sha256_of(model=index)
    assert before == sha256_of(model=shard)
    shard.write_bytes(b"2")
    assert before != sha256_of(model=index)
    with pytest.raises(verify.DataError, match=r"gone.keras: cannot be read"):
        sha256_of(model=tmp_path / "gone.keras")
