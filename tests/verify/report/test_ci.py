"""What CI systems are given: a JUnit file, and words for GitHub Actions."""

from __future__ import annotations

import functools
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import commands
from support.nets import ids

import verify
from verify.__main__ import main
from verify.report.cases import Case, Finding, Outcome, layer_cases
from verify.report.github import annotation, markdown_text, summary, without_commands
from verify.report.junit import junit_xml
from verify.report.report import LayerResult
from verify.tolerance.compare import Comparison

refused = functools.partial(commands.refused, main)
CASES = (
    Case("lstm", Outcome.PASSED, "error / allowed 0.1"),
    Case("dense", Outcome.FAILED, "does not match Keras", "first mismatch"),
    Case("far", Outcome.UNDECIDED, "rounding grows too much to decide"),
)


def finding(verdict: str = "FAIL", text: str = "FAIL  m: why", **more) -> Finding:
    return Finding("check", "m.keras", verdict, "why", text, seconds=1.5, **more)


@pytest.fixture
def files(tmp_path, model):
    """The options of a comparison that passes, and of one that fails."""
    np.save(tmp_path / "x.npy", ids())
    y = verify.load(model).predict(ids())
    np.save(tmp_path / "right.npy", y)
    np.save(tmp_path / "wrong.npy", y[:, ::-1])
    data = ["compare", model, "--data", str(tmp_path / "x.npy"), "--outputs"]
    return {name: [*data, str(tmp_path / f"{name}.npy")] for name in ("right", "wrong")}


def test_a_junit_file_has_the_verdict_and_every_layer():
    root = ElementTree.fromstring(junit_xml(finding(cases=CASES, facts={"a": "b"})))
    (suite,) = root
    assert suite.attrib == {
        "name": "rnn-verify check", "tests": "4", "failures": "2", "errors": "0",
        "skipped": "1", "time": "1.500",
    }  # fmt: skip
    properties = {p.get("name"): p.get("value") for p in suite.find("properties")}
    assert properties == {"verdict": "FAIL", "a": "b"}
    cases = {case.get("name"): case for case in suite.iter("testcase")}
    assert list(cases) == ["verdict", "lstm", "dense", "far"]
    assert {case.get("classname") for case in cases.values()} == {"m.keras"}
    failure = cases["verdict"].find("failure")
    assert (failure.get("type"), failure.get("message")) == ("FAIL", "why")
    assert failure.text == "FAIL  m: why"
    assert list(cases["lstm"]) == []
    assert cases["dense"].find("failure").text == "first mismatch"
    assert cases["far"].find("skipped").get("message").startswith("rounding grows")


@pytest.mark.parametrize(
    ("verdict", "element", "level"),
    [
        ("PASS", "system-out", "notice"),
        ("FAIL", "failure", "error"),
        ("INCONCLUSIVE", "failure", "warning"),
        ("PARTIAL", "failure", "warning"),
        ("ERROR", "error", "error"),
    ],
)
def test_each_verdict_is_told_apart(verdict, element, level):
    (case,) = ElementTree.fromstring(junit_xml(finding(verdict))).iter("testcase")
    assert [child.tag for child in case] == [element]
    line = annotation(finding(verdict))
    assert line.startswith(
        f"::{level} file=m.keras,title=rnn-verify check%3A {verdict}"
    )
    assert summary(finding(verdict)).startswith(f"### rnn-verify check: {verdict}\n")
    assert ("<details open>" in summary(finding(verdict))) is (verdict != "PASS")


@settings(max_examples=25)
@given(st.text(max_size=40), st.text(max_size=40))
def test_no_text_breaks_out_of_xml_or_of_an_annotation(name, text):
    said = Finding("check", name, "FAIL", text, text, (Case(name, Outcome.FAILED),))
    (suite,) = ElementTree.fromstring(junit_xml(said))
    assert suite.get("tests") == "2"
    assert len(list(suite.iter("testcase"))) == 2
    line = annotation(said)
    assert "\n" not in line
    assert "\r" not in line
    command, properties, _ = re.fullmatch(
        r"::(\w+) (.*?)::(.*)", line, re.DOTALL
    ).groups()
    assert command == "error"
    assert properties.count(",") == 1
    assert ":" not in properties
    shown = markdown_text(text)
    assert not re.search(r"[`*_\[\]<>|~@\n\\:!]", shown)


HOSTILE = "::add-mask::x\n::error::y\n  ::set-env name=A::b"


def test_a_report_cannot_speak_to_the_runner():
    lines = without_commands(HOSTILE).splitlines()
    token = re.fullmatch(r"::stop-commands::([0-9a-f]{32})", lines[0])[1]
    assert lines[1:-1] == HOSTILE.splitlines()
    assert lines[-1] == f"::{token}::"
    assert without_commands("") != without_commands("")  # nobody can know the token


def test_a_report_cannot_leave_its_block_in_the_summary():
    text = "```\n</details>\n# title\n````"
    page = summary(
        finding(text=text, cases=(Case("a|b<script>", Outcome.FAILED, "`x`\n@me"),))
    )
    (block,) = re.findall(r"^`````text\n(.*?)\n`````$", page, re.M | re.S)
    assert block == text
    (row,) = re.findall(r"^\| a.*$", page, re.M)
    assert row.count("|") == 4
    assert "<script" not in row
    assert "@" not in row
    assert len(summary(finding(text="x" * 2_000_000))) < 1_000_000


