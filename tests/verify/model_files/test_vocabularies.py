"""Vocabularies in the assets of a .keras file."""

from __future__ import annotations

import io
import zipfile

import pytest

from verify.errors import ModelFileError
from verify.model_files.vocabularies import read_assets


def archive(text: bytes, name: str = "assets/layers/words/vocabulary.txt"):
    """An archive with one file."""
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as made:
        made.writestr(name, text)
    return zipfile.ZipFile(held)


def test_a_vocabulary_has_a_token_a_line():
    found = read_assets(archive("\n[UNK]\ncaf\xe9\na b\n".encode()), "m.keras")
    assert found == {"layers/words": ["", "[UNK]", "caf\xe9", "a b"]}
    assert read_assets(archive(b"a", "assets/other.txt"), "m.keras") == {}


@pytest.mark.parametrize("end", ["\u2028", "\x85", "\x0b", "\x1c"])
def test_a_token_at_whose_character_keras_parts_lines_is_refused(end):
    with pytest.raises(ModelFileError, match="ids behind it are other ones"):
        read_assets(archive(f"[UNK]\na{end}b\nc".encode()), "m.keras")


def test_what_is_no_text_is_refused():
    with pytest.raises(ModelFileError, match="not text in UTF-8"):
        read_assets(archive(b"a\xff"), "m.keras")
