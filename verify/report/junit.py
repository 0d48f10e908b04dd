"""Write what a command found as a JUnit file, which CI systems read."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from verify.report.cases import Case, Finding, Outcome

NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 cannot hold, not even escaped."""

ELEMENTS = {
    Outcome.FAILED: "failure",
    Outcome.ERROR: "error",
    Outcome.UNDECIDED: "skipped",
}
COUNTS = {"failure": "failures", "error": "errors", "skipped": "skipped"}


def junit_xml(finding: Finding) -> bytes:
    """Return a JUnit file: a suite with the verdict, and each layer or probe."""
    cases = (finding.whole, *finding.cases)
    suite = ElementTree.Element("testsuite", name=f"rnn-verify {finding.command}")
    suite.set("tests", f"{len(cases)}")
    for outcome, element in ELEMENTS.items():
        count = sum(case.outcome is outcome for case in cases)
        suite.set(COUNTS[element], f"{count}")
    suite.set("time", f"{finding.seconds:.3f}")
    properties = ElementTree.SubElement(suite, "properties")
    for name, value in {"verdict": finding.verdict, **(finding.facts or {})}.items():
        ElementTree.SubElement(
            properties, "property", name=_legal(name), value=_legal(value)
        )
    for case in cases:
        _add_case(suite, finding, case)
    root = ElementTree.Element("testsuites")
    root.append(suite)
    ElementTree.indent(root)
    text: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return text + b"\n"


def _add_case(suite: ElementTree.Element, finding: Finding, case: Case) -> None:
    seconds = finding.seconds if case.name == "verdict" else 0.0
    element = ElementTree.SubElement(
        suite,
        "testcase",
        classname=_legal(finding.model),
        name=_legal(case.name),
        time=f"{seconds:.3f}",
    )
    if case.outcome in ELEMENTS:
        kind = finding.verdict if case.name == "verdict" else case.outcome
        said = ElementTree.SubElement(
            element, ELEMENTS[case.outcome], message=_legal(case.message)
        )
        if case.outcome is not Outcome.UNDECIDED:
            said.set("type", str(kind))
            said.text = _legal(case.text)
    elif case.text:
        ElementTree.SubElement(element, "system-out").text = _legal(case.text)


def _legal(text: str) -> str:
    """Return a text with a mark in the place of what XML cannot hold."""
    return NOT_IN_XML.sub("\N{REPLACEMENT CHARACTER}", text)