@pytest.mark.slow
def test_the_cases_of_a_report_are_its_layers(model):
    report = verify.compare_outputs(model, ids(), verify.load(model).predict(ids()))
    same = report.numerics
    wrong = Comparison(False, 1e-7, 0.5, (2, 3), 1, 6, (0, 1), (0, 1), (1,), 1.0, 0.5)
    found = layer_cases(
        verify.Report(
            report.verdict, "", "keras", "numpy", same, same, 0.0, 1.0,
            layers=(
                LayerResult("a", "LSTM", 4, same, same),
                LayerResult("b", "Dense", 3, wrong, wrong),
                LayerResult("c", "LSTM", 4, same, wrong, decided=False),
            ),
        )
    )  # fmt: skip
    assert [(case.name, case.outcome) for case in found] == [
        ("a", Outcome.PASSED), ("b", Outcome.FAILED), ("c", Outcome.UNDECIDED),
    ]  # fmt: skip
    assert "first mismatch : [batch, unit] = [0, 1]" in found[1].text


@pytest.mark.slow
def test_the_commands_write_for_ci(files, tmp_path, monkeypatch, capsys, undiagnosed):
    junit, page = tmp_path / "found.xml", tmp_path / "summary.md"
    page.write_text("before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(page))
    for name, code, level in (("right", 0, "notice"), ("wrong", 1, "error")):
        assert main([*files[name], "--github", "--junit", str(junit)]) == code
        out = capsys.readouterr().out.splitlines()
        assert out[0].startswith("::stop-commands::")
        assert out[-1].startswith(f"::{level} file=")
        (suite,) = ElementTree.parse(junit).getroot()
        assert suite.get("failures") == f"{code}"
        names = {p.get("name") for p in suite.find("properties")}
        assert {"sha256.model", "sha256.data", "sha256.outputs"} < names
    text = page.read_text()
    assert text.startswith("before\n### rnn-verify compare: PASS\n")
    assert "### rnn-verify compare: FAIL\n" in text


def test_what_cannot_be_read_is_written_for_ci_too(
    files, tmp_path, capsys, monkeypatch
):
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    junit = tmp_path / "found.xml"
    command = [*files["right"][:-1], str(tmp_path / "none.npy")]
    assert main([*command, "--junit", str(junit), "--github"]) == 2
    captured = capsys.readouterr()
    assert captured.out.startswith("::error file=")
    assert "none.npy" in captured.out
    assert "GITHUB_STEP_SUMMARY is not set" in captured.err
    (error,) = ElementTree.parse(junit).iter("error")
    assert "none.npy: expected a file of numbers" in error.get("message")


def test_options_for_ci_that_cannot_be_used_are_refused(files, tmp_path, capsys):
    line = refused(capsys, *files["right"], "--github", "--json")
    assert "--github: it prints on stdout" in line
    line = refused(capsys, *files["right"], "--junit", "found.json")
    assert "--junit: expected a file name ending in .xml" in line


@pytest.mark.keras
def test_check_writes_every_layer_for_ci(model, tmp_path):
    junit = tmp_path / "found.xml"
    assert main(["check", model, "--junit", str(junit)]) == 0
    names = [case.get("name") for case in ElementTree.parse(junit).iter("testcase")]
    assert names == ["verdict", "embedding", "lstm", "dense"]


def test_a_self_test_is_written_for_ci(model, tmp_path, monkeypatch, capsys):
    junit, page = tmp_path / "found.xml", tmp_path / "summary.md"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(page))
    np.save(tmp_path / "x.npy", ids(batch=3))  # so few that some would not show
    command = ["selftest", model, "--data", str(tmp_path / "x.npy")]
    outcomes = ((("--at-least", "10%"), 0, "PASS"), ((), 3, "INCONCLUSIVE"))
    for options, code, verdict in outcomes:
        assert main([*command, *options, "--github", "--junit", str(junit)]) == code
        out = capsys.readouterr().out.splitlines()
        assert out[0].startswith("::stop-commands::")
        level = "notice" if code == 0 else "warning"
        assert out[-1].startswith(f"::{level} file=")
        (suite,) = ElementTree.parse(junit).getroot()
        assert suite.get("name") == "rnn-verify selftest"
        assert suite.get("failures") == ("1" if code else "0")
        facts = {p.get("name"): p.get("value") for p in suite.find("properties")}
        assert facts["verdict"] == verdict
        assert {"sha256.model", "sha256.data", "rows"} < set(facts)
        cases = {case.get("name"): case for case in suite.iter("testcase")}
        assert next(iter(cases)) == "verdict"
        assert {"embedding", "lstm", "dense"} <= set(cases)
        skipped = cases["lstm"].find("skipped")
        assert re.fullmatch(r"\d+ of \d+ mistakes would show", skipped.get("message"))
        assert f"### rnn-verify selftest: {verdict}\n" in page.read_text()


def test_the_cases_of_a_self_test_are_the_layers_in_which_mistakes_were_planted(model):
    result = verify.selftest(model, ids(batch=3))
    cases = {case.name: case for case in result.cases()}
    assert set(cases) == {x.layer or "the whole model" for x in result.results}
    for case in cases.values():
        inside = [
            x for x in result.results if (x.layer or "the whole model") == case.name
        ]
        seen = sum(x.caught for x in inside)
        assert case.message == f"{seen} of {len(inside)} mistakes would show"
        assert (case.outcome is Outcome.PASSED) == (seen == len(inside))


def test_a_self_test_that_cannot_begin_is_an_error_for_ci(tmp_path, capsys):
    junit = tmp_path / "found.xml"
    arguments = ["selftest", str(tmp_path / "no.keras"), "--junit", str(junit)]
    assert main(arguments) == 2
    assert "no.keras" in capsys.readouterr().err
    (error,) = ElementTree.parse(junit).iter("error")
    assert "No such file" in error.get("message")
    line = refused(capsys, "selftest", str(tmp_path), "--github", "--json")
    assert line.endswith("Received: both")
