"""Test what is said of an error of Keras."""

from __future__ import annotations

import pytest

from verify.keras_bridge.importing import first_line


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "ValueError: "),
        ("\n  a reason\nand more", "ValueError: a reason"),
        (
            "Exception encountered when calling Functional.call().\n\n"
            "\x1b[1m'a b' is not a valid scope name.\x1b[0m\n\n"
            "Arguments received by Functional.call():\n  - inputs=x",
            "ValueError: 'a b' is not a valid scope name.",
        ),
        (
            "Exception encountered when calling GRU.call().",
            "ValueError: Exception encountered when calling GRU.call().",
        ),
    ],
)
def test_the_line_that_tells_the_reason_is_said(text, line):
    assert first_line(ValueError(text)) == line
